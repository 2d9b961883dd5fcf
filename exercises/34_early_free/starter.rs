//! An echo server on io_uring.
//!
//! Invariant: a connection has one operation in flight, a receive or a send, until it is closed. Its place in the table
//! is its descriptor.

// TODO: a client that is slow to read gets what others have written meanwhile.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{AcceptError, Connections, Notice, Retry, Shutdown};
use exercises::ring::{Landed, Ring, is_transient};

struct Connection {
    stream: TcpStream,
    buffer: usize,
    pending: Range<usize>,
}

/// Numbers of buffers that no connection uses. The pool makes a new number only when all of its numbers are in use.
#[derive(Default)]
struct Pool {
    free: Vec<usize>,
    made: usize,
}

struct Server {
    ring: Ring,
    listener: TcpListener,
    _shutdown: Shutdown,
    connections: Connections<Connection>,
    pool: Pool,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("early_free", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    listener.set_nonblocking(false)?;
    let mut ring = Ring::new()?;
    ring.signal(&shutdown)?;
    ring.accept(&listener)?;
    let (connections, pool) = (Connections::default(), Pool::default());
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    Ok(Server { ring, listener, _shutdown: shutdown, connections, pool, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        if server.retry_accept.take_due() {
            server.ring.accept(&server.listener)?;
        }
        for landed in server.ring.wait(server.retry_accept.timeout_ms()).context("io_uring_enter")? {
            match landed {
                Landed::Signalled => return Ok(()),
                Landed::Accepted { accepted, .. } => server.accepted(accepted)?,
                Landed::Received { slot, received } => server.received(slot, received)?,
                Landed::Sent { slot, sent } => server.sent(slot, sent)?,
                other => unreachable!("{other:?} was never started"),
            }
        }
    }
}

impl Pool {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            self.made - 1
        })
    }

    fn give(&mut self, buffer: usize) {
        self.free.push(buffer);
    }
}

impl Server {
    fn accepted(&mut self, accepted: io::Result<TcpStream>) -> Result<()> {
        match accepted.map_err(AcceptError::from) {
            Ok(stream) => {
                let slot = stream.as_raw_fd();
                self.connections.insert(slot, Connection { stream, buffer: 0, pending: 0..0 });
                self.receive(slot as usize)?;
            }
            Err(AcceptError::Drained | AcceptError::Aborted) => {}
            Err(AcceptError::OutOfFds(error)) => {
                self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                self.retry_accept.later();
                return Ok(());
            }
            Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
        }
        self.ring.accept(&self.listener)?;
        Ok(())
    }

    fn receive(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        connection.buffer = self.pool.take();
        self.ring.recv(&connection.stream, slot, connection.buffer)
    }

    fn send(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        self.ring.send(&connection.stream, slot, connection.buffer, connection.pending.clone())
    }

    fn received(&mut self, slot: usize, received: io::Result<usize>) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        match received {
            Ok(n) if n > 0 => {
                connection.pending = 0..n;
                self.pool.give(connection.buffer);
                self.send(slot)
            }
            Err(error) if is_transient(&error) => {
                self.pool.give(connection.buffer);
                self.receive(slot)
            }
            // The client's FIN, with no bytes pending, or a reset.
            _ => {
                self.pool.give(connection.buffer);
                self.close(slot);
                Ok(())
            }
        }
    }

    fn sent(&mut self, slot: usize, sent: io::Result<usize>) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        match sent {
            Ok(n) => connection.pending.start += n,
            Err(error) if is_transient(&error) => {}
            Err(_) => {
                self.close(slot);
                return Ok(());
            }
        }
        if connection.pending.is_empty() { self.receive(slot) } else { self.send(slot) }
    }

    fn close(&mut self, slot: usize) {
        self.connections.remove(slot as i32);
        self.retry_accept.now();
    }
}
