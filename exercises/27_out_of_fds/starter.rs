//! An echo server on edge-triggered epoll.
//!
//! Invariant: an edge sets `readable` or `writable`, and only EAGAIN clears it. A connection that has news, or more to
//! read when its turn ends, is in `ready` and gets one turn for it.

// TODO: after an evening with too many clients, those in the accept queue wait on although others have left.

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
    common_server::main("out_of_fds", new, run)
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
        let failed = connection.gone || connection.echo(&mut self.buffer).is_err();
        if failed || connection.peer_finished && connection.pending.is_empty() {
            self.connections.remove(fd);
        } else if connection.may_read() {
            self.ready.insert(fd);
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        self.readable && !self.peer_finished && self.pending.has_room()
    }

    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.write()?;
        for _ in 0..READS_PER_TURN {
            if !self.may_read() {
                break;
            }
            match receive(&self.stream, buffer)? {
                Received::Finished => self.peer_finished = true,
                Received::Bytes(n) => self.pending.push(&buffer[..n]),
                Received::WouldBlock => self.readable = false,
            }
            self.write()?;
        }
        Ok(())
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
