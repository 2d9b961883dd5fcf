//! io_uring: the server does not ask what is ready. It hands whole operations over, and is told when they are done.
//!
//! Invariant: a connection has exactly one operation in flight, a receive or a send, and is the kernel's until that
//! operation lands. So nothing is received while bytes are pending, which is all of back-pressure: a connection has at
//! most one `BUFFER` of pending bytes. No two sends can overtake each other. And no code here can touch what the kernel
//! is working on: `start` takes the connection away, and only its completion hands it back.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use common_server::{AcceptError, Notice, Retry, Shutdown};

use crate::flight::{Bytes, Flight, Landed, Op, is_transient};

pub struct Server {
    // Fields are dropped in this order, so the descriptors are closed when nothing is in flight any more.
    flight: Flight,
    listener: TcpListener,
    _shutdown: Shutdown,
    retry_accept: Retry,
    out_of_fds: Notice,
}

impl Server {
    pub fn new(mut flight: Flight, listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        // Waiting is the kernel's part here. It may wait in a worker thread, where O_NONBLOCK would mean EAGAIN.
        listener.set_nonblocking(false)?;
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

    /// One accept is in flight, or a retry is planned. More accepts would take more connections in a turn, but each
    /// keeps the limit of descriptors that it was started under, and so would not notice when that is lowered.
    fn accept(&mut self, accepted: io::Result<TcpStream>) -> Result<()> {
        match accepted.map_err(AcceptError::from) {
            Ok(stream) => self.flight.start(Op::Recv(stream))?,
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

    // The next two take what has landed, and say what the connection does next. `None` is its end: the stream is
    // dropped. Nothing is in flight on it, so the drop closes it and frees its descriptor at once.

    fn received(&mut self, stream: TcpStream, received: io::Result<Option<Bytes>>) -> Option<Op> {
        match received {
            Ok(Some(bytes)) => Some(Op::Send(stream, bytes)),
            // FIN. No bytes are pending, or nothing would have been received.
            Ok(None) => None,
            Err(error) if is_transient(&error) => Some(Op::Recv(stream)),
            Err(_) => None,
        }
    }

    fn sent(&mut self, stream: TcpStream, rest: io::Result<Bytes>) -> Option<Op> {
        match rest {
            Ok(rest) if rest.is_empty() => Some(Op::Recv(stream)),
            // A full socket, or a short send. Forgotten here, the rest would be lost without a word.
            Ok(rest) => Some(Op::Send(stream, rest)),
            Err(_) => None,
        }
    }

    pub fn run(mut self) -> Result<()> {
        // Of one turn: connections whose receive found no buffer, and those that are to receive again.
        let (mut starved, mut echoed) = (Vec::new(), Vec::new());
        loop {
            if self.retry_accept.take_due() {
                self.flight.start(Op::Accept(self.listener.as_raw_fd()))?;
            }
            // What one turn starts, the next turn's wait hands over: one syscall for all of it.
            self.flight.wait(self.retry_accept.timeout_ms()).context("io_uring_enter")?;
            while let Some(landed) = self.flight.land() {
                let next = match landed {
                    // Dropping `flight` cancels what is in flight, and waits for its end.
                    Landed::Signalled => return Ok(()),
                    Landed::Accepted(accepted) => {
                        self.accept(accepted)?;
                        continue;
                    }
                    // More had come than the pool has buffers.
                    Landed::Received(stream, Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        starved.push(stream);
                        continue;
                    }
                    Landed::Received(stream, received) => self.received(stream, received),
                    Landed::Sent(stream, rest) => self.sent(stream, rest),
                };
                match next {
                    Some(Op::Recv(stream)) => echoed.push(stream),
                    Some(op) => self.flight.start(op)?,
                    None => self.retry_accept.now(),
                }
            }
            // Receives start when this turn's buffers are back, and those that found none start first. In another order
            // the connections that had the buffers would have them again, for as long as they flood.
            for stream in starved.drain(..).chain(echoed.drain(..)) {
                self.flight.start(Op::Recv(stream))?;
            }
        }
    }
}
