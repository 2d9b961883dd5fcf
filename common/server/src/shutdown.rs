//! Turns SIGINT and SIGTERM into readiness of a socket.
//!
//! Invariant: from `install` on, a signal writes a byte to a socket that the event loop watches. No signal can be lost
//! before a wait: if the byte is already there, the wait returns at once.
//!
//! This avoids a race. Suppose that a handler only sets a flag, and that the loop tests the flag and then waits. If the
//! signal comes between the test and the wait, the loop does not see it until another event wakes the loop, perhaps
//! never. pselect(2) and ppoll(2) close this gap: they unblock the signal and wait in one step. The self-pipe (D. J.
//! Bernstein) needs no special wait, so the same code serves select, poll, epoll, kqueue and io_uring.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, Result};

static WAKE_FD: AtomicI32 = AtomicI32::new(-1);

/// The read end. It becomes readable on SIGINT or SIGTERM, and stays readable, because no server reads the byte.
#[derive(Debug)]
pub struct Shutdown {
    readable: UnixStream,
    // Stays open as long as a handler may write to it.
    wake: Option<UnixStream>,
}

impl Shutdown {
    /// Installs the handlers. A process has one `Shutdown`. If it installs more, the last one gets the signals.
    pub fn install() -> Result<Self> {
        let (readable, wake) = UnixStream::pair().context("socket pair for the shutdown signal")?;
        // A handler must never block, even if many signals come before the loop runs again.
        wake.set_nonblocking(true)?;
        WAKE_FD.store(wake.as_raw_fd(), Ordering::SeqCst);
        for signal in [libc::SIGINT, libc::SIGTERM] {
            handle(signal).with_context(|| format!("handler for signal {signal}"))?;
        }
        Ok(Self { readable, wake: Some(wake) })
    }

    /// Duplicates the read end for another thread's event loop. The duplicate works as long as the original exists.
    pub fn another(&self) -> io::Result<Self> {
        Ok(Self { readable: self.readable.try_clone()?, wake: None })
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        // If a signal comes after this, the handler finds no descriptor and does nothing.
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

/// Runs between any two instructions of the program. So it uses only an atomic load and write(2) (signal-safety(7)),
/// and restores errno.
extern "C" fn wake(_signal: libc::c_int) {
    let saved = io::Error::last_os_error().raw_os_error();
    let fd = WAKE_FD.load(Ordering::SeqCst);
    if fd >= 0 {
        // SAFETY: writes one byte from a static. If the socket is full, the call fails with EAGAIN, and the loop wakes
        // anyway.
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
