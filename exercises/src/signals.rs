//! sigaction(2) and the mask of signals.
//!
//! Invariant: a handler that is set here lets a wait end with EINTR: SA_RESTART is off.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// A set of signals, such as those that are blocked.
pub struct Mask(libc::sigset_t);

impl Mask {
    /// pthread_sigmask(3): blocks these signals and no others.
    pub fn restore(&self) -> io::Result<()> {
        // SAFETY: the mask is initialised.
        match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sigset_t {
        &self.0
    }
}

/// What a handler looks like. It runs between any two instructions: it may store to an atomic, and little else
/// (signal-safety(7)).
pub type Handler = extern "C" fn(libc::c_int);

/// sigaction(2): `handler` runs when `signal` comes.
pub fn handle(signal: libc::c_int, handler: Handler) -> io::Result<()> {
    action(signal, handler as *const () as libc::sighandler_t)
}

/// sigaction(2) with SIG_DFL: what `signal` does to a program that never said anything about it.
pub fn default(signal: libc::c_int) -> io::Result<()> {
    action(signal, libc::SIG_DFL)
}

fn action(signal: libc::c_int, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: a zeroed sigaction is valid (empty mask, no flags), and outlives the call.
    let result = unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = action;
        libc::sigaction(signal, &new, ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// pthread_sigmask(3): blocks these signals, which then wait, and returns the mask from before.
pub fn block(signals: &[libc::c_int]) -> io::Result<Mask> {
    let mut new = MaybeUninit::uninit();
    let mut old = MaybeUninit::uninit();
    // SAFETY: `new` is initialised by sigemptyset before it is read, and `old` by pthread_sigmask where that succeeds.
    unsafe {
        libc::sigemptyset(new.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(new.as_mut_ptr(), *signal);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, new.as_ptr(), old.as_mut_ptr()) {
            0 => Ok(Mask(old.assume_init())),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}
