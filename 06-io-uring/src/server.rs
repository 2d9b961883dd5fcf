//! io_uring: the server does not ask what is ready. It hands whole operations over, and is told when they are done.
//!
//! Invariant: a connection has exactly one operation in flight, a receive or a send, and is in the kernel's hand until
//! that lands. So nothing is received while bytes are owed (which is all there is to back-pressure), no bytes overtake
//! others, and at most `READ_BUFFER` bytes are owed to anyone.
//!
//! A receive needs its buffer before there is anything to receive. So a connection waits with a small one; when that
//! comes back full there may be more, and the connection borrows a big one until all it holds has been sent.

use std::io;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use common_server::{AcceptError, Notice, READ_BUFFER, Retry, Shutdown};
use flight::{Connection, Flight, Landed, Op};

use crate::setup;

/// What a connection waits with. A message shorter than this costs one receive and one send.
const WAIT_BUFFER: usize = 128;

/// Big buffers that are kept for the next borrower; the rest are freed.
const SPARE_BUFFERS: usize = 4;

pub struct Server {
    // Fields are dropped in this order: the descriptors are closed when nothing is in flight any more.
    flight: Flight,
    listener: TcpListener,
    _shutdown: Shutdown,
    spare: Vec<Box<[u8]>>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        // To wait is the kernel's part here; on a non-blocking listener accept would come back at once with EAGAIN.
        listener.set_nonblocking(false)?;
        let mut flight = Flight::new(setup::ring()?);
        flight.start(Op::Signal(shutdown.as_raw_fd(), Box::new([0])))?;
        flight.start(Op::Accept(listener.as_raw_fd()))?;
        Ok(Self {
            flight,
            listener,
            _shutdown: shutdown,
            spare: Vec::new(),
            retry_accept: Retry::default(),
            out_of_fds: Notice::default(),
        })
    }

    /// Either one accept is in flight or a retry is planned.
    fn accept(&mut self, accepted: io::Result<TcpStream>) -> Result<()> {
        match accepted.map_err(AcceptError::from) {
            Ok(stream) => {
                let connection = Connection { stream, buffer: zeroed(WAIT_BUFFER), owed: 0..0 };
                self.flight.start(Op::Recv(connection))?;
            }
            Err(AcceptError::Drained | AcceptError::Aborted) => {}
            Err(AcceptError::OutOfFds(error)) => {
                self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                // Started again now, it would fail again now.
                self.retry_accept.later();
                return Ok(());
            }
            Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
        }
        self.flight.start(Op::Accept(self.listener.as_raw_fd()))?;
        Ok(())
    }

    // The next three take a connection that has landed and say what it does next. `None` is its end: it was dropped, and
    // as nothing is in flight on it, close(2) really closes.

    /// A connection that waited has `received` bytes in its small buffer.
    fn received(&mut self, mut connection: Connection, received: io::Result<usize>) -> Option<Op> {
        match received {
            // FIN. Nothing is owed, or nothing would have been received.
            Ok(0) => None,
            Ok(n) => {
                connection.owed = 0..n;
                Some(if n < WAIT_BUFFER { Op::Send(connection) } else { Op::RecvMore(self.lend(connection)) })
            }
            Err(error) if is_transient(&error) => Some(Op::Recv(connection)),
            Err(_) => None,
        }
    }

    /// A big buffer has `received` bytes more, or none: this receive did not wait. What is owed now goes first.
    fn received_more(&mut self, mut connection: Connection, received: io::Result<usize>) -> Option<Op> {
        match received {
            // A FIN (0) is not used up when it is reported: the next receive reports it again.
            Ok(n) => connection.owed.end += n,
            Err(error) if is_transient(&error) => {}
            Err(_) => return None,
        }
        Some(Op::Send(connection))
    }

    fn sent(&mut self, mut connection: Connection, sent: io::Result<usize>) -> Option<Op> {
        match sent {
            Ok(0) => return None,
            Ok(n) => connection.owed.start += n,
            Err(error) if is_transient(&error) => {}
            Err(_) => return None,
        }
        match connection.owed.is_empty() {
            true => Some(Op::Recv(self.take_back(connection))),
            // A short send, for all of MSG_WAITALL. Forgotten here, its rest would be lost without a word.
            false => Some(Op::Send(connection)),
        }
    }

    fn lend(&mut self, mut connection: Connection) -> Connection {
        let big = self.spare.pop().unwrap_or_else(|| zeroed(READ_BUFFER));
        let small = mem::replace(&mut connection.buffer, big);
        connection.buffer[..small.len()].copy_from_slice(&small);
        connection
    }

    fn take_back(&mut self, mut connection: Connection) -> Connection {
        connection.owed = 0..0;
        if connection.buffer.len() == READ_BUFFER {
            let big = mem::replace(&mut connection.buffer, zeroed(WAIT_BUFFER));
            if self.spare.len() < SPARE_BUFFERS {
                self.spare.push(big);
            }
        }
        connection
    }

    pub fn run(mut self) -> Result<()> {
        loop {
            if self.retry_accept.take_due() {
                self.flight.start(Op::Accept(self.listener.as_raw_fd()))?;
            }
            // What one turn starts, the next turn's wait hands over: one syscall for all of it.
            self.flight.wait(self.retry_accept.timeout_ms()).context("io_uring_enter")?;
            while let Some(landed) = self.flight.land() {
                let next = match landed {
                    // Whatever is in flight is cancelled when `flight` is dropped.
                    Landed::Signalled => return Ok(()),
                    Landed::Accepted(accepted) => {
                        self.accept(accepted)?;
                        continue;
                    }
                    Landed::Received(connection, received) => self.received(connection, received),
                    Landed::ReceivedMore(connection, received) => self.received_more(connection, received),
                    Landed::Sent(connection, sent) => self.sent(connection, sent),
                };
                match next {
                    Some(op) => self.flight.start(op)?,
                    None => self.retry_accept.now(),
                }
            }
        }
    }
}

fn zeroed(len: usize) -> Box<[u8]> {
    vec![0; len].into()
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
