//! Level-triggered epoll: the kernel keeps the registrations, and reports a descriptor as long as its condition holds.
//!
//! Invariant: a connection is registered for IN exactly while the server may read from it (the peer has not finished,
//! and a whole read fits under `MAX_PENDING`). It is registered for OUT exactly while bytes are pending. The next wait
//! reports unread bytes again, so a turn may stop after one read. For the same reason, an interest without need makes
//! the server spin.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};
use libc::{EPOLL_CTL_ADD, EPOLL_CTL_MOD};

const EVENTS: usize = 256;
const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
// A reset or a timeout, never a FIN. epoll reports it even with an empty mask (epoll_ctl(2)). The server treats it as
// readable and writable, so that the next read or write fails.
const GONE: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it will send nothing more, but it may still read.
    peer_finished: bool,
    /// The mask that the kernel has for this descriptor. Only a change costs a syscall.
    interest: u32,
}

pub struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
    refused: Notice,
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let epoll = epoll_create().context("epoll_create1")?;
        for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
            epoll_ctl(&epoll, EPOLL_CTL_ADD, fd, IN).context("register the listener and the shutdown socket")?;
        }
        Ok(Self {
            epoll,
            listener,
            shutdown,
            connections: Connections::default(),
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
                    // The listener stays readable. If it stayed registered, every wait would return at once.
                    self.retry_accept.later();
                    epoll_ctl(&self.epoll, EPOLL_CTL_MOD, self.listener.as_raw_fd(), 0)?;
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
        epoll_ctl(&self.epoll, EPOLL_CTL_ADD, fd, IN)?;
        self.connections.insert(fd, Connection::new(stream));
        Ok(())
    }

    /// Serves one connection after its event, and closes it when it is finished or has failed.
    fn serve(&mut self, fd: RawFd, readable: bool, writable: bool) {
        // No event is left over for the next owner of a descriptor: a wait reports each descriptor once, and a
        // connection is closed only while its own event is handled.
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let served = connection.write(writable).and_then(|()| connection.read(readable, &mut self.buffer));
        if served.is_err() || connection.is_finished() || self.update_interest(fd).is_err() {
            self.close(fd);
        }
    }

    fn update_interest(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
        let mut wanted = 0;
        if connection.may_read() {
            wanted |= IN;
        }
        if !connection.pending.is_empty() {
            wanted |= OUT;
        }
        if wanted != connection.interest {
            epoll_ctl(&self.epoll, EPOLL_CTL_MOD, fd, wanted)?;
            connection.interest = wanted;
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
            let count = epoll_wait(&self.epoll, &mut events, self.retry_accept.timeout_ms()).context("epoll_wait")?;
            for event in &events[..count] {
                match event.u64 as RawFd {
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    fd => self.serve(fd, event.events & (IN | GONE) != 0, event.events & (OUT | GONE) != 0),
                }
            }
            if self.retry_accept.take_due() {
                epoll_ctl(&self.epoll, EPOLL_CTL_MOD, self.listener.as_raw_fd(), IN)?;
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let pending = Pending::new();
        Self { stream, pending, peer_finished: false, interest: IN }
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
                // Usually nothing is pending and the socket takes all bytes: no copy, no allocation, no second wait.
                let sent = if self.pending.is_empty() { send(&self.stream, &buffer[..n])?.bytes() } else { 0 };
                self.pending.push(&buffer[sent..n]);
            }
            // Readiness is only a hint: the bytes may be gone (select(2), "Bugs"). The server waits again.
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
