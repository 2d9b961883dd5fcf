//! An echo server on io_uring.
//!
//! Invariant: a connection has one operation in flight, a receive or a send, until it is closed. Its place in the table
//! is its descriptor, and so is the number of its buffer.

// TODO: since the day on which the server ran out of descriptors, no new client gets in.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{AcceptError, Connections, Notice, Shutdown};
use exercises::ring::{Landed, Ring, is_transient};

struct Connection {
    stream: TcpStream,
    pending: Range<usize>,
}

struct Server {
    ring: Ring,
    listener: TcpListener,
    _shutdown: Shutdown,
    connections: Connections<Connection>,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("multishot", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    listener.set_nonblocking(false)?;
    let mut ring = Ring::new()?;
    ring.signal(&shutdown)?;
    let connections = Connections::default();
    let out_of_fds = Notice::default();
    Ok(Server { ring, listener, _shutdown: shutdown, connections, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    server.ring.accept_multishot(&server.listener)?;
    loop {
        for landed in server.ring.wait(-1).context("io_uring_enter")? {
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

impl Server {
    fn accepted(&mut self, accepted: io::Result<TcpStream>) -> Result<()> {
        match accepted.map_err(AcceptError::from) {
            Ok(stream) => {
                let slot = stream.as_raw_fd();
                self.connections.insert(slot, Connection { stream, pending: 0..0 });
                self.receive(slot as usize)?;
            }
            Err(AcceptError::Drained | AcceptError::Aborted) => {}
            Err(AcceptError::OutOfFds(error)) => {
                self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
            }
            Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
        }
        Ok(())
    }

    fn receive(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        self.ring.recv(&connection.stream, slot, slot)
    }

    fn send(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        self.ring.send(&connection.stream, slot, slot, connection.pending.clone())
    }

    fn received(&mut self, slot: usize, received: io::Result<usize>) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        match received {
            Ok(n) if n > 0 => {
                connection.pending = 0..n;
                self.send(slot)
            }
            Err(error) if is_transient(&error) => self.receive(slot),
            // The client's FIN, with no bytes pending, or a reset.
            _ => {
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
    }
}
