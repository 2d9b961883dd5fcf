//! An echo server on edge-triggered epoll.
//!
//! Invariant: `readable` and `writable` are what an edge announced and no EAGAIN took back; a connection that could go
//! on when its turn ends stands in `unfinished`.

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

const READS_PER_TURN: usize = 4;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    readable: bool,
    writable: bool,
    unfinished: bool,
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    unfinished: Vec<RawFd>,
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
    let (connections, unfinished) = (Connections::default(), Vec::new());
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    let buffer = vec![0; READ_BUFFER];
    Ok(Server { epoll, listener, shutdown, connections, unfinished, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        let timeout_ms = if server.unfinished.is_empty() { server.retry_accept.timeout_ms() } else { 0 };
        let events = server.epoll.wait(timeout_ms).context("epoll_wait")?;
        let unfinished = std::mem::take(&mut server.unfinished);
        for event in events {
            match event.fd() {
                fd if fd == server.shutdown.as_raw_fd() => return Ok(()),
                fd if fd == server.listener.as_raw_fd() => server.accept()?,
                fd => server.serve(fd, event.events),
            }
        }
        for fd in unfinished {
            if let Some(connection) = server.connections.get_mut(fd) {
                connection.unfinished = false;
                server.serve(fd, 0);
            }
        }
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
                        // TODO: after an evening with too many clients, those in the queue wait on although others have left.
                        self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
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
        match stream.set_nonblocking(true).and_then(|()| self.epoll.add(fd, IN | OUT | RDHUP | ET)) {
            Ok(()) => {
                let (readable, writable, unfinished, peer_finished) = (false, false, false, false);
                let pending = Pending::new();
                let connection = Connection { stream, pending, peer_finished, readable, writable, unfinished };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    fn serve(&mut self, fd: RawFd, events: u32) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        connection.readable |= events & (IN | RDHUP) != 0;
        connection.writable |= events & OUT != 0;
        let gone = events & (ERR | HUP) != 0;
        let served = if gone { Err(io::ErrorKind::ConnectionReset.into()) } else { connection.echo(&mut self.buffer) };
        let finished = connection.peer_finished && connection.pending.is_empty();
        if served.is_err() || finished {
            self.connections.remove(fd);
        } else if connection.may_go_on() && !connection.unfinished {
            connection.unfinished = true;
            self.unfinished.push(fd);
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        self.readable && !self.peer_finished && self.pending.has_room()
    }

    fn may_go_on(&self) -> bool {
        self.may_read() || self.writable && !self.pending.is_empty()
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
