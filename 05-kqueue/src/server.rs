//! kqueue: the kernel keeps a registration for each descriptor and filter, and a wait also makes changes to them.
//!
//! Invariant: a connection has a READ knote exactly while the server may read from it (the peer has not finished, and a
//! whole read fits under `MAX_PENDING`). It has a WRITE knote exactly while bytes are pending. Changes are collected in
//! `changes`, which never holds a change for a closed descriptor. The next wait makes the changes, in order, before it
//! sleeps. It also reports unread bytes again, so a turn may stop after one read.
//!
//! That is level-triggered, kqueue's default. `examples/ev_clear.rs` is the edge-triggered server.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use anyhow::{Context, Result};
use common_server::{
    ACCEPT_BATCH, AcceptError, Connections, Notice, Pending, READ_BUFFER, Received, Retry, Sent, Shutdown, receive,
    send,
};
use kqueue::sys::{
    EV_ADD, EV_DELETE, EV_DISABLE, EV_ENABLE, EV_ERROR, EVFILT_READ, EVFILT_SIGNAL, EVFILT_WRITE, Kevent, Kqueue,
};

const EVENTS: usize = 256;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it will send nothing more, but it may still read.
    peer_finished: bool,
    /// Whether the connection has a READ and a WRITE knote once `changes` are made.
    interest: [bool; 2],
}

pub struct Server {
    kqueue: Kqueue,
    changes: Vec<Kevent>,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
    refused: Notice,
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let kqueue = Kqueue::new().context("kqueue")?;
        let changes = [
            Kevent::new(listener.as_raw_fd() as usize, EVFILT_READ, EV_ADD),
            Kevent::new(libc::SIGINT as usize, EVFILT_SIGNAL, EV_ADD),
            Kevent::new(libc::SIGTERM as usize, EVFILT_SIGNAL, EV_ADD),
            // For a signal that came before the two lines above: its handler wrote a byte to this socket.
            Kevent::new(shutdown.as_raw_fd() as usize, EVFILT_READ, EV_ADD),
        ];
        // No room for events, and no time to wait: if a change fails, the call itself fails.
        kqueue.kevent(&changes, &mut [], Some(Duration::ZERO)).context("register the listener and the signals")?;
        Ok(Self {
            kqueue,
            changes: Vec::new(),
            listener,
            shutdown,
            connections: Connections::default(),
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
                    // The listener stays readable. If its knote stayed enabled, every wait would return at once.
                    self.retry_accept.later();
                    self.changes.push(Kevent::new(self.listener.as_raw_fd() as usize, EVFILT_READ, EV_DISABLE));
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
        self.connections.insert(fd, Connection::new(stream));
        self.update_interest(fd)
    }

    /// Serves one connection after its event, and closes it when it is finished or has failed.
    fn serve(&mut self, fd: RawFd, readable: bool, writable: bool) {
        // READ and WRITE are two events. If the first event closes the connection, the second finds no connection. Or
        // it finds the descriptor's next owner, if `accept` ran in between. The next owner is then served early, and at
        // worst its read returns EAGAIN.
        let Some(connection) = self.connections.get_mut(fd) else { return };
        // EV_EOF needs no test: after the last byte a read returns 0 (FIN), and a write to a peer that has gone fails.
        let served = connection.write(writable).and_then(|()| connection.read(readable, &mut self.buffer));
        if served.is_err() || connection.is_finished() || self.update_interest(fd).is_err() {
            self.close(fd);
        }
    }

    fn update_interest(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
        let wanted = [(EVFILT_READ, connection.may_read()), (EVFILT_WRITE, !connection.pending.is_empty())];
        for (has, (filter, wanted)) in connection.interest.iter_mut().zip(wanted) {
            if wanted != *has {
                // No syscall: the next wait makes the change.
                let flags = if wanted { EV_ADD } else { EV_DELETE };
                self.changes.push(Kevent::new(fd as usize, filter, flags));
                *has = wanted;
            }
        }
        Ok(())
    }

    fn close(&mut self, fd: RawFd) {
        // The knotes end with the descriptor. A change that still waits would be made on the descriptor's next owner.
        self.changes.retain(|change| change.ident() != fd as usize);
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    pub fn run(mut self) -> Result<()> {
        let mut events = [Kevent::default(); EVENTS];
        loop {
            let timeout = u64::try_from(self.retry_accept.timeout_ms()).ok().map(Duration::from_millis);
            // The system call itself is in `sys/kqueue.rs`.
            let ready = self.kqueue.kevent(&self.changes, &mut events, timeout).context("kevent")?;
            // All changes were made, even if a signal ended the wait (kevent(2), EINTR).
            self.changes.clear();
            for event in ready {
                match event.ident() as RawFd {
                    _ if event.filter() == EVFILT_SIGNAL => return Ok(()),
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    // A change failed: without its knote, the connection would wait for an event that never comes.
                    fd if event.flags() & EV_ERROR != 0 => self.close(fd),
                    fd => self.serve(fd, event.filter() == EVFILT_READ, event.filter() == EVFILT_WRITE),
                }
            }
            if self.retry_accept.take_due() {
                self.changes.push(Kevent::new(self.listener.as_raw_fd() as usize, EVFILT_READ, EV_ENABLE));
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let pending = Pending::new();
        Self { stream, pending, peer_finished: false, interest: [false; 2] }
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
