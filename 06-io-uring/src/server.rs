//! io_uring: the server does not ask what is ready. It hands whole operations over, and is told when they are done.
//!
//! Invariant: a connection has exactly one operation in flight, a receive or a send, and is in the kernel's hand until
//! that lands. So nothing is received while bytes are owed (which is all there is to back-pressure), no bytes overtake
//! others, and at most `READ_BUFFER` bytes are owed to anyone.
//!
//! A receive needs its buffer before there is anything to receive. So a connection waits with a small one; when that
//! comes back full there may be more, and the connection borrows a big one until all it holds has been sent.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use common_server::{AcceptError, Notice, Retry, Shutdown};
use flight::{Connection, Flight, Landed, Op};

use crate::setup;

pub struct Server {
    // Fields are dropped in this order: the descriptors are closed when nothing is in flight any more.
    flight: Flight,
    listener: TcpListener,
    _shutdown: Shutdown,
    retry_accept: Retry,
    out_of_fds: Notice,
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        // To wait is the kernel's part here; on a non-blocking listener accept would come back at once with EAGAIN.
        listener.set_nonblocking(false)?;
        let mut flight = Flight::new(setup::ring()?).context("register the buffer ring")?;
        flight.start(Op::Signal(shutdown.as_raw_fd(), Box::new([0])))?;
        flight.start(Op::Accept(listener.as_raw_fd()))?;
        Ok(Self {
            flight,
            listener,
            _shutdown: shutdown,
            retry_accept: Retry::default(),
            out_of_fds: Notice::default(),
        })
    }

    /// Either one accept is in flight or a retry is planned.
    fn accept(&mut self, accepted: io::Result<TcpStream>) -> Result<()> {
        match accepted.map_err(AcceptError::from) {
            Ok(stream) => {
                let connection = Connection { stream, owed: Box::default(), sent: 0 };
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

    // The next two take a connection that has landed and say what it does next. `None` is its end: it was dropped, and as
    // nothing is in flight on it, close(2) really closes.

    fn received(&mut self, connection: Connection, received: io::Result<usize>) -> Option<Op> {
        match received {
            // FIN. Nothing is owed, or nothing would have been received.
            Ok(0) => None,
            Ok(_) => Some(Op::Send(connection)),
            // ENOBUFS: more connections received in this turn than the pool has buffers. They are all back by now.
            Err(error) if is_transient(&error) || error.raw_os_error() == Some(libc::ENOBUFS) => {
                Some(Op::Recv(connection))
            }
            Err(_) => None,
        }
    }

    fn sent(&mut self, mut connection: Connection, sent: io::Result<usize>) -> Option<Op> {
        match sent {
            Ok(0) => return None,
            Ok(n) => connection.sent += n,
            Err(error) if is_transient(&error) => {}
            Err(_) => return None,
        }
        if connection.sent < connection.owed.len() {
            // A short send, for all of MSG_WAITALL. Forgotten here, its rest would be lost without a word.
            return Some(Op::Send(connection));
        }
        connection.owed = Box::default();
        Some(Op::Recv(connection))
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

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
