//! Invariant: a descriptor has a READ knote and a WRITE knote exactly while the interest asks for them. So a new
//! interest is at most two changes, and each knote reports its own event.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use kqueue::sys::{self, EV_ADD, EV_DELETE, EVFILT_READ, EVFILT_WRITE, Kevent};

use super::{Interest, Ready, Selector};

pub struct Kqueue {
    kqueue: sys::Kqueue,
    events: [Kevent; 256],
}

impl Kqueue {
    pub fn new() -> io::Result<Self> {
        Ok(Self { kqueue: sys::Kqueue::new()?, events: [Kevent::default(); 256] })
    }

    fn change(&self, fd: RawFd, filter: i32, flags: u32) -> io::Result<()> {
        let change = Kevent::new(fd as usize, filter, flags);
        self.kqueue.kevent(&[change], &mut [], Some(Duration::ZERO)).map(|_| ())
    }
}

impl Selector for Kqueue {
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        let wanted = [(EVFILT_READ, interest.read), (EVFILT_WRITE, interest.write)];
        wanted.into_iter().filter(|(_, wanted)| *wanted).try_for_each(|(filter, _)| self.change(fd, filter, EV_ADD))
    }

    fn modify(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        for (filter, wanted) in [(EVFILT_READ, interest.read), (EVFILT_WRITE, interest.write)] {
            match self.change(fd, filter, if wanted { EV_ADD } else { EV_DELETE }) {
                // There was no such knote.
                Err(error) if !wanted && error.raw_os_error() == Some(libc::ENOENT) => {}
                changed => changed?,
            }
        }
        Ok(())
    }

    fn remove(&mut self, _fd: RawFd) {
        // The knotes end with the descriptor.
    }

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout_ms: libc::c_int) -> io::Result<()> {
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let found = self.kqueue.kevent(&[], &mut self.events, timeout)?;
        ready.clear();
        ready.extend(found.iter().map(|event| {
            let readable = event.filter() == EVFILT_READ;
            Ready { fd: event.ident() as RawFd, readable, writable: !readable }
        }));
        Ok(())
    }
}
