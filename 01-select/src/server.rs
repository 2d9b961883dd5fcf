//! select: three bitmaps of descriptors are handed to the kernel at every wait, and overwritten with its answer.
//!
//! Invariant: no bit at or above FD_SETSIZE is ever touched; a connection that gets such a descriptor is closed at once.
//! A connection's bit is in `reading` exactly while it may be read (the peer has not finished, and a whole read fits
//! into what we may owe), and in `writing` exactly while bytes are owed; the kernel gets copies. What one call leaves
//! unread, the next wait reports again; so each turn may stop after one read, and interest that is left on without need
//! would spin.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result, ensure};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it reads on, but nothing more will come from it.
    peer_finished: bool,
}

pub struct Server {
    reading: FdSet,
    writing: FdSet,
    /// One more than the highest descriptor in a set (select(2)'s nfds).
    nfds: RawFd,
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
        let mut reading = FdSet::new();
        let mut nfds = 0;
        for fd in [listener.as_raw_fd(), shutdown.as_raw_fd()] {
            ensure!(
                FdSet::can_hold(fd),
                "the listener got fd {fd}, and select holds only those below {} (start it with fewer inherited descriptors)",
                libc::FD_SETSIZE
            );
            reading.insert(fd);
            nfds = nfds.max(fd + 1);
        }
        Ok(Self {
            reading,
            writing: FdSet::new(),
            nfds,
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
        // A queue that is longer than this is reported again by the next wait.
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept() {
                Ok((stream, _)) => self.register(stream),
                Err(error) => match AcceptError::from(error) {
                    AcceptError::Drained => break,
                    AcceptError::Aborted => continue,
                    AcceptError::OutOfFds(error) => {
                        self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                        // The listener stays readable: left in the set, it would end every wait at once.
                        self.retry_accept.later();
                        self.reading.remove(self.listener.as_raw_fd());
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
        if !FdSet::can_hold(fd) {
            // In C, FD_SET would write past the bitmap here, and nothing would say so.
            let limit = libc::FD_SETSIZE;
            self.refused
                .say(format_args!("connection refused: it got fd {fd}, and select holds only those below {limit}"));
            return;
        }
        match stream.set_nonblocking(true) {
            Ok(()) => {
                self.reading.insert(fd);
                self.nfds = self.nfds.max(fd + 1);
                self.connections.insert(fd, Connection { stream, pending: Pending::new(), peer_finished: false });
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    /// Handles what the wait reported of one connection, and closes it when it is done or broken.
    fn serve(&mut self, fd: RawFd, readable: bool, writable: bool) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        // A reset is no event of its own here: it makes the descriptor readable and writable, and the call fails.
        let served = connection.write(writable).and_then(|()| connection.read(readable, &mut self.buffer));
        match served {
            Ok(()) if !connection.is_finished() => self.update_interest(fd),
            _ => self.close(fd),
        }
    }

    fn update_interest(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        // No syscall: the sets are copied afresh for the next wait.
        match connection.may_read() {
            true => self.reading.insert(fd),
            false => self.reading.remove(fd),
        }
        match connection.pending.is_empty() {
            false => self.writing.insert(fd),
            true => self.writing.remove(fd),
        }
    }

    fn close(&mut self, fd: RawFd) {
        // A closed descriptor left in a set would fail every wait with EBADF, for all connections.
        self.reading.remove(fd);
        self.writing.remove(fd);
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    pub fn run(mut self) -> Result<()> {
        loop {
            // Copies, because select overwrites what it is given.
            let (mut readable, mut writable) = (self.reading.clone(), self.writing.clone());
            let mut ready =
                select(self.nfds, &mut readable, &mut writable, self.retry_accept.timeout_ms()).context("select")?;
            if ready > 0 && readable.contains(self.shutdown.as_raw_fd()) {
                return Ok(());
            }
            for fd in 0..self.nfds {
                if ready == 0 {
                    break;
                }
                let (may_read, may_write) = (readable.contains(fd), writable.contains(fd));
                ready -= usize::from(may_read) + usize::from(may_write);
                match fd {
                    _ if !may_read && !may_write => {}
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    fd => self.serve(fd, may_read, may_write),
                }
            }
            if self.retry_accept.take_due() {
                self.reading.insert(self.listener.as_raw_fd());
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

/// A bitmap of FD_SETSIZE descriptors.
#[derive(Clone)]
struct FdSet(libc::fd_set);

impl FdSet {
    fn new() -> Self {
        // SAFETY: an fd_set is plain integers, and all zero is the empty set (FD_ZERO).
        Self(unsafe { std::mem::zeroed() })
    }

    fn can_hold(fd: RawFd) -> bool {
        (fd as usize) < libc::FD_SETSIZE
    }

    fn insert(&mut self, fd: RawFd) {
        assert!(Self::can_hold(fd));
        // SAFETY: the bit lies inside the bitmap.
        unsafe { libc::FD_SET(fd, &mut self.0) }
    }

    fn remove(&mut self, fd: RawFd) {
        assert!(Self::can_hold(fd));
        // SAFETY: the bit lies inside the bitmap.
        unsafe { libc::FD_CLR(fd, &mut self.0) }
    }

    fn contains(&self, fd: RawFd) -> bool {
        // SAFETY: the bit lies inside the bitmap.
        Self::can_hold(fd) && unsafe { libc::FD_ISSET(fd, &self.0) }
    }
}

/// The number of bits left set; 0 after a timeout, and after a signal or a debugger interrupted the wait (EINTR), when
/// the sets are as they were and say nothing.
fn select(nfds: RawFd, readable: &mut FdSet, writable: &mut FdSet, timeout_ms: libc::c_int) -> io::Result<usize> {
    let mut timeout = libc::timeval {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_usec: (timeout_ms % 1000 * 1000) as libc::suseconds_t,
    };
    let timeout = if timeout_ms < 0 { std::ptr::null_mut() } else { &raw mut timeout };
    // SAFETY: the sets hold FD_SETSIZE bits and `nfds` is at most that; the third set and `timeout` may be null.
    let ready = unsafe { libc::select(nfds, &mut readable.0, &mut writable.0, std::ptr::null_mut(), timeout) };
    match ready {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
        ready => Ok(ready as usize),
    }
}
