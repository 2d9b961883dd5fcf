//! An echo server on edge-triggered epoll.
//!
//! Invariant: an edge sets `readable` or `writable`, and only EAGAIN clears it.

// TODO: only the beginning of a large message comes back; the rest comes with the answer to the next message.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};
use exercises::epoll::{ERR, ET, Epoll, Event, HUP, IN, OUT, RDHUP};

const EVERYTHING: u32 = IN | OUT | RDHUP | ET;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    readable: bool,
    writable: bool,
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("large_messages", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let epoll = Epoll::new().context("epoll_create1")?;
    epoll.add(listener.as_raw_fd(), IN | ET).context("register the listener")?;
    epoll.add(shutdown.as_raw_fd(), IN | ET).context("register the shutdown socket")?;
    let (connections, buffer) = (Connections::default(), vec![0; READ_BUFFER]);
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    Ok(Server { epoll, listener, shutdown, connections, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        for event in server.epoll.wait(server.retry_accept.timeout_ms()).context("epoll_wait")? {
            match event.fd() {
                fd if fd == server.shutdown.as_raw_fd() => return Ok(()),
                // Only noted: the listener has its turn below, once.
                fd if fd == server.listener.as_raw_fd() => server.retry_accept.at_once(),
                _ => server.serve(event),
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
        match stream.set_nonblocking(true).and_then(|()| self.epoll.add(fd, EVERYTHING)) {
            Ok(()) => {
                let (peer_finished, readable, writable) = (false, false, false);
                let connection = Connection { stream, pending: Pending::new(), peer_finished, readable, writable };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    fn serve(&mut self, event: Event) {
        let fd = event.fd();
        let Some(connection) = self.connections.get_mut(fd) else { return };
        connection.readable |= event.events & (IN | RDHUP) != 0;
        connection.writable |= event.events & OUT != 0;
        let served = match event.events & (ERR | HUP) {
            0 => connection.echo(&mut self.buffer),
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        };
        let finished = connection.peer_finished && connection.pending.is_empty();
        if served.is_err() || finished {
            self.connections.remove(fd);
            self.retry_accept.now();
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        self.readable && !self.peer_finished && self.pending.has_room()
    }

    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.write()?;
        if self.may_read() {
            self.read(buffer)?;
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => self.pending.push(&buffer[..n]),
            Received::WouldBlock => self.readable = false,
        }
        self.write()
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
