//! An echo server on select(2), with sets of its own making.
//!
//! Invariant: a connection's bit is set in the set `READING` exactly while the server may read from it, and in
//! `WRITING` exactly while bytes are pending for it.

// TODO: with the thousandth client, things happen to connections that nobody has touched.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Shutdown, receive, send,
};
use exercises::select::select_in;

const FD_SETSIZE: usize = 1024;
const WORDS: usize = FD_SETSIZE / 64;
const READING: usize = 0;
const WRITING: usize = WORDS;

/// Two bitmaps of FD_SETSIZE bits, the second right behind the first, as `fd_set reading, writing;` lie in C. The words
/// behind them stand for whatever else a program has in its memory.
#[derive(Clone)]
struct Sets([u64; 8 * WORDS]);

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
}

struct Server {
    sets: Sets,
    nfds: RawFd,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    refused: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("fd_1024", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let (mut sets, mut nfds) = (Sets([0; 8 * WORDS]), 0);
    for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
        sets.set(READING, fd, true);
        nfds = nfds.max(fd + 1);
    }
    let (connections, buffer) = (Connections::default(), vec![0; READ_BUFFER]);
    let (retry_accept, refused) = (Retry::default(), Notice::default());
    Ok(Server { sets, nfds, listener, shutdown, connections, buffer, retry_accept, refused })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        let mut ready = server.sets.clone();
        select_in(&mut ready.0, WRITING, server.nfds, server.retry_accept.timeout_ms()).context("select")?;
        if ready.contains(READING, server.shutdown.as_raw_fd()) {
            return Ok(());
        }
        for fd in 0..server.nfds {
            let (may_read, may_write) = (ready.contains(READING, fd), ready.contains(WRITING, fd));
            if fd == server.listener.as_raw_fd() && may_read {
                server.accept()?;
            } else if may_read || may_write {
                server.serve(fd, may_read, may_write);
            }
        }
        if server.retry_accept.take_due() {
            server.sets.set(READING, server.listener.as_raw_fd(), true);
        }
    }
}

impl Sets {
    // FD_SET and FD_CLR do the same.
    fn set(&mut self, set: usize, fd: RawFd, on: bool) {
        let (word, bit) = (set + fd as usize / 64, 1 << (fd % 64));
        if on { self.0[word] |= bit } else { self.0[word] &= !bit }
    }

    fn contains(&self, set: usize, fd: RawFd) -> bool {
        self.0[set + fd as usize / 64] >> (fd % 64) & 1 == 1
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
                    self.refused.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry_accept.later();
                    self.sets.set(READING, self.listener.as_raw_fd(), false);
                    break;
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        match stream.set_nonblocking(true) {
            Ok(()) => {
                self.sets.set(READING, fd, true);
                self.nfds = self.nfds.max(fd + 1);
                self.connections.insert(fd, Connection { stream, pending: Pending::new(), peer_finished: false });
            }
            Err(error) => self.refused.say(format_args!("connection closed: {error}")),
        }
    }

    fn serve(&mut self, fd: RawFd, may_read: bool, may_write: bool) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let served = connection.write(may_write).and_then(|()| connection.read(may_read, &mut self.buffer));
        let finished = connection.peer_finished && connection.pending.is_empty();
        self.sets.set(READING, fd, !finished && served.is_ok() && connection.may_read());
        self.sets.set(WRITING, fd, !finished && served.is_ok() && !connection.pending.is_empty());
        if finished || served.is_err() {
            self.connections.remove(fd);
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
