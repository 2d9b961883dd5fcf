//! An echo server on kqueue, level-triggered.
//!
//! Invariant: a connection has a READ knote while the server may read from it, and a WRITE knote while bytes are
//! pending for it. Both hold from the next wait on, which makes the changes. No knote is left for a descriptor that was
//! closed.

// TODO: when many clients are reset at once, some clients that connect right after are thrown out for nothing.

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
use kqueue::sys::{
    EV_ADD, EV_DELETE, EV_DISABLE, EV_ENABLE, EV_EOF, EV_ERROR, EVFILT_READ, EVFILT_WRITE, Kevent, Kqueue,
};

struct Connection {
    stream: TcpStream,
    pending: Pending,
    peer_finished: bool,
    number: usize,
    has_read: bool,
    has_write: bool,
}

struct Server {
    kqueue: Kqueue,
    changes: Vec<Kevent>,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    accepted: usize,
    buffer: Vec<u8>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

pub fn main() -> ExitCode {
    common_server::main("second_event", new, run)
}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Server> {
    let kqueue = Kqueue::new().context("kqueue")?;
    let changes = [listener.as_raw_fd(), shutdown.as_raw_fd()].map(|fd| Kevent::new(fd as usize, EVFILT_READ, EV_ADD));
    kqueue.kevent(&changes, &mut [], Some(Duration::ZERO)).context("register the listener")?;
    let (changes, connections, accepted) = (Vec::new(), Connections::default(), 0);
    let (buffer, retry_accept, out_of_fds) = (vec![0; READ_BUFFER], Retry::default(), Notice::default());
    Ok(Server { kqueue, changes, listener, shutdown, connections, accepted, buffer, retry_accept, out_of_fds })
}

fn run(mut server: Server) -> Result<()> {
    let mut events = [Kevent::default(); 256];
    loop {
        let timeout = u64::try_from(server.retry_accept.timeout_ms()).ok().map(Duration::from_millis);
        let ready = server.kqueue.kevent(&server.changes, &mut events, timeout).context("kevent")?;
        server.changes.clear();
        for event in ready {
            match event.ident() as RawFd {
                fd if fd == server.shutdown.as_raw_fd() => return Ok(()),
                fd if fd == server.listener.as_raw_fd() => server.accept()?,
                _ => server.serve(event),
            }
        }
        if server.retry_accept.take_due() {
            server.change(server.listener.as_raw_fd(), EVFILT_READ, EV_ENABLE, 0);
        }
    }
}

impl Server {
    fn change(&mut self, fd: RawFd, filter: i32, flags: u32, number: usize) {
        self.changes.push(Kevent::new(fd as usize, filter, flags).with_udata(number));
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
                    self.change(self.listener.as_raw_fd(), EVFILT_READ, EV_DISABLE, 0);
                    break;
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
            }
        }
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        if let Err(error) = stream.set_nonblocking(true) {
            self.out_of_fds.say(format_args!("set O_NONBLOCK: {error}; connection closed"));
            return;
        }
        self.accepted += 1;
        let (pending, number) = (Pending::new(), self.accepted);
        let (peer_finished, has_read, has_write) = (false, false, false);
        self.connections.insert(fd, Connection { stream, pending, peer_finished, number, has_read, has_write });
        self.update_interest(fd);
    }

    fn serve(&mut self, event: &Kevent) {
        let fd = event.ident() as RawFd;
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let served = match event.filter() {
            _ if event.flags() & EV_ERROR != 0 => event.error().map_or(Ok(()), Err),
            // The client takes no more bytes, so the pending bytes cannot arrive.
            EVFILT_WRITE if event.flags() & EV_EOF != 0 => Err(io::ErrorKind::ConnectionReset.into()),
            EVFILT_WRITE => connection.write(),
            _ => connection.read(&mut self.buffer),
        };
        match served {
            Ok(()) if !connection.peer_finished || !connection.pending.is_empty() => self.update_interest(fd),
            _ => self.close(fd),
        }
    }

    fn update_interest(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let (read, write, number) = (connection.may_read(), !connection.pending.is_empty(), connection.number);
        let had_read = std::mem::replace(&mut connection.has_read, read);
        let had_write = std::mem::replace(&mut connection.has_write, write);
        for (filter, had, has) in [(EVFILT_READ, had_read, read), (EVFILT_WRITE, had_write, write)] {
            if had != has {
                self.change(fd, filter, if has { EV_ADD } else { EV_DELETE }, number);
            }
        }
    }

    fn close(&mut self, fd: RawFd) {
        self.changes.retain(|change| change.ident() != fd as usize);
        self.connections.remove(fd);
        self.retry_accept.now();
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        !self.peer_finished && self.pending.has_room()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match receive(&self.stream, buffer)? {
            Received::Finished => self.peer_finished = true,
            Received::Bytes(n) => self.pending.push(&buffer[..n]),
            Received::WouldBlock => {}
        }
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match send(&self.stream, self.pending.front())? {
                Sent::Bytes(n) => self.pending.consume(n),
                Sent::WouldBlock => break,
            }
        }
        Ok(())
    }
}
