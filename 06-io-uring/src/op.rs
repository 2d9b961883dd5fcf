//! The operations of the chapter's server, what each owns, and what each becomes when it has landed.
//!
//! Invariant: an entry names no memory but what its operation owns, in a box or in the pool. So the operation may move, and
//! the addresses in its entry stay right.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use crate::pool::{self, BUFFER, Bytes};
use crate::queues::is_transient;

/// An operation that owns everything the kernel needs for it. Its sockets are blocking, as accept leaves them: with
/// O_NONBLOCK, an operation that the kernel has moved to a worker thread would end with EAGAIN instead of waiting.
pub enum Op {
    /// Takes the next connection from this listener.
    Accept(RawFd),
    /// Waits for bytes. It owns no memory for them: the kernel takes a buffer of the pool when bytes come.
    Recv(TcpStream),
    /// Sends bytes. From a buffer of the pool it sends what the socket takes at once; others it sends with all the wait
    /// that they need.
    Send(TcpStream, Bytes),
    /// Waits for the byte that a signal's handler writes to this socket.
    Signal(RawFd, Box<[u8; 1]>),
}

/// An operation that has landed: what it owned, and how it went.
pub enum Landed {
    /// An `Accept` has landed.
    Accepted(io::Result<TcpStream>),
    /// A `Recv` has landed. `None`: the peer sent FIN.
    Received(TcpStream, io::Result<Option<Bytes>>),
    /// A `Send` has landed, with the bytes that are still to be sent.
    Sent(TcpStream, io::Result<Bytes>),
    /// A `Signal` has landed.
    Signalled,
}

impl Op {
    pub(crate) fn entry(&mut self) -> squeue::Entry {
        match self {
            // An accepted socket does not inherit close-on-exec.
            Op::Accept(listener) => {
                opcode::Accept::new(Fd(*listener), ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
            }
            Op::Recv(stream) => opcode::Recv::new(Fd(stream.as_raw_fd()), ptr::null_mut(), BUFFER as u32)
                .buf_group(pool::GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            Op::Send(stream, bytes) => {
                let flags = match bytes {
                    Bytes::Lent(_) => libc::MSG_DONTWAIT,
                    // After a short send the kernel goes on by itself, and reports when all is sent.
                    Bytes::Own(..) => libc::MSG_WAITALL,
                };
                opcode::Send::new(Fd(stream.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
                    .flags(flags | libc::MSG_NOSIGNAL)
                    .build()
            }
            Op::Signal(fd, byte) => opcode::Recv::new(Fd(*fd), byte.as_mut_ptr(), 1).build(),
        }
    }

    pub(crate) fn land(self, result: io::Result<usize>, received: Option<Bytes>) -> Landed {
        match self {
            Op::Accept(_) => Landed::Accepted(result.map(|fd| {
                // SAFETY: the kernel made the descriptor for this completion, which is handed back once. So nothing else
                // owns the descriptor.
                unsafe { TcpStream::from_raw_fd(fd as RawFd) }
            })),
            Op::Recv(stream) => Landed::Received(
                stream,
                result.map(|n| match n {
                    0 => None,
                    _ => received,
                }),
            ),
            Op::Send(stream, bytes) => Landed::Sent(
                stream,
                match result {
                    Ok(sent) => Ok(bytes.after(sent)),
                    Err(error) if is_transient(&error) => Ok(bytes.after(0)),
                    Err(error) => Err(error),
                },
            ),
            Op::Signal(..) => Landed::Signalled,
        }
    }
}
