//! Invariant: for each `fd` in the list, `at[fd]` is its index.

use std::io;
use std::os::fd::RawFd;

use super::{Interest, Ready, Selector, count};

const GONE: libc::c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;

#[derive(Default)]
pub struct Poll {
    list: Vec<libc::pollfd>,
    at: Vec<usize>,
}

fn events(interest: Interest) -> libc::c_short {
    (if interest.read { libc::POLLIN } else { 0 }) | if interest.write { libc::POLLOUT } else { 0 }
}

impl Selector for Poll {
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        let place = fd as usize;
        if place >= self.at.len() {
            self.at.resize(place + 1, usize::MAX);
        }
        self.at[place] = self.list.len();
        self.list.push(libc::pollfd { fd, events: events(interest), revents: 0 });
        Ok(())
    }

    fn modify(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.list[self.at[fd as usize]].events = events(interest);
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) {
        let place = self.at[fd as usize];
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.at[moved.fd as usize] = place;
        }
    }

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout_ms: libc::c_int) -> io::Result<()> {
        let len = self.list.len() as libc::nfds_t;
        // SAFETY: the list has `len` entries, and outlives the call.
        let found = count(unsafe { libc::poll(self.list.as_mut_ptr(), len, timeout_ms) })?;
        ready.clear();
        let told = self.list.iter().filter(|entry| entry.revents != 0).take(found);
        ready.extend(told.map(|entry| Ready {
            fd: entry.fd,
            readable: entry.revents & (libc::POLLIN | GONE) != 0,
            writable: entry.revents & (libc::POLLOUT | GONE) != 0,
        }));
        Ok(())
    }
}
