//! Invariant: no bit at or above FD_SETSIZE is touched. `add` refuses such a descriptor, and the other functions are
//! called only for descriptors that were added.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use super::{Interest, Ready, Selector, count};

pub struct Select {
    reading: libc::fd_set,
    writing: libc::fd_set,
    nfds: RawFd,
}

impl Select {
    pub fn new() -> Self {
        // SAFETY: an fd_set is plain integers, and all zero is the empty set (FD_ZERO).
        let empty = || unsafe { std::mem::zeroed::<libc::fd_set>() };
        Self { reading: empty(), writing: empty(), nfds: 0 }
    }
}

impl Selector for Select {
    fn add(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        if fd as usize >= libc::FD_SETSIZE {
            let why = format!("select holds only descriptors below {}", libc::FD_SETSIZE);
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        self.nfds = self.nfds.max(fd + 1);
        self.modify(fd, interest)
    }

    fn modify(&mut self, fd: RawFd, interest: Interest) -> io::Result<()> {
        for (set, wanted) in [(&mut self.reading, interest.read), (&mut self.writing, interest.write)] {
            // SAFETY: the bit lies inside the bitmap, because the descriptor was added.
            unsafe { if wanted { libc::FD_SET(fd, set) } else { libc::FD_CLR(fd, set) } }
        }
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) {
        let _ = self.modify(fd, super::NONE);
    }

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout_ms: libc::c_int) -> io::Result<()> {
        let (mut readable, mut writable) = (self.reading, self.writing);
        let mut timeout = libc::timeval {
            tv_sec: libc::time_t::from(timeout_ms / 1000),
            tv_usec: (timeout_ms % 1000 * 1000) as libc::suseconds_t,
        };
        let timeout = if timeout_ms < 0 { ptr::null_mut() } else { &raw mut timeout };
        // SAFETY: the sets hold FD_SETSIZE bits and `nfds` is at most that; the third set and `timeout` may be null.
        let found = count(unsafe { libc::select(self.nfds, &mut readable, &mut writable, ptr::null_mut(), timeout) })?;
        ready.clear();
        // After EINTR the sets are unchanged and say nothing about readiness.
        for fd in if found > 0 { 0..self.nfds } else { 0..0 } {
            // SAFETY: the bits lie inside the bitmaps.
            let (readable, writable) = unsafe { (libc::FD_ISSET(fd, &readable), libc::FD_ISSET(fd, &writable)) };
            if readable || writable {
                ready.push(Ready { fd, readable, writable });
            }
        }
        Ok(())
    }
}
