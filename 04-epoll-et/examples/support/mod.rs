//! Code that the variants of this chapter share: a connection's reads and writes, and epoll's three calls.
//!
//! Invariant: as in `src/server.rs`, an event sets `readable` or `writable`, and only EAGAIN clears the flag.
#![allow(dead_code)] // No variant needs all of it.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Result, anyhow};
use common_server::{Pending, Received, Sent, receive, send};

/// The most reads of one connection in one turn, so that a client that floods cannot keep the others waiting.
pub const READS_PER_TURN: usize = 4;
pub const IN: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
/// For a listener. RDHUP together with EPOLLEXCLUSIVE fails with EINVAL (epoll_ctl(2) names the flags that are
/// allowed).
pub const LISTEN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;
pub const EDGE: u32 = libc::EPOLLET as u32;
pub const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
pub const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
/// A reset or a timeout, never a FIN. epoll reports it even with an empty mask. The server takes it for readable and
/// writable, and the read or the write then fails.
pub const GONE: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
pub const NO_EVENT: libc::epoll_event = libc::epoll_event { events: 0, u64: 0 };

pub struct Connection {
    pub stream: TcpStream,
    pub pending: Pending,
    /// The peer sent FIN: it will send nothing more, but it may still read.
    pub peer_finished: bool,
    pub readable: bool,
    pub writable: bool,
    /// Whether the connection stands in the server's list `ready`.
    pub in_ready: bool,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        let pending = Pending::new();
        Self { stream, pending, peer_finished: false, readable: false, writable: false, in_ready: false }
    }

    pub fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    pub fn is_finished(&self) -> bool {
        self.peer_finished && self.pending.is_empty()
    }

    /// Sets the flags after an event. The connection is served later.
    pub fn note(&mut self, events: u32) {
        self.readable |= events & (IN | GONE) != 0;
        self.writable |= events & (OUT | GONE) != 0;
    }

    /// Whether the caller has to add this connection to `ready`: it can go on, and does not stand there yet.
    pub fn enters_ready(&mut self) -> bool {
        let may_go_on = self.readable && self.may_read() || self.writable && !self.pending.is_empty();
        let enters = may_go_on && !self.in_ready;
        self.in_ready |= enters;
        enters
    }

    /// Reads until EAGAIN, or `reads` times, or until too many bytes are pending.
    pub fn read(&mut self, reads: usize, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..reads {
            if !self.readable || !self.may_read() {
                break;
            }
            match receive(&self.stream, buffer)? {
                Received::Finished => self.peer_finished = true,
                Received::Bytes(n) => self.answer(&buffer[..n])?,
                Received::WouldBlock => self.readable = false,
            }
        }
        Ok(())
    }

    /// Echoes the bytes back, after those that are already pending.
    pub fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.pending.is_empty() { send(&self.stream, bytes)?.bytes() } else { 0 };
        self.pending.push(&bytes[sent..]);
        self.write()
    }

    pub fn write(&mut self) -> io::Result<()> {
        while self.writable && !self.pending.is_empty() {
            match send(&self.stream, self.pending.front())? {
                Sent::Bytes(n) => self.pending.consume(n),
                Sent::WouldBlock => self.writable = false,
            }
        }
        Ok(())
    }
}

pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no memory; nothing else knows the new descriptor, so `OwnedFd` is its only owner.
        unsafe {
            match libc::epoll_create1(libc::EPOLL_CLOEXEC) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    pub fn add(&self, fd: RawFd, events: u32) -> io::Result<()> {
        self.ctl(libc::EPOLL_CTL_ADD, fd, events)
    }

    pub fn modify(&self, fd: RawFd, events: u32) -> io::Result<()> {
        self.ctl(libc::EPOLL_CTL_MOD, fd, events)
    }

    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.ctl(libc::EPOLL_CTL_DEL, fd, 0)
    }

    fn ctl(&self, operation: libc::c_int, fd: RawFd, events: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: fd as u64 };
        // SAFETY: the call only reads `event`, which outlives it, and keeps no pointer to it.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &mut event) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Returns the events: none after a timeout, or after a signal or a debugger interrupted the wait (EINTR).
    pub fn wait<'a>(
        &self,
        events: &'a mut [libc::epoll_event],
        timeout_ms: libc::c_int,
    ) -> io::Result<&'a [libc::epoll_event]> {
        let room = events.len() as libc::c_int;
        // SAFETY: `events` is writable for the whole call, and the kernel writes at most `room` entries.
        match unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
                error => Err(error),
            },
            ready => Ok(&events[..ready as usize]),
        }
    }
}

/// Runs the first worker on this thread, and each other worker on a new thread. If one fails, all stop.
pub fn run_all<W: Send>(workers: impl IntoIterator<Item = W>, run: impl Fn(W) -> Result<()> + Sync) -> Result<()> {
    let run = |worker| {
        run(worker).inspect_err(|_| {
            // SAFETY: the call takes no memory. `Shutdown` has installed the handler, which may run on any thread.
            unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
        })
    };
    std::thread::scope(|scope| {
        let mut workers = workers.into_iter();
        let first = workers.next();
        let others: Vec<_> = workers.map(|worker| scope.spawn(|| run(worker))).collect();
        let ended = std::iter::once(first.map_or(Ok(()), run));
        let joined = others.into_iter().map(|it| it.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked"))));
        ended.chain(joined).collect()
    })
}
