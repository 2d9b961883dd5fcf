//! Edge-triggered epoll: the kernel keeps the registrations, and reports a descriptor once for each change.
//!
//! Invariant: a descriptor is registered once, for everything. `readable` and `writable` say what the kernel has
//! announced and no EAGAIN has taken back; only EAGAIN clears them. A connection that could go on (an announcement not
//! used up, and something to do with it) when its turn ends stands in `unfinished`, because no edge will come for it.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};

const EVENTS: usize = 256;
/// Reads of one connection in one turn, so that a client that floods cannot keep the others waiting.
const READS_PER_TURN: usize = 4;
// RDHUP is news, not an error: the peer has finished, and bytes may still wait before its FIN.
const IN: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const EDGE: u32 = libc::EPOLLET as u32;
// Reported whether asked for or not, even with an empty mask (epoll_ctl(2)).
const GONE: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it reads on, but nothing more will come from it.
    peer_finished: bool,
    readable: bool,
    writable: bool,
    /// Stands in `Server::unfinished`.
    unfinished: bool,
}

pub struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    unfinished: Vec<RawFd>,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let epoll = epoll_create().context("epoll_create1")?;
        for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
            epoll_ctl(&epoll, libc::EPOLL_CTL_ADD, fd, IN | EDGE)
                .context("register the listener and the shutdown socket")?;
        }
        Ok(Self {
            epoll,
            listener,
            shutdown,
            connections: Connections::default(),
            unfinished: Vec::new(),
            buffer: vec![0; READ_BUFFER].into(),
            retry_accept: Retry::default(),
            out_of_fds: Notice::default(),
        })
    }

    fn accept(&mut self) -> Result<()> {
        // To the end of the queue: the connections that came with this edge get no other one.
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept() {
                Ok((stream, _)) => self.register(stream),
                Err(error) => match AcceptError::from(error) {
                    AcceptError::Drained => return Ok(()),
                    AcceptError::Aborted => continue,
                    AcceptError::OutOfFds(error) => {
                        self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                        // No edge will come for those who wait already, so the server has to come back by itself.
                        self.retry_accept.later();
                        return Ok(());
                    }
                    AcceptError::Broken(error) => return Err(error).context("accept"),
                },
            }
        }
        // Enough for one turn; there may be more, and this edge is used up.
        self.retry_accept.at_once();
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        let registered = stream
            .set_nonblocking(true)
            .and_then(|()| epoll_ctl(&self.epoll, libc::EPOLL_CTL_ADD, fd, IN | OUT | EDGE));
        match registered {
            Ok(()) => {
                // Registered before the first read: what has come already is reported as the first edge.
                let connection = Connection {
                    stream,
                    pending: Pending::new(),
                    peer_finished: false,
                    readable: false,
                    writable: false,
                    unfinished: false,
                };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    /// Handles what the wait reported of one connection, and closes it when it is done or broken.
    fn serve(&mut self, fd: RawFd, events: u32) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        connection.readable |= events & IN != 0;
        connection.writable |= events & OUT != 0;
        let served = match events {
            // No FIN causes these, only a reset or a timeout: nothing that we owe can arrive any more.
            gone if gone & GONE != 0 => Err(io::ErrorKind::ConnectionReset.into()),
            _ => connection.write().and_then(|()| connection.read(&mut self.buffer)),
        };
        if served.is_err() || connection.is_finished() || self.update_interest(fd).is_err() {
            self.close(fd);
        }
    }

    /// The registration never changes. What changes is who is owed another turn without an edge.
    fn update_interest(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
        let may_go_on =
            connection.readable && connection.may_read() || connection.writable && !connection.pending.is_empty();
        if may_go_on && !connection.unfinished {
            connection.unfinished = true;
            self.unfinished.push(fd);
        }
        Ok(())
    }

    fn close(&mut self, fd: RawFd) {
        // Closing the only descriptor of a socket ends its registration; a dup of it would keep that alive.
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    pub fn run(mut self) -> Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            let timeout_ms = if self.unfinished.is_empty() { self.retry_accept.timeout_ms() } else { 0 };
            let ready = epoll_wait(&self.epoll, &mut events, timeout_ms).context("epoll_wait")?;
            let unfinished = std::mem::take(&mut self.unfinished);
            for event in &events[..ready] {
                match event.u64 as RawFd {
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    fd => self.serve(fd, event.events),
                }
            }
            for fd in unfinished {
                // If the number has a new owner by now, that one gets a turn with nothing to do.
                if let Some(connection) = self.connections.get_mut(fd) {
                    connection.unfinished = false;
                    self.serve(fd, 0);
                }
            }
            if self.retry_accept.take_due() {
                self.accept()?;
            }
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn is_finished(&self) -> bool {
        self.peer_finished && self.pending.is_empty()
    }

    /// Until EAGAIN, or the end of the turn, or until no more may be owed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..READS_PER_TURN {
            if !self.readable || !self.may_read() {
                break;
            }
            match receive(&self.stream, buffer)? {
                Received::Finished => self.peer_finished = true,
                Received::Bytes(n) => {
                    // Mostly nothing is owed and the socket takes it all: no copy, no allocation, no second wait.
                    let sent = if self.pending.is_empty() { send(&self.stream, &buffer[..n])?.bytes() } else { 0 };
                    self.pending.push(&buffer[sent..n]);
                    self.write()?;
                }
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
    // SAFETY: no pointers; a descriptor that was just returned has no other owner.
    unsafe {
        match libc::epoll_create1(libc::EPOLL_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

fn epoll_ctl(epoll: &OwnedFd, operation: libc::c_int, fd: RawFd, events: u32) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: fd as u64 };
    // SAFETY: `event` outlives the call, which only reads it.
    match unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &mut event) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The number of events filled in; 0 after a timeout, and after a signal or a debugger interrupted the wait (EINTR).
fn epoll_wait(epoll: &OwnedFd, events: &mut [libc::epoll_event], timeout_ms: libc::c_int) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `events.len()` entries.
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
