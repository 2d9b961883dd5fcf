//! An echo server on kqueue with EV_CLEAR: each filter reports what is new, and once.
//!
//! Invariant: a connection keeps its two knotes until it is closed. An event sets `readable` or `writable`, and only
//! EAGAIN clears it. A connection that has news is in `ready` and gets one turn for it.

// TODO: only the beginning of a large message comes back; without EV_CLEAR all of it did.

use std::collections::BTreeSet;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};
use kqueue::sys::{EV_ADD, EV_CLEAR, EV_EOF, EVFILT_READ, EVFILT_WRITE, Kevent, Kqueue};

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    gone: bool,
    readable: bool,
    writable: bool,
}

struct Server {
    kqueue: Kqueue,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    ready: BTreeSet<RawFd>,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("clear", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let kqueue = Kqueue::new().context("kqueue")?;
    watch(&kqueue, listener.as_raw_fd(), &[EVFILT_READ]).context("register the listener")?;
    watch(&kqueue, shutdown.as_raw_fd(), &[EVFILT_READ]).context("register the shutdown socket")?;
    let (connections, ready) = (Connections::default(), BTreeSet::new());
    let (buffer, retry_accept, out_of_fds) = (vec![0; READ_BUFFER], Retry::default(), Notice::default());
    Ok(Server { kqueue, listener, shutdown, connections, ready, buffer, retry_accept, out_of_fds })
}

fn watch(kqueue: &Kqueue, fd: RawFd, filters: &[i32]) -> io::Result<()> {
    let knote = |filter: &i32| Kevent::new(fd as usize, *filter, EV_ADD | EV_CLEAR);
    let changes: Vec<Kevent> = filters.iter().map(knote).collect();
    kqueue.kevent(&changes, &mut [], Some(Duration::ZERO)).map(|_| ())
}

fn run(mut server: Server) -> Result<()> {
    let mut events = [Kevent::default(); 256];
    loop {
        let timeout = u64::try_from(server.retry_accept.timeout_ms()).ok().map(Duration::from_millis);
        for event in server.kqueue.kevent(&[], &mut events, timeout).context("kevent")? {
            match event.ident() as RawFd {
                fd if fd == server.shutdown.as_raw_fd() => return Ok(()),
                // Only noted: the listener has its turn below, once.
                fd if fd == server.listener.as_raw_fd() => server.retry_accept.at_once(),
                _ => server.note(event),
            }
        }
        std::mem::take(&mut server.ready).into_iter().for_each(|fd| server.serve(fd));
        if server.retry_accept.take_due() {
            server.accept()?;
        }
    }
}

impl Server {
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
        let filters = [EVFILT_READ, EVFILT_WRITE];
        match stream.set_nonblocking(true).and_then(|()| watch(&self.kqueue, fd, &filters)) {
            Ok(()) => {
                let (pending, peer_finished, gone) = (Pending::new(), false, false);
                let (readable, writable) = (false, false);
                let connection = Connection { stream, pending, peer_finished, gone, readable, writable };
                self.connections.insert(fd, connection);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    fn note(&mut self, event: &Kevent) {
        let fd = event.ident() as RawFd;
        let Some(connection) = self.connections.get_mut(fd) else { return };
        connection.readable |= event.filter() == EVFILT_READ;
        connection.writable |= event.filter() == EVFILT_WRITE;
        connection.gone |= event.filter() == EVFILT_WRITE && event.flags() & EV_EOF != 0;
        self.ready.insert(fd);
    }

    fn serve(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let failed = connection.gone || connection.echo(&mut self.buffer).is_err();
        if failed || connection.peer_finished && connection.pending.is_empty() {
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
        if self.may_read() {
            self.read(buffer)?;
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => self.pending.push(&buffer[..n]),
            Received::WouldBlock => self.readable = false,
        }
        self.write()
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
