//! kqueue: the kernel keeps the registrations, each of them a filter of its own, and a wait takes the changes along.
//!
//! Invariant: a connection has a READ knote exactly while it may be read (the peer has not finished, and a whole read
//! fits into what we may owe), and a WRITE knote exactly while bytes are owed. Changes are collected in `changes` and made
//! by the next wait, in order and before it waits; none is left in there for a descriptor that was closed. READ and WRITE
//! of one connection are two events of one batch, so an event is believed only if its `udata` is the number of the
//! connection that has the descriptor now.
//!
//! Level-triggered, which is kqueue's default: what one call leaves unread, the next wait reports again.
//! `examples/ev_clear.rs` is the edge-triggered one.

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
    EV_ADD, EV_DELETE, EV_DISABLE, EV_ENABLE, EV_EOF, EV_ERROR, EVFILT_READ, EVFILT_SIGNAL, EVFILT_WRITE, Kevent,
    Kqueue,
};

const EVENTS: usize = 256;

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it reads on, but nothing more will come from it.
    peer_finished: bool,
    /// Given out once in the life of the server, where descriptors are given out again and again.
    number: usize,
    /// Whether it has a READ and a WRITE knote, once the changes are made.
    interest: [bool; 2],
}

pub struct Server {
    kqueue: Kqueue,
    changes: Vec<Kevent>,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    accepted: usize,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

impl Server {
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let kqueue = Kqueue::new().context("kqueue")?;
        let changes = [
            Kevent::new(listener.as_raw_fd() as usize, EVFILT_READ, EV_ADD),
            Kevent::new(libc::SIGINT as usize, EVFILT_SIGNAL, EV_ADD),
            Kevent::new(libc::SIGTERM as usize, EVFILT_SIGNAL, EV_ADD),
            // For a signal that came before the two lines above: its handler left a byte here.
            Kevent::new(shutdown.as_raw_fd() as usize, EVFILT_READ, EV_ADD),
        ];
        // No room for answers and no time to wait: a change that fails is the call's own error.
        kqueue.kevent(&changes, &mut [], Some(Duration::ZERO)).context("register the listener and the signals")?;
        Ok(Self {
            kqueue,
            changes: Vec::new(),
            listener,
            shutdown,
            connections: Connections::default(),
            accepted: 0,
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
                        // The listener stays readable: left enabled, it would end every wait at once.
                        self.retry_accept.later();
                        self.change_listener(EV_DISABLE);
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
                self.accepted += 1;
                let connection = Connection {
                    stream,
                    pending: Pending::new(),
                    peer_finished: false,
                    number: self.accepted,
                    interest: [false; 2],
                };
                self.connections.insert(fd, connection);
                self.update_interest(fd);
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    /// Handles one event of one connection, and closes it when it is done or broken.
    fn serve(&mut self, event: &Kevent) {
        let fd = event.ident() as RawFd;
        let Some(connection) = self.connections.get_mut(fd).filter(|it| it.number == event.udata()) else { return };
        let served = match event.filter() {
            // A change that failed. To delete what is not there is no harm; to be without what was to be added is.
            _ if event.flags() & EV_ERROR != 0 => match event.error() {
                Some(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
                _ => Ok(()),
            },
            // The peer takes nothing any more. (Of READ, EV_EOF is its FIN, and bytes may still wait before it.)
            EVFILT_WRITE if event.flags() & EV_EOF != 0 => Err(io::ErrorKind::ConnectionReset.into()),
            EVFILT_WRITE => connection.write(),
            _ => connection.read(&mut self.buffer),
        };
        match served {
            Ok(()) if !connection.is_finished() => self.update_interest(fd),
            _ => self.close(fd),
        }
    }

    fn update_interest(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let wanted = [(EVFILT_READ, connection.may_read()), (EVFILT_WRITE, !connection.pending.is_empty())];
        for (has, (filter, wanted)) in connection.interest.iter_mut().zip(wanted) {
            if *has != wanted {
                *has = wanted;
                // No syscall: the next wait takes the change along.
                let flags = if wanted { EV_ADD } else { EV_DELETE };
                self.changes.push(Kevent::new(fd as usize, filter, flags).with_udata(connection.number));
            }
        }
    }

    fn change_listener(&mut self, flags: u32) {
        self.changes.push(Kevent::new(self.listener.as_raw_fd() as usize, EVFILT_READ, flags));
    }

    fn close(&mut self, fd: RawFd) {
        // Closing a descriptor ends its knotes. Changes that still wait would be made to its next owner.
        self.changes.retain(|change| change.ident() != fd as usize);
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    pub fn run(mut self) -> Result<()> {
        let mut events = [Kevent::default(); EVENTS];
        loop {
            let timeout = u64::try_from(self.retry_accept.timeout_ms()).ok().map(Duration::from_millis);
            let ready = self.kqueue.kevent(&self.changes, &mut events, timeout).context("kevent")?;
            // All of them are made, also when a signal ended the wait (kevent(2), EINTR).
            self.changes.clear();
            for event in ready {
                match event.ident() as RawFd {
                    _ if event.filter() == EVFILT_SIGNAL => return Ok(()),
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    _ => self.serve(event),
                }
            }
            if self.retry_accept.take_due() {
                self.change_listener(EV_ENABLE);
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
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if !self.may_read() {
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
