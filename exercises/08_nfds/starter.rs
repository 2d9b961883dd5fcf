//! An echo server on select(2) that builds its sets anew in each turn.
//!
//! Invariant: the interest in a connection follows from the connection's own state; only `nfds` is remembered beside
//! it.

// TODO: the newest connection gets no answer until another client has connected.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Notice, Pending, READ_BUFFER, Received, Retry, Shutdown, receive, send,
};
use exercises::select::{FdSet, select};

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
}

struct Server {
    nfds: RawFd,
    listener: TcpListener,
    accepting: bool,
    shutdown: Shutdown,
    connections: BTreeMap<RawFd, Connection>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    refused: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("nfds", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    FdSet::check(listener.as_raw_fd()).context("the listener")?;
    let nfds = listener.as_raw_fd().max(shutdown.as_raw_fd()) + 1;
    let (connections, buffer) = (BTreeMap::new(), vec![0; READ_BUFFER]);
    let (retry_accept, refused) = (Retry::default(), Notice::default());
    Ok(Server { nfds, listener, accepting: true, shutdown, connections, buffer, retry_accept, refused })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        let (mut readable, mut writable) = server.interest();
        let timeout_ms = server.retry_accept.timeout_ms();
        select(server.nfds, &mut readable, &mut writable, timeout_ms).context("select")?;
        if readable.contains(server.shutdown.as_raw_fd()) {
            return Ok(());
        }
        server.serve(&readable, &writable);
        if readable.contains(server.listener.as_raw_fd()) {
            server.accept()?;
        }
        server.accepting |= server.retry_accept.take_due();
    }
}

impl Server {
    fn interest(&self) -> (FdSet, FdSet) {
        let (mut reading, mut writing) = (FdSet::default(), FdSet::default());
        reading.set(self.shutdown.as_raw_fd(), true);
        reading.set(self.listener.as_raw_fd(), self.accepting);
        for (&fd, connection) in &self.connections {
            reading.set(fd, connection.may_read());
            writing.set(fd, !connection.pending.is_empty());
        }
        (reading, writing)
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => self.register(stream),
                Err(AcceptError::Drained) => break,
                Err(AcceptError::Aborted) => continue,
                Err(AcceptError::OutOfFds(error)) => {
                    self.refused.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry_accept.later();
                    self.accepting = false;
                    break;
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        match stream.set_nonblocking(true).and_then(|()| FdSet::check(fd)) {
            Ok(()) => {
                self.nfds = self.nfds.max(fd);
                self.connections.insert(fd, Connection { stream, pending: Pending::new(), peer_finished: false });
            }
            Err(error) => self.refused.say(format_args!("connection closed: {error}")),
        }
    }

    fn serve(&mut self, readable: &FdSet, writable: &FdSet) {
        let before = self.connections.len();
        self.connections.retain(|&fd, connection| {
            let (may_read, may_write) = (readable.contains(fd), writable.contains(fd));
            let served = connection.write(may_write).and_then(|()| connection.read(may_read, &mut self.buffer));
            served.is_ok() && !(connection.peer_finished && connection.pending.is_empty())
        });
        if self.connections.len() < before {
            self.retry_accept.now();
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn read(&mut self, ready: bool, buffer: &mut [u8]) -> io::Result<()> {
        if !ready || !self.may_read() {
            return Ok(());
        }
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => {
                let sent = if self.pending.is_empty() { send(&self.stream, &buffer[..n])?.bytes() } else { 0 };
                self.pending.push(&buffer[sent..n]);
            }
            Received::WouldBlock => {}
        }
        Ok(())
    }

    fn write(&mut self, ready: bool) -> io::Result<()> {
        if ready && !self.pending.is_empty() {
            let sent = send(&self.stream, self.pending.front())?.bytes();
            self.pending.consume(sent);
        }
        Ok(())
    }
}
