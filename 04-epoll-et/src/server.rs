//! Edge-triggered epoll: the kernel keeps the registrations, and reports a descriptor once for each change.
//!
//! Invariant: a descriptor is registered once, for all events. An event sets `readable` or `writable`, and only EAGAIN
//! clears the flag. While a flag is set, the server cannot count on a further edge. So a connection that can read or
//! write at once is in the list `ready`. Each turn first notes all events, and then serves each entry of `ready` once.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};
use libc::EPOLL_CTL_ADD;

const EVENTS: usize = 256;
/// The most reads of one connection in one turn, so that a client that floods cannot keep the others waiting.
const READS_PER_TURN: usize = 4;
// RDHUP is not an error: the peer has sent its FIN, and bytes before the FIN may still be unread.
const IN: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const EDGE: u32 = libc::EPOLLET as u32;
// A reset or a timeout, never a FIN. epoll reports it even with an empty mask (epoll_ctl(2)). The server treats it as
// readable and writable, so that the next read or write fails.
const GONE: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

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

pub struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    /// The connections that can go on without a further edge. This turn or the next one serves them.
    ready: Vec<RawFd>,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
    refused: Notice,
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let epoll = epoll_create().context("epoll_create1")?;
        for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
            epoll_ctl(&epoll, EPOLL_CTL_ADD, fd, IN | EDGE).context("register the listener and the shutdown socket")?;
        }
        Ok(Self {
            epoll,
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
                    // No edge comes for clients that are already queued, so the server tries again without an edge.
                    self.retry_accept.later();
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        // Enough for one turn. If more clients are queued, no edge comes for them, so the next turn accepts again.
        self.retry_accept.at_once();
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) -> io::Result<()> {
        let fd = stream.as_raw_fd();
        stream.set_nonblocking(true)?;
        // Before the first read, so that bytes that arrive from now on cause an edge.
        epoll_ctl(&self.epoll, EPOLL_CTL_ADD, fd, IN | OUT | EDGE)?;
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
        // `ready` has no entry of a closed connection: a connection has one entry at most, and is closed only while that
        // entry is served. Only after its close can `accept` get the descriptor's number again.
        let Some(connection) = self.connections.get_mut(fd) else { return };
        connection.in_ready = false;
        let served = connection.write().and_then(|()| connection.read(&mut self.buffer));
        if served.is_err() || connection.is_finished() || self.update_interest(fd).is_err() {
            self.close(fd);
        }
    }

    /// Makes no syscall: the registration never changes. A connection that can go on without a further edge enters
    /// `ready`.
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
        // This is the socket's only descriptor, so its close ends the registration. A dup would keep it registered.
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    pub fn run(mut self) -> Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            let timeout_ms = if self.ready.is_empty() { self.retry_accept.timeout_ms() } else { 0 };
            let count = epoll_wait(&self.epoll, &mut events, timeout_ms).context("epoll_wait")?;
            // Events only set flags. A connection may already be in `ready` from the last turn, and must not be served twice.
            for event in &events[..count] {
                match event.u64 as RawFd {
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.retry_accept.at_once(),
                    fd => self.note(fd, event.events & (IN | GONE) != 0, event.events & (OUT | GONE) != 0)?,
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
                // The socket is drained only now: bytes that arrive later cause a new edge.
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

fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no memory; nothing else knows the new descriptor, so `OwnedFd` is its only owner.
    unsafe {
        match libc::epoll_create1(libc::EPOLL_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

fn epoll_ctl(epoll: &OwnedFd, operation: libc::c_int, fd: RawFd, events: u32) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: fd as u64 };
    // SAFETY: the call only reads `event`, which outlives it, and keeps no pointer to it.
    match unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &mut event) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Returns the number of events: 0 after a timeout, or after a signal or a debugger interrupted the wait (EINTR).
fn epoll_wait(epoll: &OwnedFd, events: &mut [libc::epoll_event], timeout_ms: libc::c_int) -> io::Result<usize> {
    // SAFETY: `events` is writable for the whole call, and the kernel writes at most `events.len()` entries.
    let ready =
        unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, timeout_ms) };
    match ready {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
        ready => Ok(ready as usize),
    }
}
