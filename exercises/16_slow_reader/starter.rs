//! An echo server on level-triggered epoll, with an output queue of its own.
//!
//! Invariant: bytes leave in the order in which they came: while some are queued, later bytes are queued behind them.

// TODO: one client sends and never reads, and the machine is out of memory.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, READ_BUFFER, Received, Retry, Shutdown, receive, send,
};
use exercises::epoll::{ERR, Epoll, HUP, IN, OUT};

struct Connection {
    stream: TcpStream,
    queued: VecDeque<u8>,
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
    common_server::main("slow_reader", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
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
                fd => server.serve(fd, event.events),
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
                let connection = Connection { stream, queued: VecDeque::new(), peer_finished: false, interest: IN };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    fn serve(&mut self, fd: RawFd, events: u32) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let served = connection.echo(events, &mut self.buffer);
        let finished = connection.peer_finished && connection.queued.is_empty();
        if served.is_err() || finished || connection.update_interest(&self.epoll).is_err() {
            self.connections.remove(fd);
            self.retry_accept.now();
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        !self.peer_finished
    }

    fn update_interest(&mut self, epoll: &Epoll) -> io::Result<()> {
        let reading = if self.may_read() { IN } else { 0 };
        let wanted = if self.queued.is_empty() { reading } else { reading | OUT };
        if wanted != self.interest {
            epoll.modify(self.stream.as_raw_fd(), wanted)?;
            self.interest = wanted;
        }
        Ok(())
    }

    fn echo(&mut self, events: u32, buffer: &mut [u8]) -> io::Result<()> {
        if events & (ERR | HUP) != 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if events & OUT != 0 {
            self.write()?;
        }
        if events & IN == 0 || !self.may_read() {
            return Ok(());
        }
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => {
                let sent = if self.queued.is_empty() { send(&self.stream, &buffer[..n])?.bytes() } else { 0 };
                self.queued.extend(&buffer[sent..n]);
            }
            Received::WouldBlock => {}
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let sent = send(&self.stream, self.queued.as_slices().0)?.bytes();
        self.queued.drain(..sent);
        if self.queued.is_empty() {
            // An empty VecDeque would keep the memory of its largest moment.
            self.queued = VecDeque::new();
        }
        Ok(())
    }
}
