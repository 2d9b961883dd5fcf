//! An echo server on poll(2).
//!
//! Invariant: `polled[FIRST + i]` is the entry of `connections[i]`.

// TODO: when a client from the middle of the list has left, other clients get no answer.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Notice, Pending, READ_BUFFER, Received, Retry, Shutdown, receive, send,
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
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("slots", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let polled = vec![entry(shutdown.as_raw_fd(), IN), entry(listener.as_raw_fd(), IN)];
    let (connections, buffer) = (Vec::new(), vec![0; READ_BUFFER]);
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
        for slot in (0..server.connections.len()).rev() {
            match server.polled[FIRST + slot].revents {
                0 => {}
                revents => server.serve(slot, revents),
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
        match stream.set_nonblocking(true) {
            Ok(()) => {
                self.polled.push(entry(stream.as_raw_fd(), IN));
                self.connections.push(Connection { stream, pending: Pending::new(), peer_finished: false });
            }
            Err(error) => self.out_of_fds.say(format_args!("connection closed: {error}")),
        }
    }

    fn serve(&mut self, slot: usize, revents: i16) {
        let connection = &mut self.connections[slot];
        let served = connection.serve(revents, &mut self.buffer);
        if served.is_err() || connection.peer_finished && connection.pending.is_empty() {
            self.close(slot);
        } else {
            self.polled[FIRST + slot].events = connection.interest();
        }
    }

    fn close(&mut self, slot: usize) {
        self.polled.swap_remove(FIRST + slot);
        self.connections.remove(slot);
        self.retry_accept.now();
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn interest(&self) -> i16 {
        let reading = if self.may_read() { IN } else { 0 };
        if self.pending.is_empty() { reading } else { reading | OUT }
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
