//! Level-triggered epoll: the kernel keeps the registrations, and reports a descriptor as long as its condition holds.
//!
//! Invariant: a connection is registered for IN exactly while it may be read (the peer has not finished, and a whole
//! read fits into what we may owe), and for OUT exactly while bytes are owed. What one call leaves unread, the next wait
//! reports again; so each turn may stop after one read, and interest that is left on without need would spin.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};

const EVENTS: usize = 256;
const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
// Reported whether asked for or not, even with an empty mask (epoll_ctl(2)).
const GONE: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it reads on, but nothing more will come from it.
    peer_finished: bool,
    /// The mask the kernel has for this descriptor, so that only a change costs a syscall.
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
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let epoll = epoll_create().context("epoll_create1")?;
        for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
            epoll_ctl(&epoll, libc::EPOLL_CTL_ADD, fd, IN).context("register the listener and the shutdown socket")?;
        }
        Ok(Self {
            epoll,
            listener,
            shutdown,
            connections: Connections::default(),
            buffer: vec![0; READ_BUFFER].into(),
            retry_accept: Retry::default(),
            out_of_fds: Notice::default(),
        })
    }

    fn accept(&mut self) -> Result<()> {
        // A queue that is longer than this is reported again by the next wait.
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept() {
                Ok((stream, _)) => self.register(stream),
                Err(error) => match AcceptError::from(error) {
                    AcceptError::Drained => break,
                    AcceptError::Aborted => continue,
                    AcceptError::OutOfFds(error) => {
                        self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                        // The listener stays readable: left registered, it would end every wait at once.
                        self.retry_accept.later();
                        epoll_ctl(&self.epoll, libc::EPOLL_CTL_MOD, self.listener.as_raw_fd(), 0)?;
                        break;
                    }
                    AcceptError::Broken(error) => return Err(error).context("accept"),
                },
            }
        }
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        let registered =
            stream.set_nonblocking(true).and_then(|()| epoll_ctl(&self.epoll, libc::EPOLL_CTL_ADD, fd, IN));
        match registered {
            Ok(()) => {
                let connection = Connection { stream, pending: Pending::new(), peer_finished: false, interest: IN };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    /// Handles what the wait reported of one connection, and closes it when it is done or broken.
    fn serve(&mut self, fd: RawFd, events: u32) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let served = match events {
            // No FIN causes these, only a reset or a timeout: nothing that we owe can arrive any more.
            gone if gone & GONE != 0 => Err(io::ErrorKind::ConnectionReset.into()),
            _ => connection.write(events & OUT != 0).and_then(|()| connection.read(events & IN != 0, &mut self.buffer)),
        };
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
            epoll_ctl(&self.epoll, libc::EPOLL_CTL_MOD, fd, wanted)?;
            connection.interest = wanted;
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
            let ready = epoll_wait(&self.epoll, &mut events, self.retry_accept.timeout_ms()).context("epoll_wait")?;
            for event in &events[..ready] {
                match event.u64 as RawFd {
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    fd => self.serve(fd, event.events),
                }
            }
            if self.retry_accept.take_due() {
                epoll_ctl(&self.epoll, libc::EPOLL_CTL_MOD, self.listener.as_raw_fd(), IN)?;
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

    /// One read: if there is more, the next wait says so.
    fn read(&mut self, ready: bool, buffer: &mut [u8]) -> io::Result<()> {
        if !ready || !self.may_read() {
            return Ok(());
        }
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => {
                // Mostly nothing is owed and the socket takes it all: no copy, no allocation, no second wait.
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
