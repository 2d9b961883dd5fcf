//! One interface over four APIs: what Python's selectors, mio and libuv have at their core.
//!
//! Invariant: it promises only what all of them can do. Readiness is level-triggered; an error of a descriptor is reported
//! as readable and writable, because select knows nothing else, and the call that follows says which it is; and a
//! descriptor that was told of in a wait may have been closed by the time its turn comes.

use std::io;
use std::os::fd::RawFd;

#[cfg(target_os = "linux")]
mod epoll;
mod kqueue;
mod poll;
mod select;

/// The backends of this platform, the best first. Linux has no kqueue; there it is the stand-in of 05-kqueue.
#[cfg(target_os = "linux")]
pub const BACKENDS: &[&str] = &["epoll", "kqueue", "poll", "select"];
#[cfg(not(target_os = "linux"))]
pub const BACKENDS: &[&str] = &["kqueue", "poll", "select"];

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

pub const NONE: Interest = Interest { read: false, write: false };
pub const READ: Interest = Interest { read: true, write: false };

/// What a wait found.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    pub fd: RawFd,
    pub readable: bool,
    pub writable: bool,
}

pub trait Selector {
    /// Refuses what it cannot watch, such as select a descriptor of 1024.
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()>;
    fn modify(&mut self, fd: RawFd, interest: Interest) -> io::Result<()>;
    /// To be called before the descriptor is closed. Only epoll and kqueue would find out by themselves.
    fn remove(&mut self, fd: RawFd);
    /// Fills `ready`; with nothing, after a timeout (-1: none) and after a signal interrupted the wait.
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout_ms: libc::c_int) -> io::Result<()>;
}

/// Makes the backend of that name.
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

/// A count from a call of libc; 0 after EINTR.
fn count(result: libc::c_int) -> io::Result<usize> {
    match result {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
        count => Ok(count as usize),
    }
}
