//! One interface over four APIs, like the core of Python's selectors, of mio and of libuv.
//!
//! Invariant: the interface promises only what all four APIs can do. Readiness is level-triggered. A descriptor with an
//! error is reported as readable and writable, because select cannot report errors, and the next call returns the
//! error. A descriptor that a wait reported may be closed before its event is handled.

use std::io;
use std::os::fd::RawFd;

#[cfg(target_os = "linux")]
mod epoll;
mod kqueue;
mod poll;
mod select;

/// The backends of this platform, the best first. On Linux, kqueue is the stand-in of 05-kqueue.
#[cfg(target_os = "linux")]
pub const BACKENDS: &[&str] = &["epoll", "kqueue", "poll", "select"];
#[cfg(not(target_os = "linux"))]
pub const BACKENDS: &[&str] = &["kqueue", "poll", "select"];

/// The events to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

pub const NONE: Interest = Interest { read: false, write: false };
pub const READ: Interest = Interest { read: true, write: false };

/// A descriptor that a wait reported.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    pub fd: RawFd,
    pub readable: bool,
    pub writable: bool,
}

pub trait Selector {
    /// Fails for a descriptor that the API cannot watch: select refuses 1024 and above.
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()>;
    fn modify(&mut self, fd: RawFd, interest: Interest) -> io::Result<()>;
    /// Call this before you close the descriptor. Only epoll and kqueue notice the close by themselves.
    fn remove(&mut self, fd: RawFd);
    /// Fills `ready`. It stays empty after a timeout (-1: no timeout), and after a signal interrupted the wait.
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout_ms: libc::c_int) -> io::Result<()>;
}

/// Opens the backend with this name.
pub fn open(backend: &str) -> io::Result<Box<dyn Selector>> {
    Ok(match backend {
        #[cfg(target_os = "linux")]
        "epoll" => Box::new(epoll::Epoll::new()?),
        "kqueue" => Box::new(kqueue::Kqueue::new()?),
        "poll" => Box::new(poll::Poll::default()),
        "select" => Box::new(select::Select::new()),
        other => return Err(io::Error::new(io::ErrorKind::Unsupported, format!("no backend '{other}' here"))),
    })
}

/// The count that a libc call returned, or 0 after EINTR.
fn count(result: libc::c_int) -> io::Result<usize> {
    match result {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
        count => Ok(count as usize),
    }
}
