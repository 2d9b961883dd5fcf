//! An echo server on edge-triggered epoll. A connection's turn ends with what it needs next.
//!
//! Invariant: a connection that answers `Again` stands in `again` and gets a turn without an event; one that answers
//! `Wait` has nothing left to do before the next edge.

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
use exercises::epoll::{ERR, ET, Epoll, HUP, IN, OUT};

const READS_PER_TURN: usize = 4;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    readable: bool,
    writable: bool,
}

enum Next {
    Wait,
    Again,
    Close,
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    again: BTreeSet<RawFd>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("short_read", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let epoll = Epoll::new().context("epoll_create1")?;
    epoll.add(listener.as_raw_fd(), IN | ET).context("register the listener")?;
    epoll.add(shutdown.as_raw_fd(), IN | ET).context("register the shutdown socket")?;
    let (connections, again) = (Connections::default(), BTreeSet::new());
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    let buffer = vec![0; READ_BUFFER];
    Ok(Server { epoll, listener, shutdown, connections, again, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        let timeout_ms = if server.again.is_empty() { server.retry_accept.timeout_ms() } else { 0 };
        let events = server.epoll.wait(timeout_ms).context("epoll_wait")?;
        let again = std::mem::take(&mut server.again);
        for event in events {
            match event.fd() {
                fd if fd == server.shutdown.as_raw_fd() => return Ok(()),
                fd if fd == server.listener.as_raw_fd() => server.accept()?,
                fd => server.turn(fd, event.events),
            }
        }
        again.into_iter().for_each(|fd| server.turn(fd, 0));
        if server.retry_accept.take_due() {
            server.accept()?;
        }
    }
}

impl Server {
    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept() {
                Ok((stream, _)) => self.register(stream),
                Err(error) => match AcceptError::from(error) {
                    AcceptError::Drained => return Ok(()),
                    AcceptError::Aborted => continue,
                    AcceptError::OutOfFds(error) => {
                        self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                        self.retry_accept.later();
                        return Ok(());
                    }
                    AcceptError::Broken(error) => return Err(error).context("accept"),
                },
            }
        }
        self.retry_accept.at_once();
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        match stream.set_nonblocking(true).and_then(|()| self.epoll.add(fd, IN | OUT | ET)) {
            Ok(()) => {
                let (peer_finished, readable, writable) = (false, false, false);
                let connection = Connection { stream, pending: Pending::new(), peer_finished, readable, writable };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    fn turn(&mut self, fd: RawFd, events: u32) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        match connection.turn(events, &mut self.buffer) {
            Ok(Next::Wait) => {}
            Ok(Next::Again) => drop(self.again.insert(fd)),
            Ok(Next::Close) | Err(_) => {
                self.connections.remove(fd);
                self.retry_accept.now();
            }
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        self.readable && !self.peer_finished && self.pending.has_room()
    }

    fn turn(&mut self, events: u32, buffer: &mut [u8]) -> io::Result<Next> {
        if events & (ERR | HUP) != 0 {
            return Ok(Next::Close);
        }
        self.readable |= events & IN != 0;
        self.writable |= events & OUT != 0;
        self.flush()?;
        for _ in 0..READS_PER_TURN {
            if !self.may_read() {
                break;
            }
            match receive(&self.stream, buffer)? {
                // However short: only EAGAIN says that an edge will come for what is next. A FIN that is there already
                // came with the same edge as these bytes.
                Received::Bytes(n) => self.pending.push(&buffer[..n]),
                Received::Finished => self.peer_finished = true,
                Received::WouldBlock => self.readable = false,
            }
            self.flush()?;
        }
        Ok(match () {
            () if self.peer_finished && self.pending.is_empty() => Next::Close,
            () if self.may_read() => Next::Again,
            () => Next::Wait,
        })
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
