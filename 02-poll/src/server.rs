//! poll: the whole list of descriptors is handed to the kernel at every wait, and scanned there and here.
//!
//! Invariant: `polled[FIRST + i]` is the entry of `connections[i]`, and both lose the place at once when the connection
//! closes. An entry asks for POLLIN exactly while its connection may be read (the peer has not finished, and a whole
//! read fits into what we may owe), and for POLLOUT exactly while bytes are owed. What one call leaves unread, the next
//! wait reports again; so each turn may stop after one read, and interest that is left on without need would spin.

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
// Reported whether asked for or not (poll(2)). NVAL would be an entry of a closed descriptor: the invariant's breach.
const GONE: libc::c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it reads on, but nothing more will come from it.
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
                        // The listener stays readable: left in the list, it would end every wait at once.
                        self.retry_accept.later();
                        self.polled[LISTENER].events = 0;
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
        match stream.set_nonblocking(true) {
            Ok(()) => {
                self.polled.push(entry(fd, IN));
                self.connections.push(Connection { stream, pending: Pending::new(), peer_finished: false });
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    /// Handles what the wait reported of one connection, and closes it when it is done or broken.
    fn serve(&mut self, index: usize, events: libc::c_short) {
        let connection = &mut self.connections[index];
        let served = match events {
            // No FIN causes these, only a reset or a timeout: nothing that we owe can arrive any more.
            gone if gone & GONE != 0 => Err(io::ErrorKind::ConnectionReset.into()),
            _ => connection.write(events & OUT != 0).and_then(|()| connection.read(events & IN != 0, &mut self.buffer)),
        };
        match served {
            Ok(()) if !connection.is_finished() => self.update_interest(index),
            _ => self.close(index),
        }
    }

    fn update_interest(&mut self, index: usize) {
        let connection = &self.connections[index];
        let mut wanted = 0;
        if connection.may_read() {
            wanted |= IN;
        }
        if !connection.pending.is_empty() {
            wanted |= OUT;
        }
        // No syscall: the list is read afresh at the next wait.
        self.polled[FIRST + index].events = wanted;
    }

    fn close(&mut self, index: usize) {
        // The last connection moves into the free place. An entry left behind would be NVAL, and end every wait at once.
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
            // From the end, so that a close moves only entries that have had their turn. poll's count ends the scan.
            for index in (0..self.connections.len()).rev() {
                if ready == 0 {
                    break;
                }
                let events = self.polled[FIRST + index].revents;
                if events != 0 {
                    ready -= 1;
                    self.serve(index, events);
                }
            }
            // After the connections, whose places it may shift no more.
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

fn entry(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// The number of entries with `revents`; 0 after a timeout, and after a signal or a debugger interrupted the wait (EINTR).
fn poll(polled: &mut [libc::pollfd], timeout_ms: libc::c_int) -> io::Result<usize> {
    // SAFETY: the kernel reads and writes exactly `polled.len()` entries.
    match unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {
                // A wait that failed leaves the answers of the one before.
                polled.iter_mut().for_each(|entry| entry.revents = 0);
                Ok(0)
            }
            error => Err(error),
        },
        ready => Ok(ready as usize),
    }
}
