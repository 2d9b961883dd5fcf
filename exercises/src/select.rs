//! select(2) and pselect(2).
//!
//! Invariant: after a wait the sets that it was given are that wait's answer, empty after a timeout or a signal.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use crate::signals::Mask;

/// A set of descriptors below FD_SETSIZE.
#[derive(Clone)]
pub struct FdSet(libc::fd_set);

impl Default for FdSet {
    fn default() -> Self {
        // SAFETY: an fd_set is plain integers, and all zero is the empty set (FD_ZERO).
        Self(unsafe { std::mem::zeroed() })
    }
}

impl FdSet {
    /// Whether a set has a place for this descriptor; the error says that it has none.
    pub fn check(fd: RawFd) -> io::Result<()> {
        if (fd as usize) < libc::FD_SETSIZE {
            return Ok(());
        }
        Err(io::Error::other(format!("fd {fd}: select holds only those below {}", libc::FD_SETSIZE)))
    }

    /// FD_SET or FD_CLR.
    ///
    /// # Panics
    /// If a set has no place for this descriptor.
    pub fn set(&mut self, fd: RawFd, on: bool) {
        assert!(Self::check(fd).is_ok(), "fd {fd} has no place in an fd_set");
        // SAFETY: the bit lies inside the bitmap.
        unsafe { if on { libc::FD_SET(fd, &mut self.0) } else { libc::FD_CLR(fd, &mut self.0) } }
    }

    /// FD_ISSET; false for a descriptor that a set has no place for.
    pub fn contains(&self, fd: RawFd) -> bool {
        // SAFETY: the bit lies inside the bitmap.
        Self::check(fd).is_ok() && unsafe { libc::FD_ISSET(fd, &self.0) }
    }
}

/// select(2): the sets are the question and then the answer, and what is returned is the number of its bits; 0 after
/// `timeout_ms` (-1: never) or a signal.
pub fn select(nfds: RawFd, readable: &mut FdSet, writable: &mut FdSet, timeout_ms: i32) -> io::Result<usize> {
    let nfds = nfds.min(libc::FD_SETSIZE as RawFd);
    // SAFETY: both sets hold FD_SETSIZE bits, and `nfds` is not more.
    let ready = unsafe { raw(nfds, &mut readable.0, &mut writable.0, timeout_ms)? };
    if ready == 0 {
        (*readable, *writable) = Default::default();
    }
    Ok(ready)
}

/// select(2) on bitmaps of any length, which lie in `memory` one behind the other as they would in a C program:
/// `readable` at its start, and `writable` at the word `writable_at`.
///
/// # Panics
/// If `nfds` bits from there reach past the end of `memory`.
pub fn select_in(memory: &mut [u64], writable_at: usize, nfds: RawFd, timeout_ms: i32) -> io::Result<usize> {
    assert!(writable_at + (nfds as usize).div_ceil(64) <= memory.len(), "nfds {nfds} reaches past the sets' memory");
    let sets = memory.as_mut_ptr();
    // SAFETY: the kernel reads and writes `nfds` bits, rounded up to a word, of each; both were just seen to fit.
    unsafe { raw(nfds, sets.cast(), sets.add(writable_at).cast(), timeout_ms) }
}

/// # Safety
/// Both sets have room for `nfds` bits.
unsafe fn raw(nfds: RawFd, read: *mut libc::fd_set, write: *mut libc::fd_set, timeout_ms: i32) -> io::Result<usize> {
    let mut timeout = libc::timeval {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_usec: (timeout_ms % 1000 * 1000) as libc::suseconds_t,
    };
    let timeout = if timeout_ms < 0 { ptr::null_mut() } else { &raw mut timeout };
    // SAFETY: as the caller promises; the third set and `timeout` may be null.
    answer(unsafe { libc::select(nfds, read, write, ptr::null_mut(), timeout) })
}

/// pselect(2): as `select`, with the signal mask set to `mask` for the length of the wait, in one step with it.
pub fn pselect(
    nfds: RawFd,
    readable: &mut FdSet,
    writable: &mut FdSet,
    timeout_ms: i32,
    mask: &Mask,
) -> io::Result<usize> {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_nsec: (timeout_ms % 1000 * 1_000_000) as libc::c_long,
    };
    let timeout = if timeout_ms < 0 { ptr::null() } else { &raw const timeout };
    let (nfds, read, write) = (nfds.min(libc::FD_SETSIZE as RawFd), &raw mut readable.0, &raw mut writable.0);
    // SAFETY: the sets hold FD_SETSIZE bits and `nfds` is not more; the third set and `timeout` may be null.
    let ready = answer(unsafe { libc::pselect(nfds, read, write, ptr::null_mut(), timeout, mask.as_ptr()) })?;
    if ready == 0 {
        (*readable, *writable) = Default::default();
    }
    Ok(ready)
}

fn answer(ready: libc::c_int) -> io::Result<usize> {
    match ready {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
        ready => Ok(ready as usize),
    }
}
