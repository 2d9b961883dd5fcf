//! epoll(7).
//!
//! Invariant: an event's token is what the registration was made with; nothing here remembers registrations.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Input, or a connection to accept, or the end of input.
pub const IN: u32 = libc::EPOLLIN as u32;
/// Room for output.
pub const OUT: u32 = libc::EPOLLOUT as u32;
/// The peer has sent FIN; bytes may wait before it.
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
/// An error is pending. Reported whether asked for or not.
pub const ERR: u32 = libc::EPOLLERR as u32;
/// Both directions are shut down, or the connection was reset. Reported whether asked for or not.
pub const HUP: u32 = libc::EPOLLHUP as u32;
/// Edge-triggered: a change is reported once.
pub const ET: u32 = libc::EPOLLET as u32;
/// One event, and then none until the next `modify`.
pub const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
/// Of several epolls that wait for this descriptor, wake not all.
pub const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

/// What a wait reports of one registration.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// What it was registered with: a descriptor, mostly.
    pub token: u64,
    /// The mask.
    pub events: u32,
}

impl Event {
    /// The token as the descriptor that it mostly is.
    pub fn fd(&self) -> RawFd {
        self.token as RawFd
    }
}

/// An epoll instance; closed when dropped.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; a descriptor that was just returned has no other owner.
        unsafe {
            match libc::epoll_create1(libc::EPOLL_CLOEXEC) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// EPOLL_CTL_ADD, with the descriptor's number as the token.
    pub fn add(&self, fd: RawFd, events: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, fd as u64)
    }

    /// EPOLL_CTL_ADD with a token of one's own.
    pub fn add_token(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, token)
    }

    /// EPOLL_CTL_MOD, with the descriptor's number as the token.
    pub fn modify(&self, fd: RawFd, events: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, events, fd as u64)
    }

    /// EPOLL_CTL_DEL.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` outlives the call, which only reads it.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &mut event) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// epoll_wait(2): what is ready, at most 256 at once; nothing after `timeout_ms` (-1: never) or a signal.
    pub fn wait(&self, timeout_ms: i32) -> io::Result<impl Iterator<Item = Event> + use<>> {
        self.wait_for::<256>(timeout_ms)
    }

    /// The same for one event: what several threads that wait for the same epoll want.
    pub fn wait_for_one(&self, timeout_ms: i32) -> io::Result<Option<Event>> {
        self.wait_for::<1>(timeout_ms).map(|mut events| events.next())
    }

    fn wait_for<const MOST: usize>(&self, timeout_ms: i32) -> io::Result<impl Iterator<Item = Event> + use<MOST>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        let most = MOST as libc::c_int;
        // SAFETY: the kernel writes at most as many entries as said.
        let ready = match unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), most, timeout_ms) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => 0,
                error => return Err(error),
            },
            ready => ready as usize,
        };
        Ok(events.into_iter().take(ready).map(|event| Event { token: event.u64, events: event.events }))
    }
}
