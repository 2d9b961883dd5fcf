//! The two ways to write to a socket.
//!
//! Invariant: EAGAIN and EINTR are errors like any other here.

use std::io;
use std::os::fd::RawFd;

/// send(2)'s flag against SIGPIPE.
pub const NOSIGNAL: i32 = libc::MSG_NOSIGNAL;

/// write(2): how many bytes were taken.
pub fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice is as long as said.
    taken(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// send(2): how many bytes were taken.
pub fn send(fd: RawFd, bytes: &[u8], flags: i32) -> io::Result<usize> {
    // SAFETY: the slice is as long as said.
    taken(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

fn taken(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}
