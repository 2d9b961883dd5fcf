//! An echo server on io_uring.
//!
//! Invariant: a connection has one operation in flight, a receive or a send, until it ends. Beside it, a watch is in
//! flight: one day this server will ask another server before it answers, and then it has to notice a client that hangs
//! up meanwhile, or is reset after its FIN. The place of a connection in the table is its slot, and so is the number of
//! its buffer. A slot is free again when both its connection and its watch have ended.

// TODO: the client sends its FIN, and never gets one.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{AcceptError, Notice, Retry, Shutdown};
use exercises::ring::{Landed, Ring, is_transient};

struct Connection {
    stream: TcpStream,
    pending: Range<usize>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    watched: bool,
}

struct Server {
    ring: Ring,
    listener: TcpListener,
    _shutdown: Shutdown,
    slots: Vec<Slot>,
    free: Vec<usize>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("close_in_flight", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    listener.set_nonblocking(false)?;
    let mut ring = Ring::new()?;
    ring.signal(&shutdown)?;
    ring.accept(&listener)?;
    let (slots, free) = (Vec::new(), Vec::new());
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    Ok(Server { ring, listener, _shutdown: shutdown, slots, free, retry_accept, out_of_fds })
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
                Landed::HungUp { slot, more } => server.hung_up(slot, more),
                other => unreachable!("{other:?} was never started"),
            }
        }
    }
}

impl Server {
    fn accepted(&mut self, accepted: io::Result<TcpStream>) -> Result<()> {
        match accepted.map_err(AcceptError::from) {
            Ok(stream) => {
                let slot = self.free.pop().unwrap_or(self.slots.len());
                if slot == self.slots.len() {
                    self.slots.push(Slot::default());
                }
                self.ring.watch(&stream, slot)?;
                self.slots[slot] = Slot { connection: Some(Connection { stream, pending: 0..0 }), watched: true };
                self.go_on(slot)?;
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
        let Some(connection) = &self.slots[slot].connection else { return Ok(()) };
        if connection.pending.is_empty() {
            return self.ring.recv(&connection.stream, slot, slot);
        }
        self.ring.send(&connection.stream, slot, slot, connection.pending.clone())
    }

    fn received(&mut self, slot: usize, received: io::Result<usize>) -> io::Result<()> {
        let Some(connection) = &mut self.slots[slot].connection else { return Ok(()) };
        match received {
            Ok(n) if n > 0 => connection.pending = 0..n,
            Err(error) if is_transient(&error) => {}
            // The client's FIN, with no bytes pending, or a reset.
            _ => self.end(slot)?,
        }
        self.go_on(slot)
    }

    fn sent(&mut self, slot: usize, sent: io::Result<usize>) -> io::Result<()> {
        let Some(connection) = &mut self.slots[slot].connection else { return Ok(()) };
        match sent {
            Ok(n) => connection.pending.start += n,
            Err(error) if is_transient(&error) => {}
            Err(_) => self.end(slot)?,
        }
        self.go_on(slot)
    }

    /// Closes the connection by dropping it.
    fn end(&mut self, slot: usize) -> io::Result<()> {
        self.slots[slot].connection = None;
        self.free_if_over(slot);
        self.retry_accept.now();
        Ok(())
    }

    /// Closes nothing: the receive or send in flight completes by itself, and its result says whether the connection ends.
    fn hung_up(&mut self, slot: usize, more: bool) {
        self.slots[slot].watched = more;
        self.free_if_over(slot);
    }

    fn free_if_over(&mut self, slot: usize) {
        if self.slots[slot].connection.is_none() && !self.slots[slot].watched {
            self.free.push(slot);
        }
    }
}
