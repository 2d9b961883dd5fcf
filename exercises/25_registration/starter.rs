//! An echo server with two threads on edge-triggered epoll: one thread accepts, the other serves.
//!
//! Invariant: an accepted connection is on its way through the channel, or in the table, or closed.

// TODO: a client that sends right after it has connected gets no answer; other clients do.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use common_server::{AcceptError, Connections, Pending, READ_BUFFER, Received, Sent, Shutdown, receive, send};
use exercises::epoll::{ERR, ET, Epoll, HUP, IN, OUT, RDHUP};

const READS_PER_TURN: usize = 4;
const EVERYTHING: u32 = IN | OUT | RDHUP | ET;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    readable: bool,
    writable: bool,
}

struct Server {
    epoll: Arc<Epoll>,
    shutdown: Shutdown,
    bell: UnixStream,
    arrivals: Receiver<TcpStream>,
    connections: Connections<Connection>,
    buffer: Vec<u8>,
}

struct Doorman {
    listener: TcpListener,
    server: Arc<Epoll>,
    bell: UnixStream,
    arrivals: Sender<TcpStream>,
}

pub fn main() -> ExitCode {
    common_server::main("registration", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<(Doorman, Server)> {
    let epoll = Arc::new(Epoll::new().context("epoll_create1")?);
    let (bell, rope) = UnixStream::pair().context("socket pair between the threads")?;
    bell.set_nonblocking(true).and_then(|()| rope.set_nonblocking(true)).context("set O_NONBLOCK")?;
    epoll.add(bell.as_raw_fd(), IN).context("register the bell")?;
    epoll.add(shutdown.as_raw_fd(), IN).context("register the shutdown socket")?;
    let (sender, arrivals) = mpsc::channel();
    let doorman = Doorman { listener, server: epoll.clone(), bell: rope, arrivals: sender };
    let (connections, buffer) = (Connections::default(), vec![0; READ_BUFFER]);
    Ok((doorman, Server { epoll, shutdown, bell, arrivals, connections, buffer }))
}

fn run((doorman, server): (Doorman, Server)) -> Result<()> {
    let accepting = thread::spawn(move || doorman.accept());
    // `serve_all` ends before the doorman only when the server has to stop. Then the end of the process ends the
    // doorman's thread.
    server.serve_all()?;
    if accepting.is_finished() { accepting.join().expect("the doorman does not panic") } else { Ok(()) }
}

impl Doorman {
    fn accept(mut self) -> Result<()> {
        let epoll = Epoll::new().context("epoll_create1")?;
        epoll.add(self.listener.as_raw_fd(), IN).context("register the listener")?;
        loop {
            drop(epoll.wait(-1).context("epoll_wait")?);
            match self.listener.accept().map_err(AcceptError::from) {
                Ok((stream, _)) => self.hand_over(stream),
                Err(AcceptError::Drained | AcceptError::Aborted) => {}
                Err(AcceptError::OutOfFds(error)) => {
                    eprintln!("accept: {error}; waiting clients stay queued");
                    thread::sleep(Duration::from_millis(250));
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
    }

    fn hand_over(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        // Registered first of all, so that no edge is missed.
        if let Err(error) = stream.set_nonblocking(true).and_then(|()| self.server.add(fd, EVERYTHING)) {
            eprintln!("register fd {fd}: {error}; connection closed");
            return;
        }
        // The result does not matter: a full bell rings already, and a server that has ended serves nobody.
        let _ = self.arrivals.send(stream).map(|()| self.bell.write(&[1]));
    }
}

impl Server {
    fn serve_all(mut self) -> Result<()> {
        loop {
            for event in self.epoll.wait(-1).context("epoll_wait")? {
                match event.fd() {
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.bell.as_raw_fd() => match self.bell.read(&mut self.buffer) {
                        // The doorman's thread has ended.
                        Ok(0) => return Ok(()),
                        _ => self.adopt(),
                    },
                    fd => self.serve(fd, event.events),
                }
            }
        }
    }

    fn adopt(&mut self) {
        while let Ok(stream) = self.arrivals.try_recv() {
            let fd = stream.as_raw_fd();
            let (pending, peer_finished, readable, writable) = (Pending::new(), false, false, false);
            self.connections.insert(fd, Connection { stream, pending, peer_finished, readable, writable });
        }
    }

    fn serve(&mut self, fd: RawFd, events: u32) {
        // None: the event is of a connection that was closed.
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
