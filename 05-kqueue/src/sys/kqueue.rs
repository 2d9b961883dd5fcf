//! The two system calls, kqueue(2) and kevent(2), each in one safe function.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use super::{Kevent, native};

/// A kernel event queue.
#[derive(Debug)]
pub struct Kqueue(OwnedFd);

impl Kqueue {
    /// kqueue(2): makes an empty queue.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no argument.
        match unsafe { native::kqueue() } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: the call has just made this descriptor, so nothing else owns it.
            fd => Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })),
        }
    }

    /// kevent(2): makes the changes, then waits for events. Without a timeout the wait has no end; without room for an
    /// event there is no wait. Returns the events that came: none if the time is up or a signal interrupted the wait.
    ///
    /// A change that fails becomes an EV_ERROR event, and then there is no wait. Without room for that event the error
    /// is returned, and the changes behind it are not made.
    pub fn kevent<'a>(
        &self,
        changes: &[Kevent],
        events: &'a mut [Kevent],
        timeout: Option<Duration>,
    ) -> io::Result<&'a [Kevent]> {
        let timeout = timeout.map(|it| libc::timespec { tv_sec: it.as_secs() as _, tv_nsec: it.subsec_nanos() as _ });
        // SAFETY: a `Kevent` has the layout of a kevent. The call reads `changes.len()` entries and writes at most
        // `events.len()`. Both lists and the timeout outlive the call.
        let count = unsafe {
            native::kevent(
                self.as_raw_fd(),
                changes.as_ptr().cast(),
                changes.len() as _,
                events.as_mut_ptr().cast(),
                events.len() as _,
                timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
            )
        };
        if count != -1 {
            return Ok(&events[..count as usize]);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            error => Err(error),
        }
    }
}

impl From<OwnedFd> for Kqueue {
    /// A duplicate of a kqueue's descriptor means the same kqueue.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Kqueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Kqueue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
