//! An echo server on edge-triggered epoll, with a bound on the pending bytes of each client.
//!
//! Invariant: an edge sets `readable` or `writable`, and only EAGAIN clears it. A connection that has news, or more to
//! read when its turn ends, is in `ready` and gets one turn for it.

// TODO: a client that took its time to read, and then read everything, gets no answer any more.

use std::collections::BTreeSet;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};
use exercises::epoll::{ERR, ET, Epoll, Event, HUP, IN, OUT, RDHUP};

const READS_PER_TURN: usize = 4;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    gone: bool,
    readable: bool,
    writable: bool,
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    ready: BTreeSet<RawFd>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("back_pressure", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let epoll = Epoll::new().context("epoll_create1")?;
    epoll.add(listener.as_raw_fd(), IN | ET).context("register the listener")?;
    epoll.add(shutdown.as_raw_fd(), IN | ET).context("register the shutdown socket")?;
    let (connections, ready) = (Connections::default(), BTreeSet::new());
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    let buffer = vec![0; READ_BUFFER];
    Ok(Server { epoll, listener, shutdown, connections, ready, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        let timeout_ms = if server.ready.is_empty() { server.retry_accept.timeout_ms() } else { 0 };
        for event in server.epoll.wait(timeout_ms).context("epoll_wait")? {
            match event.fd() {
                fd if fd == server.shutdown.as_raw_fd() => return Ok(()),
                // Only noted: the listener has its turn below, once.
                fd if fd == server.listener.as_raw_fd() => server.retry_accept.at_once(),
                _ => server.note(event),
            }
        }
        std::mem::take(&mut server.ready).into_iter().for_each(|fd| server.serve(fd));
        if server.retry_accept.take_due() {
            server.accept()?;
        }
    }
}

impl Server {
    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => self.register(stream),
                Err(AcceptError::Drained) => return Ok(()),
                Err(AcceptError::Aborted) => continue,
                Err(AcceptError::OutOfFds(error)) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry_accept.later();
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        self.retry_accept.at_once();
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        match stream.set_nonblocking(true).and_then(|()| self.epoll.add(fd, IN | OUT | RDHUP | ET)) {
            Ok(()) => {
                let (pending, peer_finished, gone) = (Pending::new(), false, false);
                let (readable, writable) = (false, false);
                let connection = Connection { stream, pending, peer_finished, gone, readable, writable };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    fn note(&mut self, event: Event) {
        let Some(connection) = self.connections.get_mut(event.fd()) else { return };
        connection.readable |= event.events & (IN | RDHUP) != 0;
        connection.writable |= event.events & OUT != 0;
        connection.gone |= event.events & (ERR | HUP) != 0;
        self.ready.insert(event.fd());
    }

    fn serve(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let more = if connection.gone {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            connection.echo(&mut self.buffer)
        };
        let finished = connection.peer_finished && connection.pending.is_empty();
        match more {
            Ok(false) if !finished => {}
            Ok(true) if !finished => drop(self.ready.insert(fd)),
            _ => {
                self.connections.remove(fd);
                self.retry_accept.now();
            }
        }
    }
}

impl Connection {
    /// Returns whether the connection has used up its reads and may have more to read.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.pending.is_empty() {
            self.flush()?;
            return Ok(false);
        }
        self.read(buffer)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        for _ in 0..READS_PER_TURN {
            // At the bound the server stops reading. The bytes that it does not read are what makes the client stop.
            if !self.readable || self.peer_finished || !self.pending.has_room() {
                return Ok(false);
            }
            match receive(&self.stream, buffer)? {
                Received::Finished => self.peer_finished = true,
                Received::Bytes(n) => self.pending.push(&buffer[..n]),
                Received::WouldBlock => self.readable = false,
            }
            self.flush()?;
        }
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.writable && !self.pending.is_empty() {
            match send(&self.stream, self.pending.front())? {
                Sent::Bytes(n) => self.pending.consume(n),
                Sent::WouldBlock => self.writable = false,
            }
        }
        Ok(())
    }
}
