//! poll: the program passes the whole list of descriptors at every wait, and both the kernel and the program scan it.
//!
//! Invariant: `polled[FIRST + i]` is the entry of `connections[i]`, and a close removes both together. An entry asks
//! for POLLIN exactly while the server may read from its connection (the peer has not finished, and a whole read fits
//! under `MAX_PENDING`). It asks for POLLOUT exactly while bytes are pending. The next wait reports unread bytes again,
//! so a turn may stop after one read. For the same reason, an interest without need makes the server spin.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive, send,
};

const SHUTDOWN: usize = 0;
const LISTENER: usize = 1;
const FIRST: usize = 2;
const IN: libc::c_short = libc::POLLIN;
const OUT: libc::c_short = libc::POLLOUT;
// A reset or a timeout, never a FIN. poll reports it even with an empty mask (poll(2)). The server treats it as
// readable and writable, so that the next read or write fails. (NVAL means a closed descriptor: the invariant would be
// broken.)
const GONE: libc::c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it will send nothing more, but it may still read.
    peer_finished: bool,
}

pub struct Server {
    polled: Vec<libc::pollfd>,
    listener: TcpListener,
    _shutdown: Shutdown,
    connections: Vec<Connection>,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
    refused: Notice,
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let polled = vec![entry(shutdown.as_raw_fd(), IN), entry(listener.as_raw_fd(), IN)];
        Ok(Self {
            polled,
            listener,
            _shutdown: shutdown,
            connections: Vec::new(),
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
                    // The listener stays readable. If the list still asked for it, every wait would return at once.
                    self.retry_accept.later();
                    self.polled[LISTENER].events = 0;
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
        self.polled.push(entry(fd, IN));
        self.connections.push(Connection::new(stream));
        Ok(())
    }

    /// Serves one connection after its event, and closes it when it is finished or has failed.
    fn serve(&mut self, index: usize, readable: bool, writable: bool) {
        let connection = &mut self.connections[index];
        let served = connection.write(writable).and_then(|()| connection.read(readable, &mut self.buffer));
        if served.is_err() || connection.is_finished() || self.update_interest(index).is_err() {
            self.close(index);
        }
    }

    fn update_interest(&mut self, index: usize) -> io::Result<()> {
        let connection = &self.connections[index];
        let mut wanted = 0;
        if connection.may_read() {
            wanted |= IN;
        }
        if !connection.pending.is_empty() {
            wanted |= OUT;
        }
        // No syscall: the next wait reads the whole list.
        self.polled[FIRST + index].events = wanted;
        Ok(())
    }

    fn close(&mut self, index: usize) {
        // The last connection moves to the free index. The entry of a closed descriptor would report NVAL at every
        // wait.
        self.polled.swap_remove(FIRST + index);
        self.connections.swap_remove(index);
        self.retry_accept.now();
    }

    pub fn run(mut self) -> Result<()> {
        loop {
            let mut ready = poll(&mut self.polled, self.retry_accept.timeout_ms()).context("poll")?;
            if self.polled[SHUTDOWN].revents != 0 {
                return Ok(());
            }
            // From the end: a close moves only the last entry, which was scanned before. poll's count ends the scan.
            for index in (0..self.connections.len()).rev() {
                if ready == 0 {
                    break;
                }
                let events = self.polled[FIRST + index].revents;
                if events != 0 {
                    ready -= 1;
                    self.serve(index, events & (IN | GONE) != 0, events & (OUT | GONE) != 0);
                }
            }
            // After the connections: `accept` must not change the list while the scan goes on.
            if self.polled[LISTENER].revents != 0 {
                self.accept()?;
            }
            if self.retry_accept.take_due() {
                self.polled[LISTENER].events = IN;
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

fn entry(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// Returns the number of ready entries: 0 after a timeout, or after a signal or a debugger interrupted the wait
/// (EINTR).
fn poll(polled: &mut [libc::pollfd], timeout_ms: libc::c_int) -> io::Result<usize> {
    // SAFETY: `polled` is writable for the whole call, and the kernel touches exactly `polled.len()` entries.
    match unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {
                // A wait that fails leaves the answers of the previous wait in place.
                polled.iter_mut().for_each(|entry| entry.revents = 0);
                Ok(0)
            }
            error => Err(error),
        },
        ready => Ok(ready as usize),
    }
}
