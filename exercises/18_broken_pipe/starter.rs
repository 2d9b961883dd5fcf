//! An echo server on level-triggered epoll.
//!
//! Invariant: a connection is registered for IN exactly while the server may read from it, and for OUT exactly while
//! bytes are pending for it.

// TODO: now and then the server is gone, without an error, a panic or a last word.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Shutdown, receive,
};
use exercises::epoll::{Epoll, IN, OUT};
use exercises::signals;
use exercises::socket::write;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    interest: u32,
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
    common_server::main("broken_pipe", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    // Rust ignores SIGPIPE from the start. Here SIGPIPE ends the program, as it would end cat, so that `... | head -1`
    // leaves nothing running behind a pipe that nobody reads.
    signals::default(libc::SIGPIPE).context("SIGPIPE")?;
    let epoll = Epoll::new().context("epoll_create1")?;
    epoll.add(listener.as_raw_fd(), IN).context("register the listener")?;
    epoll.add(shutdown.as_raw_fd(), IN).context("register the shutdown socket")?;
    let (connections, buffer) = (Connections::default(), vec![0; READ_BUFFER]);
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    Ok(Server { epoll, listener, shutdown, connections, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        for event in server.epoll.wait(server.retry_accept.timeout_ms()).context("epoll_wait")? {
            match event.fd() {
                fd if fd == server.shutdown.as_raw_fd() => return Ok(()),
                fd if fd == server.listener.as_raw_fd() => server.accept()?,
                fd => server.serve(fd),
            }
        }
        if server.retry_accept.take_due() {
            server.epoll.modify(server.listener.as_raw_fd(), IN)?;
        }
    }
}

impl Server {
    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => self.register(stream),
                Err(AcceptError::Drained) => break,
                Err(AcceptError::Aborted) => continue,
                Err(AcceptError::OutOfFds(error)) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry_accept.later();
                    self.epoll.modify(self.listener.as_raw_fd(), 0)?;
                    break;
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        match stream.set_nonblocking(true).and_then(|()| self.epoll.add(fd, IN)) {
            Ok(()) => {
                let connection = Connection { stream, pending: Pending::new(), peer_finished: false, interest: IN };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    // A reset needs no test of the event: the calls fail.
    fn serve(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let served = connection.flush().and_then(|()| connection.read(&mut self.buffer));
        let finished = connection.peer_finished && connection.pending.is_empty();
        if served.is_err() || finished || connection.update_interest(&self.epoll).is_err() {
            self.connections.remove(fd);
            self.retry_accept.now();
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn update_interest(&mut self, epoll: &Epoll) -> io::Result<()> {
        let reading = if self.may_read() { IN } else { 0 };
        let wanted = if self.pending.is_empty() { reading } else { reading | OUT };
        if wanted != self.interest {
            epoll.modify(self.stream.as_raw_fd(), wanted)?;
            self.interest = wanted;
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if !self.may_read() {
            return Ok(());
        }
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => {
                self.pending.push(&buffer[..n]);
                self.flush()?;
            }
            Received::WouldBlock => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match write(self.stream.as_raw_fd(), self.pending.front()) {
                Ok(sent) => self.pending.consume(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
