//! The echo server of this chapter with EV_CLEAR: each knote reports what is new, once. Beside `src/server.rs` it is what
//! 04-epoll-et is beside 03-epoll-lt.
//!
//! Invariant: a connection has one READ and one WRITE knote from its accept to its close. `readable` and `writable` say
//! what was reported and no EAGAIN has taken back. A connection that could go on when its turn ends stands in
//! `unfinished`, because no event will come for it.

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
use kqueue::sys::{EV_ADD, EV_CLEAR, EV_EOF, EV_ERROR, EVFILT_READ, EVFILT_SIGNAL, EVFILT_WRITE, Kevent, Kqueue};

const EVENTS: usize = 256;
/// Reads of one connection in one turn, so that a client that floods cannot keep the others waiting.
const READS_PER_TURN: usize = 4;

fn main() -> ExitCode {
    common_server::main("ev_clear", Server::new, Server::run)
}

struct Connection {
    stream: TcpStream,
    pending: Pending,
    /// The peer sent FIN: it reads on, but nothing more will come from it.
    peer_finished: bool,
    /// Given out once in the life of the server, where descriptors are given out again and again.
    number: usize,
    readable: bool,
    writable: bool,
    /// Stands in `Server::unfinished`.
    unfinished: bool,
}

struct Server {
    kqueue: Kqueue,
    changes: Vec<Kevent>,
    listener: TcpListener,
    shutdown: Shutdown,
    connections: Connections<Connection>,
    accepted: usize,
    unfinished: Vec<RawFd>,
    buffer: Box<[u8]>,
    retry_accept: Retry,
    out_of_fds: Notice,
}

impl Server {
    fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
        let kqueue = Kqueue::new().context("kqueue")?;
        let changes = [
            Kevent::new(listener.as_raw_fd() as usize, EVFILT_READ, EV_ADD | EV_CLEAR),
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
            unfinished: Vec::new(),
            buffer: vec![0; READ_BUFFER].into(),
            retry_accept: Retry::default(),
            out_of_fds: Notice::default(),
        })
    }

    fn accept(&mut self) -> Result<()> {
        // To the end of the queue: the connections that came with this event get no other one.
        for _ in 0..ACCEPT_BATCH {
            match self.listener.accept() {
                Ok((stream, _)) => self.register(stream),
                Err(error) => match AcceptError::from(error) {
                    AcceptError::Drained => return Ok(()),
                    AcceptError::Aborted => continue,
                    AcceptError::OutOfFds(error) => {
                        self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                        // No event will come for those who wait already, so the server has to come back by itself.
                        self.retry_accept.later();
                        return Ok(());
                    }
                    AcceptError::Broken(error) => return Err(error).context("accept"),
                },
            }
        }
        // Enough for one turn; there may be more, and this event is used up.
        self.retry_accept.at_once();
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
                    readable: false,
                    writable: false,
                    unfinished: false,
                };
                self.connections.insert(fd, connection);
                for filter in [EVFILT_READ, EVFILT_WRITE] {
                    let change = Kevent::new(fd as usize, filter, EV_ADD | EV_CLEAR);
                    self.changes.push(change.with_udata(self.accepted));
                }
            }
            Err(error) => self.out_of_fds.say(format_args!("register fd {fd}: {error}; connection closed")),
        }
    }

    /// Handles one event of one connection, and closes it when it is done or broken.
    fn serve(&mut self, event: &Kevent) {
        let fd = event.ident() as RawFd;
        let Some(connection) = self.connections.get_mut(fd).filter(|it| it.number == event.udata()) else { return };
        match event.filter() {
            _ if event.flags() & EV_ERROR != 0 => return self.close(fd),
            // The peer takes nothing any more. (Of READ, EV_EOF is its FIN, and bytes may still wait before it.)
            EVFILT_WRITE if event.flags() & EV_EOF != 0 => return self.close(fd),
            EVFILT_WRITE => connection.writable = true,
            _ => connection.readable = true,
        }
        self.go_on(fd);
    }

    /// One turn of a connection, with what was reported so far.
    fn go_on(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let served = connection.write().and_then(|()| connection.read(&mut self.buffer));
        match served {
            Ok(()) if !connection.is_finished() => self.update_interest(fd),
            _ => self.close(fd),
        }
    }

    /// The knotes never change. What changes is who is owed another turn without an event.
    fn update_interest(&mut self, fd: RawFd) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let may_go_on =
            connection.readable && connection.may_read() || connection.writable && !connection.pending.is_empty();
        if may_go_on && !connection.unfinished {
            connection.unfinished = true;
            self.unfinished.push(fd);
        }
    }

    fn close(&mut self, fd: RawFd) {
        // Closing a descriptor ends its knotes. Changes that still wait would be made to its next owner.
        self.changes.retain(|change| change.ident() != fd as usize);
        self.connections.remove(fd);
        self.retry_accept.now();
    }

    fn run(mut self) -> Result<()> {
        let mut events = [Kevent::default(); EVENTS];
        loop {
            let timeout_ms = if self.unfinished.is_empty() { self.retry_accept.timeout_ms() } else { 0 };
            let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
            let ready = self.kqueue.kevent(&self.changes, &mut events, timeout).context("kevent")?;
            // All of them are made, also when a signal ended the wait (kevent(2), EINTR).
            self.changes.clear();
            let unfinished = std::mem::take(&mut self.unfinished);
            for event in ready {
                match event.ident() as RawFd {
                    _ if event.filter() == EVFILT_SIGNAL => return Ok(()),
                    fd if fd == self.shutdown.as_raw_fd() => return Ok(()),
                    fd if fd == self.listener.as_raw_fd() => self.accept()?,
                    _ => self.serve(event),
                }
            }
            for fd in unfinished {
                // If the number has a new owner by now, that one gets a turn with nothing to do.
                if let Some(connection) = self.connections.get_mut(fd) {
                    connection.unfinished = false;
                    self.go_on(fd);
                }
            }
            if self.retry_accept.take_due() {
                self.accept()?;
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

    /// Until EAGAIN, or the end of the turn, or until no more may be owed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..READS_PER_TURN {
            if !self.readable || !self.may_read() {
                break;
            }
            match receive(&self.stream, buffer)? {
                Received::Finished => self.peer_finished = true,
                Received::Bytes(n) => {
                    // Mostly nothing is owed and the socket takes it all: no copy, no allocation, no second wait.
                    let sent = if self.pending.is_empty() { send(&self.stream, &buffer[..n])?.bytes() } else { 0 };
                    self.pending.push(&buffer[sent..n]);
                    self.write()?;
                }
                Received::WouldBlock => self.readable = false,
            }
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
