//! What the seven filters have in common. Each filter has a file here: the descriptor that Linux needs for it, what
//! epoll is to watch, how what epoll says becomes a kevent, and what has to be undone at the end.
//!
//! | filter | file | the descriptor |
//! |---|---|---|
//! | READ | `read.rs` | the program's own; for a regular file an inotify |
//! | WRITE | `write.rs` | the same, in another epoll |
//! | TIMER | `timer.rs` | a timerfd |
//! | SIGNAL | `signal.rs` | a signalfd, with the signal blocked |
//! | PROC | `process.rs` | a pidfd |
//! | VNODE | `vnode.rs` | an inotify |
//! | USER | `user.rs` | an eventfd |

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use super::abi::*;
use super::calls::*;

mod process;
mod read;
mod signal;
mod timer;
mod user;
mod vnode;
mod write;

/// What is known of a filter before there is a knote of it.
pub struct Filter {
    number: i16,
    /// Whether the ident of a knote is a descriptor.
    of_descriptor: bool,
    /// The notes that it takes in `fflags`.
    notes: u32,
    /// Flags that each of its knotes has, whether or not the program has asked for them.
    pub implied: u16,
    /// Opens what the knote needs, and refuses what the stand-in cannot do.
    pub open: fn(knote: &kevent) -> Result<Box<dyn Source>>,
}

const FILTERS: [&Filter; 7] =
    [&read::FILTER, &write::FILTER, &timer::FILTER, &signal::FILTER, &process::FILTER, &vnode::FILTER, &user::FILTER];

/// The filter that a change names. A change with notes that the filter does not know is refused here: it would wait in
/// vain.
pub fn of(change: &kevent) -> Result<&'static Filter> {
    let filter = FILTERS.into_iter().find(|filter| filter.number == change.filter).ok_or(libc::EINVAL)?;
    if filter.of_descriptor && c_int::try_from(change.ident).is_err() {
        return Err(libc::EBADF);
    }
    if change.fflags & !filter.notes != 0 {
        return Err(libc::ENOTSUP);
    }
    Ok(filter)
}

/// What was opened for one knote. Dropping it closes the descriptor that was made for the knote.
pub trait Source: Send {
    /// What epoll has to watch.
    fn watch(&self, knote: &kevent) -> Watch;

    /// Fills in an event after epoll has said `ready` of the descriptor. Returns false if there is nothing to report.
    fn fill_in(&mut self, knote: &kevent, ready: u32, event: &mut kevent) -> bool;

    /// Follows a change of the knote, or fails and leaves everything as it was.
    fn modify(&mut self, _knote: &kevent, change: &kevent) -> Result<Modified> {
        Ok(if change.flags & EV_ADD != 0 { Modified::Reopen } else { Modified::InPlace })
    }

    /// Whether the knote's number still means the file that was opened. Only asked if epoll does not know.
    fn is_same_file(&self, _knote: &kevent) -> bool {
        true
    }

    /// What to watch if epoll refuses the descriptor.
    fn instead(&self, _knote: &kevent) -> Result<Box<dyn Source>> {
        Err(libc::EPERM)
    }

    /// Undoes what was done outside of the source. `registered`: the knote's number still means the same file.
    fn close(&mut self, _knote: &kevent, _registered: bool) {}
}

/// How a source has followed a change.
pub enum Modified {
    /// The same source serves the changed knote.
    InPlace,
    /// The changed knote needs a new source.
    Reopen,
}

/// A registration with epoll.
pub struct Watch {
    pub epoll: Epoll,
    pub fd: RawFd,
    pub events: u32,
}

/// One of the three epolls of a kqueue.
#[derive(Clone, Copy, PartialEq)]
pub enum Epoll {
    /// For the descriptors that were made here.
    Outer,
    /// For descriptors of the program, and their READ knotes.
    Readers,
    /// The same for WRITE.
    Writers,
}

/// The number of a knote whose ident is a descriptor, a signal or a process.
fn number(knote: &kevent) -> RawFd {
    knote.ident as RawFd
}

/// EV_CLEAR is EPOLLET, for a descriptor of the program. (A descriptor that was made here is cleared by being read.)
fn trigger(knote: &kevent) -> u32 {
    if knote.flags & EV_CLEAR != 0 { libc::EPOLLET as u32 } else { 0 }
}

/// The end of a connection or a pipe, as epoll tells of it.
fn fill_in_end(ready: u32, event: &mut kevent) {
    if ready & (RDHUP | HUP | ERR) != 0 {
        event.flags |= EV_EOF;
    }
    if ready & ERR != 0 {
        let error = socket_option(number(event), libc::SOL_SOCKET, libc::SO_ERROR);
        event.fflags = error.map_or(0, |[error]| error);
    }
}
