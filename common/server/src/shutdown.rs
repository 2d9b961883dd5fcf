//! SIGINT and SIGTERM as something a wait can wait for.
//!
//! Invariant: from `install` on, a signal leaves a byte in a socket that the loop watches. It cannot fall between a
//! test and a wait, because there is no test: readiness that is already there ends the wait at once.
//!
//! The race this avoids: a handler that only sets a flag, with a loop that tests the flag and then waits. A signal after
//! the test and before the wait is seen when something else happens to wake the loop, which may be never. pselect(2)
//! and ppoll(2) exist for that gap: they open the signal mask and wait in one step. The self-pipe (D. J. Bernstein) needs
//! no special wait, so one piece of code serves select, poll, epoll, kqueue and io_uring.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, Result};

static WAKE_FD: AtomicI32 = AtomicI32::new(-1);

/// The read end: readable once SIGINT or SIGTERM has come. It is never drained, so it stays readable.
#[derive(Debug)]
pub struct Shutdown {
    readable: UnixStream,
    // Open for as long as a handler may write to it.
    wake: Option<UnixStream>,
}

impl Shutdown {
    /// Installs the handlers. A process has one `Shutdown`; the last one installed gets the signals.
    pub fn install() -> Result<Self> {
        let (readable, wake) = UnixStream::pair().context("socket pair for the shutdown signal")?;
        // A handler must never block, however many signals come before the loop looks.
        wake.set_nonblocking(true)?;
        WAKE_FD.store(wake.as_raw_fd(), Ordering::SeqCst);
        for signal in [libc::SIGINT, libc::SIGTERM] {
            handle(signal).with_context(|| format!("handler for signal {signal}"))?;
        }
        Ok(Self { readable, wake: Some(wake) })
    }

    /// Another descriptor of the same read end, for another thread's loop. It hears of a signal as long as the original
    /// lives.
    pub fn another(&self) -> io::Result<Self> {
        Ok(Self { readable: self.readable.try_clone()?, wake: None })
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        // A signal after this ends the process's last moments in peace: the handler finds no descriptor.
        if self.wake.is_some() {
            WAKE_FD.store(-1, Ordering::SeqCst);
        }
    }
}

impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}

impl AsRawFd for Shutdown {
    fn as_raw_fd(&self) -> RawFd {
        self.readable.as_raw_fd()
    }
}

fn handle(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: a zeroed sigaction is valid (empty mask, no flags); the handler below is async-signal-safe.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = wake as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs between any two instructions of the program, so it may use only write(2) and an atomic load
/// (signal-safety(7)), and it leaves errno as it found it.
extern "C" fn wake(_signal: libc::c_int) {
    let saved = io::Error::last_os_error().raw_os_error();
    let fd = WAKE_FD.load(Ordering::SeqCst);
    if fd >= 0 {
        // SAFETY: one byte from a static; a full socket gives EAGAIN, and then the loop is going to wake anyway.
        unsafe { libc::write(fd, b"!".as_ptr().cast(), 1) };
    }
    restore_errno(saved.unwrap_or(0));
}

fn restore_errno(value: libc::c_int) {
    // SAFETY: each function returns the address of this thread's errno.
    unsafe {
        #[cfg(any(target_os = "linux", target_os = "dragonfly"))]
        let errno = libc::__errno_location();
        #[cfg(any(target_os = "macos", target_os = "freebsd"))]
        let errno = libc::__error();
        #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
        let errno = libc::__errno();
        *errno = value;
    }
}
