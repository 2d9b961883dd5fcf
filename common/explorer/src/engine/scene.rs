//! The server and its clients at one moment, as a person reads them.
//!
//! Invariant: looking changes nothing, and no text has an address, a process id, a port or a remaining time in it.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use observe::TcpEnd;
use observe::decode::Decoder;
use observe::handle::{self, Label};
use observe::syscall::Call;
use socket2::Socket;

use super::client::Client;
use super::tracee::{Position, Tracee};
use super::world::World;
use crate::record::{ConnectionState, EpollState, RegistrationState, State, ThreadState};

#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub tracee: &'a Tracee<'a>,
    pub world: &'a World<'a>,
}

impl Scene<'_> {
    /// Reads the calls of a thread, with the names of the clients.
    pub fn decode<T>(&self, tid: i32, read: impl FnOnce(&Decoder<'_>) -> T) -> T {
        let process = **self.tracee.process_of(tid);
        let label = |fd: RawFd| self.name(self.tracee.label(process.pid, fd));
        read(&Decoder { process, label: &label })
    }

    /// `read(7 c0, 4096)`: the call and what it is about.
    pub fn text(&self, tid: i32, call: &Call) -> String {
        self.decode(tid, |decoder| decoder.call(call))
    }

    /// `c0`, `listener`, or empty.
    pub fn name(&self, label: Label) -> String {
        match label {
            Label::Listener => "listener".into(),
            Label::Peer(port) => self.world.client_at(port).map_or_else(String::new, |id| format!("c{id}")),
            Label::Epoll | Label::Other => String::new(),
        }
    }

    /// The client at the other end of a thread's file descriptor.
    pub fn client_of(&self, tid: i32, fd: RawFd) -> Option<usize> {
        self.client_at(self.tracee.thread(tid)?.process, fd)
    }

    /// The client at the other end of a process's file descriptor.
    pub fn client_at(&self, process: i32, fd: RawFd) -> Option<usize> {
        match self.tracee.label(process, fd) {
            Label::Peer(port) => self.world.client_at(port),
            _ => None,
        }
    }

    /// The client that a call is about.
    pub fn client_of_call(&self, tid: i32, call: &Call) -> Option<usize> {
        self.client_of(tid, call.fd()?)
    }

    /// The calls that threads sleep in.
    pub fn sleepers(&self) -> Vec<String> {
        self.threads().into_iter().filter(|thread| thread.sleeps).map(|thread| thread.at).collect()
    }

    fn threads(&self) -> Vec<ThreadState> {
        let mut states = Vec::new();
        for thread in self.tracee.threads() {
            let (at, sleeps) = match thread.position {
                Position::BetweenCalls => ("its own code".to_owned(), false),
                Position::AtEntry(call) => (self.text(thread.tid, &call), self.tracee.would_block(thread.tid, &call)),
                Position::InCall(call) => (self.text(thread.tid, &call), true),
            };
            let (at, located) = match self.tracee.kqueues.inside(thread.tid) {
                Some(kevent) => (self.kevent_text(thread.process, kevent), Rc::clone(&kevent.located)),
                None => (at, self.tracee.located(thread.tid)),
            };
            let (frames, meaning) = (located.frames.clone(), located.meaning);
            states.push(ThreadState { thread: thread.index, at, sleeps, frames, meaning });
        }
        states
    }

    /// What the kernel shows.
    pub fn snapshot(&self) -> State {
        self.let_arrive();
        let connections = self.world.present().map(|(id, client)| self.connection(id, client)).collect();
        if self.tracee.end().is_some() {
            return State { connections, ..State::default() };
        }
        let (kqueues, parts) = self.kqueues();
        State {
            accept_queue: self.accept_queue(),
            connections,
            epolls: self.epolls(&parts),
            kqueues,
            rings: self.rings(),
            threads: self.threads(),
        }
    }

    fn connection(&self, id: usize, client: &Client) -> ConnectionState {
        let fd = self.fd_of(client);
        let server = self.server_end(client, fd.as_ref()).unwrap_or_default();
        let there = client.end();
        // A client that reads later bytes shows that earlier ones are gone, whichever way they went.
        let unseen = client.gap().saturating_sub(self.world.ledger.dropped(id));
        let rooms = fd.as_ref().map(|(_, socket)| self.rooms(id, socket));
        ConnectionState {
            client: id,
            fd: fd.as_ref().map(|(fd, _)| *fd),
            asked: client.asked,
            sent: client.sent,
            client_not_sent: there.not_sent,
            unread: server.unread,
            fin_arrived: server.fin_arrived,
            held: self.world.ledger.held(id) - unseen as i64 - self.taken_of_a_send(id, there, server) as i64,
            not_sent: server.not_sent,
            client_unread: there.unread,
            came_back: client.read(),
            eof: client.eof,
            left: client.gone,
            level: fd.as_ref().map_or_else(String::new, |(_, socket)| level(socket)),
            receive_room: rooms.map(|(receive, _)| receive),
            send_room: rooms.map(|(_, send)| send),
            client_receive_room: client.receive_room,
        }
    }

    fn fd_of(&self, client: &Client) -> Option<(RawFd, Socket)> {
        if self.tracee.end().is_none() { self.tracee.end_of(client.port) } else { None }
    }

    /// The server's end of a connection, also where the server has no file descriptor of it.
    fn server_end(&self, client: &Client, fd: Option<&(RawFd, Socket)>) -> Option<TcpEnd> {
        if let Some((_, socket)) = fd {
            return TcpEnd::of_socket(socket);
        }
        if self.tracee.end().is_some() {
            return None;
        }
        TcpEnd::at(self.world.listener?.addr, client.address()?)
    }

    /// The sizes of the server's buffers when they were seen first.
    fn rooms(&self, id: usize, socket: &Socket) -> (u64, u64) {
        let cell = &self.world.rooms[id];
        let size = |size: std::io::Result<usize>| size.map_or(0, |size| size as u64);
        let seen = cell.get().unwrap_or_else(|| (size(socket.recv_buffer_size()), size(socket.send_buffer_size())));
        cell.set(Some(seen));
        seen
    }

    /// Waits for what is between the two ends of a connection. Loopback delivers at once, unless the machine is so busy that
    /// the kernel's own threads do it.
    pub fn let_arrive(&self) {
        const LONGEST: Duration = Duration::from_secs(1);
        const PAUSE: Duration = Duration::from_micros(50);
        let started = Instant::now();
        let under_way =
            || self.world.present().any(|(id, client)| !client.gone && self.is_under_way(id, client) == Some(true));
        while !self.world.stopped_waiting.get() && under_way() {
            // What was dropped on its way comes with the next try, and perhaps only when there is room.
            self.world.stopped_waiting.set(started.elapsed() > LONGEST);
            std::thread::sleep(PAUSE);
        }
    }

    fn is_under_way(&self, id: usize, client: &Client) -> Option<bool> {
        let (server, there) = (self.server_end(client, self.fd_of(client).as_ref())?, client.end());
        let to_server = client.sent.saturating_sub(there.not_sent) > server.arrived;
        let to_client = self.world.ledger.given(id).saturating_sub(server.not_sent) > there.arrived;
        Some(to_server || to_client)
    }

    fn accept_queue(&self) -> u32 {
        let listener = self.world.listener.and_then(|it| self.tracee.process(it.process)?.borrow(it.fd));
        // Of a listener, the kernel reports the length of its accept queue here.
        listener.and_then(|fd| handle::tcp_info(&fd)).map_or(0, |info| info.tcpi_unacked)
    }

    /// Those that are not `parts` of a kqueue.
    fn epolls(&self, parts: &[(i32, RawFd)]) -> Vec<EpollState> {
        let own = self.tracee.epolls().into_iter().filter(|at| !parts.contains(at));
        own.filter_map(|(process, fd)| self.epoll(process, fd)).collect()
    }

    fn epoll(&self, process: i32, fd: RawFd) -> Option<EpollState> {
        let of = self.tracee.process(process)?;
        let ready = !self.tracee.hides_epolls() && of.borrow(fd).is_some_and(|fd| handle::is_ready(&fd, libc::POLLIN));
        let interest = |registration: observe::view::Registration| RegistrationState {
            fd: registration.fd,
            label: self.name(self.tracee.label(process, registration.fd)),
            mask: registration.mask.asked_for().to_string(),
        };
        Some(EpollState { fd, ready, interests: of.registrations(fd).into_iter().map(interest).collect() })
    }
}

fn level(socket: &Socket) -> String {
    let level = handle::level(socket);
    if level.0 == 0 { String::new() } else { level.to_string() }
}
