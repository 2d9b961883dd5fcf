//! An echo server on edge-triggered epoll that works in phases: read from all, look for news, write to all.
//!
//! Invariant: an edge sets `readable` or `writable`, and EAGAIN clears it. A connection with a flag and a use for it is
//! in `busy`.

// TODO: once in a blue moon the second of two messages gets no answer until a third message comes.

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
use exercises::epoll::{ERR, ET, Epoll, HUP, IN, OUT, RDHUP};

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
    busy: BTreeSet<RawFd>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("ready_flag", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let epoll = Epoll::new().context("epoll_create1")?;
    epoll.add(listener.as_raw_fd(), IN | ET).context("register the listener")?;
    epoll.add(shutdown.as_raw_fd(), IN | ET).context("register the shutdown socket")?;
    let (connections, busy, buffer) = (Connections::default(), BTreeSet::new(), vec![0; READ_BUFFER]);
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    Ok(Server { epoll, listener, shutdown, connections, busy, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        let timeout_ms = if server.busy.is_empty() { server.retry_accept.timeout_ms() } else { 0 };
        if server.look(timeout_ms)? {
            return Ok(());
        }
        let turn = std::mem::take(&mut server.busy);
        let drained: Vec<RawFd> = turn.iter().copied().filter(|&fd| server.read(fd)).collect();
        // Events that came meanwhile count already: most of all, room for the pending bytes.
        if server.look(0)? {
            return Ok(());
        }
        for fd in drained {
            if let Some(connection) = server.connections.get_mut(fd) {
                connection.readable = false;
            }
        }
        turn.iter().for_each(|&fd| server.write(fd));
        if server.retry_accept.take_due() {
            server.accept()?;
        }
    }
}

impl Server {
    /// Notes what the wait reports, and returns whether it is time to stop.
    fn look(&mut self, timeout_ms: i32) -> Result<bool> {
        for event in self.epoll.wait(timeout_ms).context("epoll_wait")? {
            match event.fd() {
                fd if fd == self.shutdown.as_raw_fd() => return Ok(true),
                fd if fd == self.listener.as_raw_fd() => self.retry_accept.at_once(),
                fd => {
                    let Some(connection) = self.connections.get_mut(fd) else { continue };
                    connection.readable |= event.events & (IN | RDHUP) != 0;
                    connection.writable |= event.events & OUT != 0;
                    connection.gone |= event.events & (ERR | HUP) != 0;
                    self.busy.insert(fd);
                }
            }
        }
        Ok(false)
    }

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

    /// Reads, and returns whether the connection is drained.
    fn read(&mut self, fd: RawFd) -> bool {
        let Some(connection) = self.connections.get_mut(fd) else { return false };
        // Twice, because the second read mostly says EAGAIN.
        for _ in 0..2 {
            if !connection.may_read() {
                break;
            }
            match receive(&connection.stream, &mut self.buffer) {
                Ok(Received::Bytes(n)) => connection.pending.push(&self.buffer[..n]),
                Ok(Received::Finished) => connection.peer_finished = true,
                Ok(Received::WouldBlock) => return true,
                Err(_) => connection.gone = true,
            }
        }
        false
    }

    fn write(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        connection.gone |= connection.write().is_err();
        if connection.gone || connection.peer_finished && connection.pending.is_empty() {
            self.busy.remove(&fd);
            self.connections.remove(fd);
            self.retry_accept.now();
        } else if connection.may_read() {
            self.busy.insert(fd);
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        self.readable && !self.gone && !self.peer_finished && self.pending.has_room()
    }

    fn write(&mut self) -> io::Result<()> {
        while self.writable && !self.pending.is_empty() {
            match send(&self.stream, self.pending.front())? {
                Sent::Bytes(n) => self.pending.consume(n),
                Sent::WouldBlock => self.writable = false,
            }
        }
        Ok(())
    }
}
