//! An echo server on poll(2), with a table of connections by descriptor beside poll's list.
//!
//! Invariant: every entry from `FIRST` on belongs to a connection, and `connections` finds this connection by the
//! entry's descriptor.

// TODO: after one slow reader, long since served, the server never sleeps again.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Shutdown, receive, send,
};
use exercises::poll::{ERR, Entry, HUP, IN, NVAL, OUT, entry, poll};

const SHUTDOWN: usize = 0;
const LISTENER: usize = 1;
const FIRST: usize = 2;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
}

struct Server {
    polled: Vec<Entry>,
    listener: TcpListener,
    _shutdown: Shutdown,
    connections: Connections<Connection>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("write_interest", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let polled = vec![entry(shutdown.as_raw_fd(), IN), entry(listener.as_raw_fd(), IN)];
    let (connections, buffer) = (Connections::default(), vec![0; READ_BUFFER]);
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    Ok(Server { polled, listener, _shutdown: shutdown, connections, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        poll(&mut server.polled, server.retry_accept.timeout_ms()).context("poll")?;
        if server.polled[SHUTDOWN].revents != 0 {
            return Ok(());
        }
        // From the last entry to the first, so that a close moves only entries that have had their turn.
        for slot in (FIRST..server.polled.len()).rev() {
            if server.polled[slot].revents != 0 {
                server.serve(slot);
            }
        }
        if server.polled[LISTENER].revents != 0 {
            server.accept()?;
        }
        if server.retry_accept.take_due() {
            server.polled[LISTENER].events = IN;
        }
    }
}

impl Server {
    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => self.register(stream),
                Err(AcceptError::Drained) => break,
                Err(AcceptError::Aborted) => continue,
                Err(AcceptError::OutOfFds(error)) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry_accept.later();
                    self.polled[LISTENER].events = 0;
                    break;
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        match stream.set_nonblocking(true) {
            Ok(()) => {
                self.polled.push(entry(fd, IN));
                self.connections.insert(fd, Connection { stream, pending: Pending::new(), peer_finished: false });
            }
            Err(error) => self.out_of_fds.say(format_args!("connection closed: {error}")),
        }
    }

    fn serve(&mut self, slot: usize) {
        let entry = &mut self.polled[slot];
        let Some(connection) = self.connections.get_mut(entry.fd) else { return };
        let served = connection.serve(entry.revents, &mut self.buffer);
        if served.is_err() || connection.peer_finished && connection.pending.is_empty() {
            self.connections.remove(entry.fd);
            self.polled.swap_remove(slot);
            self.retry_accept.now();
        } else {
            connection.update_interest(entry);
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn update_interest(&self, entry: &mut Entry) {
        if self.may_read() {
            entry.events |= IN;
        } else {
            entry.events &= !IN;
        }
        if !self.pending.is_empty() {
            entry.events |= OUT;
        }
    }

    fn serve(&mut self, revents: i16, buffer: &mut [u8]) -> io::Result<()> {
        if revents & (ERR | HUP | NVAL) != 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if revents & OUT != 0 && !self.pending.is_empty() {
            let sent = send(&self.stream, self.pending.front())?.bytes();
            self.pending.consume(sent);
        }
        if revents & IN == 0 || !self.may_read() {
            return Ok(());
        }
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => {
                let sent = if self.pending.is_empty() { send(&self.stream, &buffer[..n])?.bytes() } else { 0 };
                self.pending.push(&buffer[sent..n]);
            }
            Received::WouldBlock => {}
        }
        Ok(())
    }
}
