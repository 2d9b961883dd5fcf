//! One read or one write of a non-blocking socket, with EAGAIN and EINTR given their names once.
//!
//! Invariant: each function makes one transfer at most. How often to call it, and what its answer means for the wait, is
//! a chapter's business.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// What one read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// This many bytes.
    Bytes(usize),
    /// The peer sent FIN: nothing more will come, and it still reads.
    Finished,
    /// EAGAIN. After readiness was reported too, because that is a hint and no promise (select(2), "Bugs").
    Nothing,
}

/// Reads once.
pub fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Received> {
    loop {
        return match stream.read(buffer) {
            Ok(0) => Ok(Received::Finished),
            Ok(n) => Ok(Received::Bytes(n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// Writes once, and returns how many bytes the socket took: 0 is EAGAIN, the socket is full. (Rust's `write` on a socket
/// is a send(2) with MSG_NOSIGNAL, so a peer that has gone is EPIPE here and not SIGPIPE.)
pub fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        return match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result,
        };
    }
}
