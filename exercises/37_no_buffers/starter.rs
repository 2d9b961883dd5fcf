//! An echo server on io_uring.
//!
//! Invariant: a connection has one operation in flight, a receive or a send, until it is closed. A lent buffer goes
//! back to the kernel when all of its bytes have been sent.

// TODO: on bad days a whole core goes into this, and nobody is served.

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

struct Server {
    ring: Ring,
    listener: TcpListener,
    _shutdown: Shutdown,
    connections: Connections<Connection>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("no_buffers", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    listener.set_nonblocking(false)?;
    let mut ring = Ring::new()?;
    ring.lend().context("io_uring: register a buffer ring (Linux 5.19 can)")?;
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
                Landed::ReceivedLent { slot, received, lent } => server.received(slot, received, lent)?,
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
        self.ring.recv_lent(&connection.stream, slot)
    }

    fn send(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        self.ring.send(&connection.stream, slot, connection.buffer, connection.pending.clone())
    }

    fn received(&mut self, slot: usize, received: io::Result<usize>, buffer: Option<usize>) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        match (received, buffer) {
            (Ok(n), Some(buffer)) if n > 0 => {
                (connection.buffer, connection.pending) = (buffer, 0..n);
                return self.send(slot);
            }
            (Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => return self.receive(slot),
            (Err(error), _) if is_transient(&error) => return self.receive(slot),
            // The client's FIN, with no bytes pending, or a reset; the kernel may have picked a buffer all the same.
            (_, Some(buffer)) => self.ring.give_back(buffer),
            (_, None) => {}
        }
        self.close(slot);
        Ok(())
    }

    fn sent(&mut self, slot: usize, sent: io::Result<usize>) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(slot as i32) else { return Ok(()) };
        let failed = match sent {
            Ok(n) => {
                connection.pending.start += n;
                false
            }
            Err(error) => !is_transient(&error),
        };
        if !failed && !connection.pending.is_empty() {
            return self.send(slot);
        }
        self.ring.give_back(connection.buffer);
        if failed {
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
