//! The echo server of this chapter with EV_CLEAR: each knote reports what is new, once. This file is to `src/server.rs`
//! what 04-epoll-et is to 03-epoll-lt.
//!
//! Invariant: a connection has one READ and one WRITE knote from its accept to its close. An event sets `readable` or
//! `writable`, and only EAGAIN clears the flag. While a flag is set, the server cannot count on a further event. So a
//! connection that can read or write now stands in the list `ready`. Each turn first notes all events, and then serves
//! each entry of `ready` once.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};
use kqueue::sys::{EV_ADD, EV_CLEAR, EV_ERROR, EVFILT_READ, EVFILT_SIGNAL, EVFILT_WRITE, Kevent, Kqueue};

const EVENTS: usize = 256;
/// The most reads of one connection in one turn, so that a client that floods cannot keep the others waiting.
const READS_PER_TURN: usize = 4;

fn main() -> ExitCode {
    common_server::main("ev_clear", Server::new, Server::run)
}

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it will send nothing more, but it may still read.
    peer_finished: bool,
    readable: bool,
    writable: bool,
    /// Whether the connection stands in `Server::ready`.
    in_ready: bool,
}

struct Server {
    kqueue: Kqueue,
    changes: Vec<Kevent>,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    /// The connections that can go on without a further event. This turn or the next one serves them.
    ready: Vec<RawFd>,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
    refused: Notice,
}

impl Server {
    fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let kqueue = Kqueue::new().context("kqueue")?;
        let changes = [
            Kevent::new(listener.as_raw_fd() as usize, EVFILT_READ, EV_ADD | EV_CLEAR),
            Kevent::new(libc::SIGINT as usize, EVFILT_SIGNAL, EV_ADD),
            Kevent::new(libc::SIGTERM as usize, EVFILT_SIGNAL, EV_ADD),
            // For a signal that came before the two lines above: its handler left a byte here.
            Kevent::new(shutdown.as_raw_fd() as usize, EVFILT_READ, EV_ADD),
        ];
        // No room for answers and no time to wait: a change that fails is the call's own error.
        kqueue.kevent(&changes, &mut [], Some(Duration::ZERO)).context("register the listener and the signals")?;
        Ok(Self {
            kqueue,
            changes: Vec::new(),
            listener,
            shutdown,
            connections: Connections::default(),
            ready: Vec::new(),
            buffer: vec![0; READ_BUFFER].into(),
            retry_accept: Retry::default(),
            out_of_fds: Notice::default(),
            refused: Notice::default(),
        })
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
                    // No event comes for the clients that wait already, so the server comes back by itself.
                    self.retry_accept.later();
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        // Enough for one turn. If more clients are queued, no event comes for them, so the next turn accepts again.
        self.retry_accept.at_once();
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) -> io::Result<()> {
        let fd = stream.as_raw_fd();
        stream.set_nonblocking(true)?;
        for filter in [EVFILT_READ, EVFILT_WRITE] {
            self.changes.push(Kevent::new(fd as usize, filter, EV_ADD | EV_CLEAR));
        }
        self.connections.insert(fd, Connection::new(stream));
        Ok(())
    }

    /// Sets a connection's flags after its event. `run` serves it later, so that no connection is served twice.
    fn note(&mut self, fd: RawFd, readable: bool, writable: bool) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
        connection.readable |= readable;
        connection.writable |= writable;
        self.update_interest(fd)
    }

    /// Serves one connection, and closes it when it is finished or has failed.
    fn serve(&mut self, fd: RawFd) {
        // If a change failed, the connection may be closed by now. The entry cannot find the next owner of the
        // descriptor: `accept` runs after the last entry.
        let Some(connection) = self.connections.get_mut(fd) else { return };
        connection.in_ready = false;
        let served = connection.write().and_then(|()| connection.read(&mut self.buffer));
        if served.is_err() || connection.is_finished() || self.update_interest(fd).is_err() {
            self.close(fd);
        }
    }

    /// The knotes never change. A connection that can go on without a further event enters `ready`.
    fn update_interest(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
        let can_go_on =
            connection.readable && connection.may_read() || connection.writable && !connection.pending.is_empty();
        if can_go_on && !connection.in_ready {
            connection.in_ready = true;
            self.ready.push(fd);
        }
        Ok(())
    }

    fn close(&mut self, fd: RawFd) {
        // The knotes end with the descriptor. No change waits in `changes` here: the last wait made all changes, and
        // only `accept`, at the end of a turn, adds new ones.
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    fn run(mut self) -> Result<()> {
        let mut events = [Kevent::default(); EVENTS];
        loop {
            let timeout_ms = if self.ready.is_empty() { self.retry_accept.timeout_ms() } else { 0 };
            let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
            let ready = self.kqueue.kevent(&self.changes, &mut events, timeout).context("kevent")?;
            // All changes were made, even if a signal ended the wait (kevent(2), EINTR).
            self.changes.clear();
            // Events only set flags. A connection may already be in `ready` from the last turn, and must not be served twice.
            for event in ready {
                match event.ident() as RawFd {
                    _ if event.filter() == EVFILT_SIGNAL => return Ok(()),
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.retry_accept.at_once(),
                    // A change failed: without its knote, the connection would wait for an event that never comes.
                    fd if event.flags() & EV_ERROR != 0 => self.close(fd),
                    fd => self.note(fd, event.filter() == EVFILT_READ, event.filter() == EVFILT_WRITE)?,
                }
            }
            // Now each entry is served once. A connection that enters `ready` from here on is served in the next turn.
            for fd in std::mem::take(&mut self.ready) {
                self.serve(fd);
            }
            if self.retry_accept.take_due() {
                self.accept()?;
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let pending = Pending::new();
        Self { stream, pending, peer_finished: false, readable: false, writable: false, in_ready: false }
    }

    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn is_finished(&self) -> bool {
        self.peer_finished && self.pending.is_empty()
    }

    /// Reads until EAGAIN, or until the turn is used up, or until too many bytes are pending.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..READS_PER_TURN {
            if !self.readable || !self.may_read() {
                break;
            }
            match receive(&self.stream, buffer)? {
                Received::Finished => self.peer_finished = true,
                Received::Bytes(n) => {
                    // Usually nothing is pending and the socket takes all bytes: no copy, no allocation, no second wait.
                    let sent = if self.pending.is_empty() { send(&self.stream, &buffer[..n])?.bytes() } else { 0 };
                    self.pending.push(&buffer[sent..n]);
                    self.write()?;
                }
                // The socket is drained only now: bytes that arrive later cause a new event.
                Received::WouldBlock => self.readable = false,
            }
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
