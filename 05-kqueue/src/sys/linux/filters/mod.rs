//! What the seven filters have in common. Each filter has a file here: the descriptor that Linux needs for it, what
//! epoll is to watch, how what epoll says becomes a kevent, and what has to be undone at the end.
//!
//! | filter | file | the descriptor |
//! |---|---|---|
//! | READ | `read.rs` | the program's own; for a regular file an inotify |
//! | WRITE | `write.rs` | the program's own, in another epoll |
//! | TIMER | `timer.rs` | a timerfd |
//! | SIGNAL | `signal.rs` | an eventfd, which a handler writes to |
//! | PROC | `process.rs` | a pidfd |
//! | VNODE | `vnode.rs` | an inotify |
//! | USER | `user.rs` | an eventfd |

use std::ffi::c_int;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI32, Ordering};

use super::abi::*;
use super::calls::*;
use super::made::Made;

mod process;
mod read;
pub mod signal;
mod timer;
mod user;
mod vnode;
mod write;

/// What is known of a filter before there is a knote of it.
pub struct Filter {
    number: i16,
    /// Whether the ident of a knote is a descriptor.
    pub of_descriptor: bool,
    /// The notes that it takes in `fflags`.
    notes: u32,
    /// Flags that each of its knotes has, whether or not the program has asked for them.
    pub implied: u16,
    /// Opens what the knote needs, and refuses what the stand-in cannot do.
    pub open: fn(knote: &kevent) -> Result<Box<dyn Source>>,
}

const FILTERS: [&Filter; 7] =
    [&read::FILTER, &write::FILTER, &timer::FILTER, &signal::FILTER, &process::FILTER, &vnode::FILTER, &user::FILTER];

/// Flags that stand in a change because it was an event before, or that BSD's kernel keeps for itself.
const IGNORED: u16 = 0xf000;
const FLAGS: u16 =
    EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE | EV_ONESHOT | EV_CLEAR | EV_RECEIPT | EV_DISPATCH | IGNORED;

/// The filter that a change names. A flag that some BSD has and the stand-in has not is refused here.
pub fn of(change: &kevent) -> Result<&'static Filter> {
    let filter = FILTERS.into_iter().find(|filter| filter.number == change.filter).ok_or(libc::EINVAL)?;
    if filter.of_descriptor && c_int::try_from(change.ident).is_err() {
        return Err(libc::EBADF);
    }
    if change.flags & !FLAGS != 0 {
        return Err(libc::EINVAL);
    }
    Ok(filter)
}

impl Filter {
    /// A change with notes that the filter does not know is refused: it would wait in vain.
    pub fn check_notes(&self, change: &kevent) -> Result {
        if change.fflags & !self.notes != 0 { Err(libc::ENOTSUP) } else { Ok(()) }
    }
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
    /// A descriptor of the program, which it may close at any time.
    pub of_program: bool,
    pub events: u32,
}

impl Watch {
    /// Of a descriptor that was made for the knote.
    fn made(fd: RawFd, events: u32) -> Self {
        Self { epoll: Epoll::Outer, fd, of_program: false, events }
    }
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

/// Which open file a number means. (epoll knows it only of files that can block.)
struct Identity {
    file: (u64, u64),
    /// The same file can be opened again. 0: it has none.
    mark: c_int,
}

impl Identity {
    /// A terminal may be asked to send signals, so its mark is the program's, and `may_mark` is false.
    fn of(fd: RawFd, may_mark: bool) -> Result<Self> {
        let now = metadata(fd)?;
        Ok(Self { file: (now.dev(), now.ino()), mark: if may_mark { mark_watched(fd) } else { 0 } })
    }

    fn is_of(&self, fd: RawFd) -> bool {
        let is_same = metadata(fd).is_ok_and(|now| (now.dev(), now.ino()) == self.file);
        is_same && (self.mark == 0 || mark(fd) == Some(self.mark))
    }
}

/// Gives an open file the mark by which its knotes know it: another one than the file had that was opened before.
fn mark_watched(fd: RawFd) -> c_int {
    static COUNT: AtomicI32 = AtomicI32::new(0);
    let (first, last) = WATCHED_FILES;
    match mark(fd) {
        Some(mark) if (first..=last).contains(&mark) => return mark,
        Some(0) => {}
        _ => return 0,
    }
    let next = first + COUNT.fetch_add(1, Ordering::Relaxed).rem_euclid(last - first + 1);
    if set_mark(fd, next).is_ok() { next } else { 0 }
}

/// What is always ready, such as /dev/null or a regular file that is to be written to: an eventfd that is not 0.
struct AlwaysReady {
    eventfd: Made,
    identity: Identity,
}

impl AlwaysReady {
    fn new(fd: RawFd) -> Result<Self> {
        Ok(Self { eventfd: Made::new(eventfd(1)?)?, identity: Identity::of(fd, true)? })
    }
}

impl Source for AlwaysReady {
    fn watch(&self, _knote: &kevent) -> Watch {
        Watch::made(self.eventfd.as_raw_fd(), IN)
    }

    fn fill_in(&mut self, knote: &kevent, _ready: u32, _event: &mut kevent) -> bool {
        knote.flags & EV_CLEAR == 0 || self.eventfd.read_counter().is_some()
    }

    fn is_same_file(&self, knote: &kevent) -> bool {
        self.identity.is_of(number(knote))
    }

    fn modify(&mut self, _knote: &kevent, _change: &kevent) -> Result<Modified> {
        ring(self.eventfd.as_raw_fd());
        Ok(Modified::InPlace)
    }
}

/// The end of a connection or a pipe, as epoll tells of it. Returns whether it is one.
///
/// Linux gives a socket's error to the first that asks (SO_ERROR), and then to nobody. So the stand-in does not ask: it
/// tells the error from the state of the socket, and leaves the error to the program.
fn fill_in_end(ready: u32, event: &mut kevent) -> bool {
    const TCP_CLOSE: u8 = 7;
    let fd = number(event);
    if ready & (RDHUP | HUP | ERR) == 0 {
        return false;
    }
    let (is_end, error) = match socket_option(fd, libc::SOL_SOCKET, libc::SO_TYPE) {
        Err(_) => (true, 0),
        // A datagram socket has no end. Its error is for the next read or write.
        Ok([kind]) if !matches!(kind as c_int, libc::SOCK_STREAM | libc::SOCK_SEQPACKET) => (false, 0),
        _ if ready & ERR == 0 => (ready & RDHUP != 0 || has_no_more_input(fd), 0),
        _ => match tcp_info::<18>(fd) {
            Some(info) if info[0] as u8 == TCP_CLOSE => {
                // Only a connection that was once made has a round-trip time.
                (true, if info[17] == 0 { libc::ECONNREFUSED } else { libc::ECONNRESET })
            }
            // Something is in the error queue.
            Some(_) => (ready & RDHUP != 0, 0),
            None => (true, libc::ECONNRESET),
        },
    };
    if is_end {
        event.flags |= EV_EOF;
        event.fflags = error as u32;
    }
    is_end
}

/// The first words of a TCP socket's TCP_INFO. Its state is the first byte.
fn tcp_info<const N: usize>(fd: RawFd) -> Option<[u32; N]> {
    socket_option(fd, libc::IPPROTO_TCP, libc::TCP_INFO).ok()
}
