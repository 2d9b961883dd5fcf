//! poll(2).
//!
//! Invariant: after a wait every entry's `revents` is that wait's answer, also where it was interrupted and has none.

use std::io;
use std::os::fd::RawFd;

/// An entry of the list: the descriptor, what is asked of it, and the answer.
pub use libc::pollfd as Entry;

/// Input, or a connection to accept, or the end of input.
pub const IN: i16 = libc::POLLIN;
/// Room for output.
pub const OUT: i16 = libc::POLLOUT;
/// An error is pending. Reported whether asked for or not.
pub const ERR: i16 = libc::POLLERR;
/// Both directions are shut down, or the connection was reset. Reported whether asked for or not.
pub const HUP: i16 = libc::POLLHUP;
/// The descriptor is not open. Reported whether asked for or not.
pub const NVAL: i16 = libc::POLLNVAL;

/// A new entry.
pub fn entry(fd: RawFd, events: i16) -> Entry {
    Entry { fd, events, revents: 0 }
}

/// poll(2): how many entries have `revents`; 0 after `timeout_ms` (-1: never) or a signal.
pub fn poll(entries: &mut [Entry], timeout_ms: i32) -> io::Result<usize> {
    // SAFETY: the kernel reads and writes exactly as many entries as there are.
    match unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout_ms) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {
                entries.iter_mut().for_each(|entry| entry.revents = 0);
                Ok(0)
            }
            error => Err(error),
        },
        ready => Ok(ready as usize),
    }
}
