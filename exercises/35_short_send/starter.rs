//! An echo server on io_uring.
//!
//! Invariant: a connection has one operation in flight, a receive or a send, until it is closed. Its place in the table
//! is its descriptor, and so is the number of its buffer.

// TODO: a client that downloads a lot gets a file with holes in it.

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
    pending: Range<usize>,
}

struct Server {
    ring: Ring,
    listener: TcpListener,
    _shutdown: Shutdown,
    connections: Connections<Connection>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("short_send", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    listener.set_nonblocking(false)?;
    let mut ring = Ring::new()?;
    ring.signal(&shutdown)?;
    ring.accept(&listener)?;
    let connections = Connections::default();
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    Ok(Server { ring, listener, _shutdown: shutdown, connections, retry_accept, out_of_fds })
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
                Landed::Received { slot, .. } | Landed::Sent { slot, .. } => server.landed(slot, landed)?,
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
                self.go_on(slot as usize)?;
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

    /// Sends the pending bytes, or receives when there are none.
    fn go_on(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        if connection.pending.is_empty() {
            return self.ring.recv(&connection.stream, slot, slot);
        }
        self.ring.send(&connection.stream, slot, slot, connection.pending.clone())
    }

    fn landed(&mut self, slot: usize, landed: Landed) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        match landed {
            // The client's FIN, with no bytes pending.
            Landed::Received { received: Ok(0), .. } => self.close(slot),
            Landed::Received { received: Ok(n), .. } => connection.pending = 0..n,
            Landed::Sent { sent: Ok(_), .. } => connection.pending = 0..0,
            Landed::Received { received: Err(error), .. } | Landed::Sent { sent: Err(error), .. } => {
                if !is_transient(&error) {
                    self.close(slot);
                }
            }
            other => unreachable!("{other:?} was never started"),
        }
        self.go_on(slot)
    }

    fn close(&mut self, slot: usize) {
        self.connections.remove(slot as i32);
        self.retry_accept.now();
    }
}
