//! An echo server with four workers. Each worker has an epoll and connections of its own, and all workers share the
//! listener.
//!
//! Invariant: a connection belongs to the worker that accepted it; the workers share the listener, the shutdown socket
//! and nothing else.

// TODO: the more workers there are, the more processor time the same number of connects costs.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};
use exercises::epoll::{ERR, ET, Epoll, HUP, IN, OUT, RDHUP};

const WORKERS: usize = 4;
const READS_PER_TURN: usize = 4;
const EVERYTHING: u32 = IN | OUT | RDHUP | ET;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    readable: bool,
    writable: bool,
}

struct Worker<'a> {
    epoll: Epoll,
    listener: &'a TcpListener,
    shutdown: &'a Shutdown,
    connections: Connections<Connection>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("the_herd", |listener, shutdown| Ok((listener, shutdown)), run)
}

fn run((listener, shutdown): (TcpListener, Shutdown)) -> Result<()> {
    let start = || Worker::new(&listener, &shutdown).and_then(Worker::run);
    thread::scope(|scope| {
        let others: Vec<_> = (1..WORKERS).map(|_| scope.spawn(start)).collect();
        let first = start();
        others.into_iter().fold(first, |all, other| all.and(other.join().expect("a worker does not panic")))
    })
}

impl<'a> Worker<'a> {
    fn new(listener: &'a TcpListener, shutdown: &'a Shutdown) -> Result<Self> {
        let epoll = Epoll::new().context("epoll_create1")?;
        epoll.add(listener.as_raw_fd(), IN | ET).context("register the listener")?;
        // Without it: a signal is for all workers.
        epoll.add(shutdown.as_raw_fd(), IN).context("register the shutdown socket")?;
        let (connections, buffer) = (Connections::default(), vec![0; READ_BUFFER]);
        let (retry_accept, out_of_fds) = (Retry::one_of(WORKERS), Notice::default());
        Ok(Self { epoll, listener, shutdown, connections, buffer, retry_accept, out_of_fds })
    }

    fn run(mut self) -> Result<()> {
        loop {
            for event in self.epoll.wait(self.retry_accept.timeout_ms()).context("epoll_wait")? {
                match event.fd() {
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    // Only noted: the listener has its turn below, once.
                    fd if fd == self.listener.as_raw_fd() => self.retry_accept.at_once(),
                    fd => self.serve(fd, event.events),
                }
            }
            if self.retry_accept.take_due() {
                self.accept()?;
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => self.register(stream),
                Err(AcceptError::Drained) => return Ok(()),
                Err(AcceptError::Aborted) => continue,
                Err(AcceptError::OutOfFds(error)) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry_accept.later();
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        self.retry_accept.at_once();
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        match stream.set_nonblocking(true).and_then(|()| self.epoll.add(fd, EVERYTHING)) {
            Ok(()) => {
                let (peer_finished, readable, writable) = (false, false, false);
                let connection = Connection { stream, pending: Pending::new(), peer_finished, readable, writable };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    fn serve(&mut self, fd: RawFd, events: u32) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        connection.readable |= events & (IN | RDHUP) != 0;
        connection.writable |= events & OUT != 0;
        let mut served = match events & (ERR | HUP) {
            0 => connection.echo(&mut self.buffer),
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        };
        if served.is_ok() && connection.may_read() {
            // The turn has ended with more to read. EPOLL_CTL_MOD looks at the socket again and gives another edge.
            served = self.epoll.modify(fd, EVERYTHING);
        }
        if served.is_err() || connection.peer_finished && connection.pending.is_empty() {
            self.connections.remove(fd);
            self.retry_accept.now();
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        self.readable && !self.peer_finished && self.pending.has_room()
    }

    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.write()?;
        for _ in 0..READS_PER_TURN {
            if !self.may_read() {
                break;
            }
            match receive(&self.stream, buffer)? {
                Received::Finished => self.peer_finished = true,
                Received::Bytes(n) => self.pending.push(&buffer[..n]),
                Received::WouldBlock => self.readable = false,
            }
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while self.writable && !self.pending.is_empty() {
            match send(&self.stream, self.pending.front())? {
                Sent::Bytes(n) => self.pending.consume(n),
                Sent::WouldBlock => self.writable = false,
            }
        }
        Ok(())
    }
}
