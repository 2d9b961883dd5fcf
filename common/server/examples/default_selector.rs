//! "Pick the best API of this platform", as Python's DefaultSelector does: one server, and four APIs behind one small
//! trait (`selector/`). `--backend` selects one of them.
//!
//! It shows what such a layer gives up. Edges, batches of changes and completions are missing, because not all four
//! APIs have them. The server is the server of 03-epoll-lt, but it does not name the API.
//!
//! Invariant: a connection is watched for reading exactly while the server may read from it (the peer has not finished,
//! and a whole read fits under `MAX_PENDING`). It is watched for writing exactly while bytes are pending.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Args, Connections, Given, Notice, Opt, Pending, READ_BUFFER, Received, Retry, Sent,
    Shutdown, Takes, listen, main_with, receive, send,
};

mod selector;
use selector::{BACKENDS, Interest, NONE, READ, Ready, Selector};

const OPTIONS: &[Opt] =
    &[Opt { name: "--backend", takes: Takes::OneOf(BACKENDS), help: "(default: the first of these)" }];

fn main() -> ExitCode {
    main_with("default_selector", OPTIONS, Server::new, Server::run)
}

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it will send nothing more, but it may still read.
    peer_finished: bool,
    interest: Interest,
}

struct Server {
    selector: Box<dyn Selector>,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
    refused: Notice,
}

impl Server {
    fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, Self)> {
        let backend = given.word("--backend").unwrap_or(BACKENDS[0]);
        let listener = listen(args.addr, args.backlog)?;
        let mut selector = selector::open(backend).with_context(|| backend.to_owned())?;
        for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
            let hint = || format!("the listener got fd {fd} (start it with fewer inherited descriptors)");
            selector.add(fd, READ).with_context(hint)?;
        }
        let server = Self {
            selector,
            listener,
            shutdown,
            connections: Connections::default(),
            buffer: vec![0; READ_BUFFER].into(),
            retry_accept: Retry::default(),
            out_of_fds: Notice::default(),
            refused: Notice::default(),
        };
        Ok((server.listener.local_addr()?, server))
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => {
                    if let Err(error) = self.register(stream) {
                        self.refused.say(format_args!("register: {error}; connection closed"));
                    }
                }
                Err(AcceptError::Drained) => return Ok(()),
                Err(AcceptError::Aborted) => {}
                Err(AcceptError::OutOfFds(error)) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    // The listener stays readable. If it stayed registered, every wait would return at once.
                    self.retry_accept.later();
                    self.selector.modify(self.listener.as_raw_fd(), NONE)?;
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        // Enough for one turn. If more clients are queued, the next wait reports the listener again.
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) -> io::Result<()> {
        let fd = stream.as_raw_fd();
        stream.set_nonblocking(true)?;
        self.selector.add(fd, READ)?;
        self.connections.insert(fd, Connection::new(stream));
        Ok(())
    }

    /// Serves one connection after its event, and closes it when it is finished or has failed.
    fn serve(&mut self, ready: Ready) {
        // With kqueue, READ and WRITE are two events. The second may find the descriptor's next owner, which is then
        // served early. At worst its read returns EAGAIN.
        let Some(connection) = self.connections.get_mut(ready.fd) else { return };
        let served = connection.write(ready.writable).and_then(|()| connection.read(ready.readable, &mut self.buffer));
        if served.is_err() || connection.is_finished() || self.update_interest(ready.fd).is_err() {
            self.close(ready.fd);
        }
    }

    fn update_interest(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
        let wanted = Interest { read: connection.may_read(), write: !connection.pending.is_empty() };
        if wanted != connection.interest {
            self.selector.modify(fd, wanted)?;
            connection.interest = wanted;
        }
        Ok(())
    }

    fn close(&mut self, fd: RawFd) {
        self.selector.remove(fd);
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    fn run(mut self) -> Result<()> {
        let mut ready = Vec::new();
        loop {
            self.selector.wait(&mut ready, self.retry_accept.timeout_ms()).context("wait")?;
            for ready in &ready {
                match ready.fd {
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    _ => self.serve(*ready),
                }
            }
            if self.retry_accept.take_due() {
                self.selector.modify(self.listener.as_raw_fd(), READ)?;
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let pending = Pending::new();
        Self { stream, pending, peer_finished: false, interest: READ }
    }

    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn is_finished(&self) -> bool {
        self.peer_finished && self.pending.is_empty()
    }

    /// Reads once. If more bytes are there, the next wait reports the connection again.
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
        while ready && !self.pending.is_empty() {
            match send(&self.stream, self.pending.front())? {
                Sent::Bytes(n) => self.pending.consume(n),
                Sent::WouldBlock => break,
            }
        }
        Ok(())
    }
}
