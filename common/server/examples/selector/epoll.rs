//! Invariant: the kernel keeps every interest, and this file keeps none.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{Interest, Ready, Selector, count};

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const GONE: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

pub struct Epoll {
    epoll: OwnedFd,
    events: [libc::epoll_event; 256],
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no memory. Nothing else knows the new descriptor, so `OwnedFd` is its only owner.
        let epoll = unsafe {
            match libc::epoll_create1(libc::EPOLL_CLOEXEC) {
                -1 => return Err(io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        Ok(Self { epoll, events: [libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    fn ctl(&self, operation: libc::c_int, fd: RawFd, interest: Interest) -> io::Result<()> {
        let events = if interest.read { IN } else { 0 } | if interest.write { OUT } else { 0 };
        let mut event = libc::epoll_event { events, u64: fd as u64 };
        // SAFETY: `event` outlives the call, which only reads it.
        count(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) }).map(|_| ())
    }
}

impl Selector for Epoll {
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.ctl(libc::EPOLL_CTL_ADD, fd, interest)
    }

    fn modify(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.ctl(libc::EPOLL_CTL_MOD, fd, interest)
    }

    fn remove(&mut self, fd: RawFd) {
        // The close that follows would do the same, unless a dup is left.
        let _ = self.ctl(libc::EPOLL_CTL_DEL, fd, super::NONE);
    }

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout_ms: libc::c_int) -> io::Result<()> {
        let (events, room) = (self.events.as_mut_ptr(), self.events.len() as libc::c_int);
        // SAFETY: the kernel writes at most `room` entries.
        let found = count(unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, room, timeout_ms) })?;
        ready.clear();
        ready.extend(self.events[..found].iter().map(|event| Ready {
            fd: event.u64 as RawFd,
            readable: event.events & (IN | GONE) != 0,
            writable: event.events & (OUT | GONE) != 0,
        }));
        Ok(())
    }
}
