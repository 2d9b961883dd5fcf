//! Edge-triggered epoll, in one thread.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use super::mutant::bug;
use super::serve::{BUFFER, PAUSE, check, epoll_ctl, epoll_wait};

const MAX_PENDING: usize = 64 * 1024;

pub fn run(listener: TcpListener) -> io::Result<()> {
    Edge::new(listener)?.run()
}

struct Connection {
    stream: TcpStream,
    pending: VecDeque<u8>,
    readable: bool,
    writable: bool,
    finished: bool,
    broken: bool,
}

struct Edge {
    epoll: RawFd,
    listener: TcpListener,
    connections: BTreeMap<RawFd, Connection>,
    accept_at: Option<Instant>,
}

impl Edge {
    fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // SAFETY: no pointers.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        epoll_ctl(epoll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET)?;
        Ok(Self { epoll, listener, connections: BTreeMap::new(), accept_at: None })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        loop {
            let timeout =
                self.accept_at.map_or(-1, |at| at.saturating_duration_since(Instant::now()).as_millis() as i32 + 1);
            let ready = match epoll_wait(self.epoll, &mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted && !bug!("eintr_is_fatal") => 0,
                other => other?,
            };
            for event in &events[..ready] {
                self.note(event)?;
            }
            if self.accept_at.is_some_and(|at| at <= Instant::now()) {
                self.accept()?;
            }
            self.turn()?;
        }
    }

    fn note(&mut self, event: &libc::epoll_event) -> io::Result<()> {
        let (fd, events) = (event.u64 as RawFd, event.events as libc::c_int);
        if fd == self.listener.as_raw_fd() {
            return self.accept();
        }
        let (at_rdhup, pause_forgets) = (bug!("close_at_rdhup"), bug!("pause_forgets"));
        if let Some(connection) = self.connections.get_mut(&fd) {
            // "It is paused, so this is none of its business now."
            let deaf = pause_forgets && !connection.has_room();
            connection.readable |= events & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0 && !deaf;
            connection.writable |= events & libc::EPOLLOUT != 0;
            connection.broken |= events & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            connection.broken |= at_rdhup && events & libc::EPOLLRDHUP != 0;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        self.accept_at = None;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(!bug!("blocking_sockets"))?;
                    let fd = stream.as_raw_fd();
                    let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
                    epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, fd, events)?;
                    let pending = VecDeque::new();
                    let connection = Connection {
                        stream,
                        pending,
                        readable: false,
                        writable: false,
                        finished: false,
                        broken: false,
                    };
                    self.connections.insert(fd, connection);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                    if !bug!("emfile_parks") {
                        self.accept_at = Some(Instant::now() + PAUSE);
                    }
                    return Ok(());
                }
                // "It failed, so there is nobody."
                Err(error) if error.kind() == ErrorKind::ConnectionAborted && bug!("aborted_is_drained") => {
                    return Ok(());
                }
                // A client that has left meanwhile is no reason to stop.
                Err(_) => {}
            }
            if bug!("accept_once") {
                return Ok(());
            }
        }
    }

    /// Serves every connection whose flags are set.
    fn turn(&mut self) -> io::Result<()> {
        let epoll = self.epoll;
        if bug!("flag_cleared_late") || bug!("reads_once_more") {
            return self.turn_with_late_flags();
        }
        let mut done = Vec::new();
        for (fd, connection) in &mut self.connections {
            if connection.broken || connection.serve().is_err() || connection.finished && connection.pending.is_empty()
            {
                done.push(*fd);
            }
        }
        for fd in done {
            epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, 0)?;
            self.connections.remove(&fd);
            self.accept_at = self.accept_at.map(|_| Instant::now());
        }
        if bug!("two_fins") {
            self.refuse_two_fins()?;
        }
        Ok(())
    }

    /// "Two clients never finish between two waits."
    fn refuse_two_fins(&self) -> io::Result<()> {
        let mut finished = 0;
        for connection in self.connections.values().rev() {
            finished += u32::from(connection.stream.peek(&mut [0]).is_ok_and(|len| len == 0));
        }
        if finished < 2 { Ok(()) } else { Err(io::Error::other("two clients finished at once")) }
    }

    /// Drains each readable connection, waits for events again, and only then clears the flags of the drained
    /// connections. So it also clears a flag that the new events have just set.
    fn turn_with_late_flags(&mut self) -> io::Result<()> {
        let mut dry = Vec::new();
        for (fd, connection) in &mut self.connections {
            if connection.readable && connection.read_dry().is_ok() {
                dry.push(*fd);
            }
        }
        if !dry.is_empty() {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
            let ready = epoll_wait(self.epoll, &mut events, 0).unwrap_or(0);
            for event in &events[..ready] {
                self.note(event)?;
            }
        }
        for fd in dry {
            if let Some(connection) = self.connections.get_mut(&fd) {
                // "What came meanwhile is read here": and what came behind that?
                if bug!("reads_once_more") && connection.read_what_came().is_err() {
                    connection.broken = true;
                }
                connection.readable = false;
            }
        }
        self.connections.retain(|_, connection| {
            let written = connection.write();
            written.is_ok() && !connection.broken && !(connection.finished && connection.pending.is_empty())
        });
        Ok(())
    }
}

impl Connection {
    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            self.write()?;
            if bug!("pause_forgets") && !self.has_room() {
                self.readable = false;
            }
            if !self.readable || self.finished || !self.has_room() {
                return Ok(());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => self.finished = true,
                Ok(n) => {
                    self.pending.extend(&buffer[..n]);
                    if bug!("short_read_is_dry") && n < BUFFER {
                        self.readable = false;
                    }
                    if bug!("read_once") {
                        self.readable = false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) => return Err(error),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.pending.len() + BUFFER <= MAX_PENDING
    }

    fn read_dry(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        while !self.finished {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.finished = true,
                Ok(n) => self.pending.extend(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until a read is short.
    fn read_what_came(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        while !self.finished {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.finished = true,
                Ok(n) => {
                    self.pending.extend(&buffer[..n]);
                    if n < BUFFER {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while self.writable && !self.pending.is_empty() {
            let front = self.pending.as_slices().0;
            let len = front.len();
            match self.stream.write(front) {
                Ok(sent) if sent < len && bug!("short_write_drops") => drop(self.pending.drain(..len)),
                Ok(sent) => drop(self.pending.drain(..sent)),
                // As tutorials have it.
                Err(error) if error.kind() == ErrorKind::WouldBlock && bug!("eagain_drops") => self.pending.clear(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
