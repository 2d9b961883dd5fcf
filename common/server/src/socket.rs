//! One read or one write on a non-blocking socket. EINTR repeats the call, and EAGAIN is a result, not an error.
//!
//! Invariant: each function transfers bytes at most once. The chapters decide how often to call it, and what its result
//! means for the next wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// The result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// This many bytes, at least one.
    Bytes(usize),
    /// The peer sent FIN: nothing more will come, but the peer may still read.
    Finished,
    /// EAGAIN: the receive queue is empty. This can happen even after the wait reported readiness, because readiness is
    /// only a hint (select(2), "Bugs").
    WouldBlock,
}

/// The result of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The socket took this many bytes from the front, at least one.
    Bytes(usize),
    /// EAGAIN: the send buffer is full.
    WouldBlock,
}

impl Sent {
    /// How many bytes the socket took: 0 if the write would have blocked.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bytes(n) => n,
            Self::WouldBlock => 0,
        }
    }
}

/// Reads once.
pub fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Received> {
    loop {
        return match stream.read(buffer) {
            Ok(0) => Ok(Received::Finished),
            Ok(n) => Ok(Received::Bytes(n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::WouldBlock),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// Writes once. (Rust's `write` on a socket is send(2) with MSG_NOSIGNAL: if the peer has gone, it fails with EPIPE
/// instead of killing the process with SIGPIPE.)
pub fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<Sent> {
    loop {
        return match stream.write(bytes) {
            Ok(n) => Ok(Sent::Bytes(n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Sent::WouldBlock),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}
