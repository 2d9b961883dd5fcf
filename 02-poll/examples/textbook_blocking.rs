//! What tutorials in Python print: a list of sockets, one call that waits for all of them, `recv` and `sendall`. Broken
//! on purpose.
//!
//! It passes every test with clients that read what they sent. It lacks O_NONBLOCK: the wait says that a socket can be
//! read, and nothing says that it takes an answer. So a client that does not read stops the server in `write_all`, and
//! all other clients wait. And it lacks an answer to a failed accept: when no descriptor is free, the server ends, as a
//! script does at an exception that nobody catches. `src/server.rs` is the same server with both: compare them.
//!
//! Invariant: `polled[FIRST + i]` is the entry of `connections[i]`, and a socket is read only after poll reported it. So
//! no read blocks. A write may.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{READ_BUFFER, Shutdown};

const SHUTDOWN: usize = 0;
const LISTENER: usize = 1;
const FIRST: usize = 2;

fn main() -> ExitCode {
    common_server::main("textbook_blocking", Server::new, Server::run)
}

struct Server {
    polled: Vec<libc::pollfd>,
    listener: TcpListener,
    _shutdown: Shutdown,
    connections: Vec<TcpStream>,
    buffer: Box<[u8]>,
}

impl Server {
    fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        // As a socket is when nobody says otherwise. The accepted sockets block too.
        listener.set_nonblocking(false)?;
        let polled = vec![entry(shutdown.as_raw_fd()), entry(listener.as_raw_fd())];
        let (connections, buffer) = (Vec::new(), vec![0; READ_BUFFER].into());
        Ok(Self { polled, listener, _shutdown: shutdown, connections, buffer })
    }

    fn accept(&mut self) -> Result<()> {
        // Lacking: the errors after which a server goes on, such as EMFILE.
        let (stream, _) = self.listener.accept().context("accept")?;
        self.polled.push(entry(stream.as_raw_fd()));
        self.connections.push(stream);
        Ok(())
    }

    /// Reads once, and sends it all back. An error, or nothing to read, is the end of the connection.
    fn serve(&mut self, index: usize) -> io::Result<bool> {
        let mut stream = &self.connections[index];
        let n = stream.read(&mut self.buffer)?;
        // Lacking: a place for what the socket does not take now. The server sleeps here until the client reads.
        stream.write_all(&self.buffer[..n])?;
        Ok(n > 0)
    }

    fn run(mut self) -> Result<()> {
        loop {
            poll(&mut self.polled).context("poll")?;
            if self.polled[SHUTDOWN].revents != 0 {
                return Ok(());
            }
            // From the end: a close moves only the last entry, which was served before.
            for index in (0..self.connections.len()).rev() {
                if self.polled[FIRST + index].revents != 0 && !matches!(self.serve(index), Ok(true)) {
                    self.polled.swap_remove(FIRST + index);
                    self.connections.swap_remove(index);
                }
            }
            if self.polled[LISTENER].revents != 0 {
                self.accept()?;
            }
        }
    }
}

fn entry(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits until an entry is ready, or until a signal or a debugger interrupts the wait (EINTR).
fn poll(polled: &mut [libc::pollfd]) -> io::Result<()> {
    polled.iter_mut().for_each(|entry| entry.revents = 0);
    // SAFETY: `polled` is writable for the whole call, and the kernel touches exactly `polled.len()` entries.
    match unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}
