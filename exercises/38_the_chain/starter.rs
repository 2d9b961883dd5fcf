//! An echo server on io_uring.
//!
//! Invariant: an open connection has an operation in flight. Its place in the table is its descriptor, and so is the
//! number of its buffer.

// TODO: a client was sent an answer that ends in a stranger's password.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{AcceptError, Connections, Notice, Retry, Shutdown};
use exercises::ring::{Landed, Ring, is_transient};

/// The clients' messages have this length.
const MESSAGE: usize = 512;

struct Connection {
    stream: TcpStream,
    pending: Range<usize>,
    peer_finished: bool,
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
    common_server::main("the_chain", new, run)
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
                self.connections.insert(slot, Connection { stream, pending: 0..0, peer_finished: false });
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
        connection.pending = 0..MESSAGE;
        self.ring.recv_then_send(&connection.stream, slot, slot, MESSAGE)
    }

    fn received(&mut self, slot: usize, received: io::Result<usize>) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        // Nothing to start: the send is under way. If the receive failed, the send completes with ECANCELED.
        connection.peer_finished = matches!(received, Ok(0));
        Ok(())
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
        self.go_on(slot)
    }

    /// Sends the pending bytes. When there are none, receives, or closes after the client's FIN.
    fn go_on(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        if !connection.pending.is_empty() {
            return self.ring.send(&connection.stream, slot, slot, connection.pending.clone());
        }
        if connection.peer_finished {
            self.close(slot);
            return Ok(());
        }
        self.receive(slot)
    }

    fn close(&mut self, slot: usize) {
        self.connections.remove(slot as i32);
        self.retry_accept.now();
    }
}
