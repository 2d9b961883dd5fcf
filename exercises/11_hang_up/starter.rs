//! An echo server on poll(2) that builds its list anew in each turn.
//!
//! Invariant: `polled[FIRST + i]` is the entry of `connections[i]`, from the end of `list` to the start of `serve`.

// TODO: a client that crashed stays for ever, and costs a whole processor.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Notice, Pending, READ_BUFFER, Received, Retry, Shutdown, receive, send,
};
use exercises::poll::{Entry, IN, OUT, entry, poll};

const SHUTDOWN: usize = 0;
const LISTENER: usize = 1;
const FIRST: usize = 2;
const BOTH: i16 = IN | OUT;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
}

struct Server {
    polled: Vec<Entry>,
    listener: TcpListener,
    accepting: bool,
    shutdown: Shutdown,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("hang_up", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let (polled, connections, buffer) = (Vec::new(), Vec::new(), vec![0; READ_BUFFER]);
    let (retry_accept, out_of_fds) = (Retry::default(), Notice::default());
    Ok(Server { polled, listener, accepting: true, shutdown, connections, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    loop {
        server.list();
        poll(&mut server.polled, server.retry_accept.timeout_ms()).context("poll")?;
        if server.polled[SHUTDOWN].revents != 0 {
            return Ok(());
        }
        server.serve();
        if server.polled[LISTENER].revents != 0 {
            server.accept()?;
        }
        server.accepting |= server.retry_accept.take_due();
    }
}

impl Server {
    fn list(&mut self) {
        self.polled.clear();
        self.polled.push(entry(self.shutdown.as_raw_fd(), IN));
        self.polled.push(entry(self.listener.as_raw_fd(), if self.accepting { IN } else { 0 }));
        self.polled.extend(self.connections.iter().map(|c| entry(c.stream.as_raw_fd(), c.interest())));
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => self.register(stream),
                Err(AcceptError::Drained) => break,
                Err(AcceptError::Aborted) => continue,
                Err(AcceptError::OutOfFds(error)) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry_accept.later();
                    self.accepting = false;
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
                self.connections.push(Connection { stream, pending: Pending::new(), peer_finished: false });
            }
            Err(error) => self.out_of_fds.say(format_args!("connection closed: {error}")),
        }
    }

    fn serve(&mut self) {
        let (before, mut entries) = (self.connections.len(), self.polled[FIRST..].iter());
        self.connections.retain_mut(|connection| {
            let revents = entries.next().map_or(0, |entry| entry.revents);
            let served = connection.serve(revents, &mut self.buffer);
            served.is_ok() && !(connection.peer_finished && connection.pending.is_empty())
        });
        if self.connections.len() < before {
            self.retry_accept.now();
        }
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
        match revents {
            IN => self.read(buffer),
            OUT => self.write(),
            BOTH => self.write().and_then(|()| self.read(buffer)),
            _ => Ok(()),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if !self.may_read() {
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

    fn write(&mut self) -> io::Result<()> {
        let sent = send(&self.stream, self.pending.front())?.bytes();
        self.pending.consume(sent);
        Ok(())
    }
}
