//! select: the program passes three bitmaps of descriptors at every wait, and the kernel overwrites them.
//!
//! Invariant: the server never touches a bit at or above FD_SETSIZE, and closes a connection with such a descriptor at
//! once. A connection's bit is set in `reading` exactly while the server may read from it (the peer has not finished,
//! and a whole read fits under `MAX_PENDING`). Its bit is set in `writing` exactly while bytes are pending. The next
//! wait reports unread bytes again, so a turn may stop after one read. For the same reason, a bit that is set without
//! need makes the server spin.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it will send nothing more, but it may still read.
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
            let hint = || format!("the listener got fd {fd} (start it with fewer inherited descriptors)");
            reading.insert(fd).with_context(hint)?;
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
                    // The listener stays readable. If it stayed in the set, every wait would return at once.
                    self.retry_accept.later();
                    self.reading.remove(self.listener.as_raw_fd());
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
        self.reading.insert(fd)?;
        self.nfds = self.nfds.max(fd + 1);
        self.connections.insert(fd, Connection::new(stream));
        Ok(())
    }

    /// Serves one connection after its event, and closes it when it is finished or has failed.
    fn serve(&mut self, fd: RawFd, readable: bool, writable: bool) {
        // No answer is left over for the next owner of a descriptor: the scan visits each descriptor once, and a
        // connection is closed only during its own visit.
        let Some(connection) = self.connections.get_mut(fd) else { return };
        // A reset has no event of its own: it makes the descriptor readable and writable, and the call fails.
        let served = connection.write(writable).and_then(|()| connection.read(readable, &mut self.buffer));
        if served.is_err() || connection.is_finished() || self.update_interest(fd).is_err() {
            self.close(fd);
        }
    }

    fn update_interest(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
        // No syscall: the next wait copies both sets.
        match connection.may_read() {
            true => self.reading.insert(fd)?,
            false => self.reading.remove(fd),
        }
        match connection.pending.is_empty() {
            false => self.writing.insert(fd)?,
            true => self.writing.remove(fd),
        }
        Ok(())
    }

    fn close(&mut self, fd: RawFd) {
        // With a closed descriptor in a set, every wait would fail with EBADF, for all connections.
        self.reading.remove(fd);
        self.writing.remove(fd);
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    pub fn run(mut self) -> Result<()> {
        loop {
            // Copies, because select overwrites its arguments.
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
                self.reading.insert(self.listener.as_raw_fd())?;
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let pending = Pending::new();
        Self { stream, pending, peer_finished: false }
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

/// A bitmap of FD_SETSIZE descriptors.
#[derive(Clone)]
struct FdSet(libc::fd_set);

impl FdSet {
    fn new() -> Self {
        // SAFETY: an fd_set is an array of integers, and all zero is the empty set (FD_ZERO).
        Self(unsafe { std::mem::zeroed() })
    }

    fn can_hold(fd: RawFd) -> bool {
        (fd as usize) < libc::FD_SETSIZE
    }

    fn insert(&mut self, fd: RawFd) -> io::Result<()> {
        // In C, FD_SET would write past the bitmap here, and nothing would say so.
        if !Self::can_hold(fd) {
            return Err(io::Error::other(format!("select holds only descriptors below {}", libc::FD_SETSIZE)));
        }
        // SAFETY: `can_hold`: the bit lies inside the bitmap.
        unsafe { libc::FD_SET(fd, &mut self.0) };
        Ok(())
    }

    fn remove(&mut self, fd: RawFd) {
        if Self::can_hold(fd) {
            // SAFETY: `can_hold`: the bit lies inside the bitmap.
            unsafe { libc::FD_CLR(fd, &mut self.0) }
        }
    }

    fn contains(&self, fd: RawFd) -> bool {
        // SAFETY: `can_hold`: the bit lies inside the bitmap.
        Self::can_hold(fd) && unsafe { libc::FD_ISSET(fd, &self.0) }
    }
}

/// Returns the number of bits left set: 0 after a timeout, or after a signal or a debugger interrupted the wait
/// (EINTR). After EINTR the sets are unchanged and say nothing about readiness.
fn select(nfds: RawFd, readable: &mut FdSet, writable: &mut FdSet, timeout_ms: libc::c_int) -> io::Result<usize> {
    let mut timeout = libc::timeval {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_usec: (timeout_ms % 1000 * 1000) as libc::suseconds_t,
    };
    let timeout = if timeout_ms < 0 { std::ptr::null_mut() } else { &raw mut timeout };
    // SAFETY: each set holds FD_SETSIZE bits, and `nfds` is at most FD_SETSIZE, because `insert` refuses higher
    // descriptors. `timeout` outlives the call. The third set and `timeout` may be null.
    let ready = unsafe { libc::select(nfds, &mut readable.0, &mut writable.0, std::ptr::null_mut(), timeout) };
    match ready {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
        ready => Ok(ready as usize),
    }
}
