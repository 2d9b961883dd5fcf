//! A server on poll that takes only so many clients at once, by its own choice, and has a pipe for each.
//!
//! Invariant (without a bug): the listener is in the wait as long as there is room, and only then. A connection has three
//! descriptors; its pipe comes from a pool that never shrinks, and grows no further than there are clients at once.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::mutant::bug;

/// Clients at once.
const LIMIT: usize = 32;
/// Bytes owed to one client at most.
const OWED: usize = 256 * 1024;
/// Until the next attempt, after a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

type Pipe = (PipeReader, PipeWriter);

struct Connection {
    stream: TcpStream,
    pipe: Pipe,
    owed: Vec<u8>,
    finished: bool,
}

/// How a turn of a connection ended.
#[derive(PartialEq, Eq)]
enum Turn {
    Open,
    Finished,
    Broken,
}

pub struct Server {
    listener: TcpListener,
    wake: UnixStream,
    connections: Vec<Connection>,
    pool: Vec<Pipe>,
    /// Clients that count; those inside, unless somebody was not counted out.
    count: usize,
    ended: usize,
    was_full: bool,
    /// No descriptor was free: the listener rests until then.
    pause: Option<Instant>,
}

impl Server {
    pub fn new(listener: TcpListener, wake: UnixStream) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (connections, pool) = (Vec::new(), Vec::new());
        Ok(Self { listener, wake, connections, pool, count: 0, ended: 0, was_full: false, pause: None })
    }

    pub fn run(mut self, ready: impl FnOnce()) -> io::Result<()> {
        ready();
        loop {
            self.pause = self.pause.filter(|until| Instant::now() < *until);
            let mut fds =
                vec![ask(self.wake.as_raw_fd(), libc::POLLIN), ask(self.listener.as_raw_fd(), self.accepts())];
            fds.extend(self.connections.iter().map(Connection::asks));
            let timeout = if self.pause.is_some() { PAUSE.as_millis() as i32 } else { -1 };
            // SAFETY: `fds` is an array of as many pollfd as it says.
            let count = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
            if count < 0 && io::Error::last_os_error().kind() != ErrorKind::Interrupted {
                return Err(io::Error::last_os_error());
            }
            if fds[0].revents != 0 {
                return Ok(());
            }
            if count > 0 {
                self.serve(&fds[2..]);
                if fds[1].revents != 0 {
                    self.accept();
                }
            }
        }
    }

    /// What is asked for on the listener: nothing while it is full.
    fn accepts(&mut self) -> i16 {
        self.was_full |= self.count >= LIMIT;
        let for_ever = bug!("limit_not_lifted") && self.was_full;
        if self.count >= LIMIT || for_ever || self.pause.is_some() { 0 } else { libc::POLLIN }
    }

    fn accept(&mut self) {
        while self.count < LIMIT {
            match self.listener.accept().and_then(|(stream, _)| self.enter(stream)) {
                Ok(()) => self.count += 1,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    self.pause = Some(Instant::now() + PAUSE);
                    return;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    fn enter(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let pipe = match self.pool.pop() {
            Some(pipe) => pipe,
            None => io::pipe()?,
        };
        self.connections.push(Connection { stream, pipe, owed: Vec::new(), finished: false });
        Ok(())
    }

    fn serve(&mut self, fds: &[libc::pollfd]) {
        let turns: Vec<Turn> = self.connections.iter_mut().zip(fds).map(|(it, fd)| it.turn(fd.revents)).collect();
        for (at, turn) in turns.iter().enumerate().rev().filter(|(_, turn)| **turn != Turn::Open) {
            let connection = self.connections.swap_remove(at);
            self.leave(connection, turn == &Turn::Broken);
        }
    }

    fn leave(&mut self, connection: Connection, broken: bool) {
        self.pause = None;
        self.ended += 1;
        if !(broken && bug!("reset_keeps_its_place")) {
            self.count -= 1;
        }
        let Connection { stream, pipe, .. } = connection;
        if bug!("pipe_never_closed") {
            // A pipe for each, and nobody's to close.
            std::mem::forget(pipe);
        } else {
            self.pool.push(pipe);
        }
        if bug!("every_second_stays_open") && self.ended.is_multiple_of(2) {
            // The client gets its FIN, and the descriptor is forgotten.
            let _ = stream.shutdown(std::net::Shutdown::Both);
            std::mem::forget(stream);
        }
    }
}

impl Connection {
    fn asks(&self) -> libc::pollfd {
        let read = if self.finished || self.owed.len() >= OWED { 0 } else { libc::POLLIN };
        let write = if self.owed.is_empty() { 0 } else { libc::POLLOUT };
        ask(self.stream.as_raw_fd(), read | write)
    }

    fn turn(&mut self, ready: i16) -> Turn {
        if ready == 0 {
            return Turn::Open;
        }
        let mut buffer = [0; 16 * 1024];
        if ready & !libc::POLLOUT != 0 && !self.finished && self.owed.len() < OWED {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.finished = true,
                Ok(n) => self.owed.extend(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Turn::Broken,
            }
        }
        if !self.owed.is_empty() {
            match self.stream.write(&self.owed) {
                Ok(n) => drop(self.owed.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Turn::Broken,
            }
        }
        if self.owed.is_empty() {
            self.owed = Vec::new();
        }
        if self.finished && self.owed.is_empty() { Turn::Finished } else { Turn::Open }
    }
}

fn ask(fd: RawFd, events: i16) -> libc::pollfd {
    // poll reports an error and a hang-up unasked; a negative number is passed over.
    libc::pollfd { fd: if events == 0 { !fd } else { fd }, events, revents: 0 }
}
