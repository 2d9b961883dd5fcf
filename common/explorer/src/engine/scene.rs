//! The server and its clients at one moment, as a person reads them.
//!
//! Invariant: looking changes nothing, and no text has an address, a process id, a port or a remaining time in it.

use std::os::fd::RawFd;

use observe::decode::Decoder;
use observe::handle::{self, Label};
use observe::syscall::Call;

use super::client::Client;
use super::tracee::{Position, Tracee};
use super::world::World;
use crate::run::{ConnectionState, EpollState, RegistrationState, Snapshot, ThreadState};

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

    /// The client that a call is about.
    pub fn client_of_call(&self, tid: i32, call: &Call) -> Option<usize> {
        match self.tracee.label_of_call(tid, call)? {
            Label::Peer(port) => self.world.client_at(port),
            _ => None,
        }
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
            states.push(ThreadState { thread: thread.index, at, sleeps });
        }
        states
    }

    /// What the kernel shows.
    pub fn snapshot(&self) -> Snapshot {
        let connections = self.world.present().map(|(id, client)| self.connection(id, client)).collect();
        if self.tracee.end().is_some() {
            return Snapshot { connections, ..Snapshot::default() };
        }
        Snapshot { accept_queue: self.accept_queue(), connections, epolls: self.epolls(), threads: self.threads() }
    }

    fn connection(&self, id: usize, client: &Client) -> ConnectionState {
        let end = if self.tracee.end().is_none() { self.tracee.end_of(client.port) } else { None };
        let info = end.as_ref().and_then(|(_, socket)| handle::tcp_info(socket));
        ConnectionState {
            client: id,
            fd: end.as_ref().map(|(fd, _)| *fd),
            unread: end.as_ref().map_or(0, |(_, socket)| handle::in_queue(socket)),
            fin_arrived: info.as_ref().is_some_and(handle::fin_arrived),
            unsent: end.as_ref().map_or(0, |(_, socket)| handle::out_queue(socket)),
            asked: client.asked,
            sent: client.sent,
            came_back: client.came_back,
            eof: client.eof,
        }
    }

    fn accept_queue(&self) -> u32 {
        let listener = self.world.listener.and_then(|it| self.tracee.process(it.process)?.borrow(it.fd));
        // Of a listener, the kernel reports the length of its accept queue here.
        listener.and_then(|fd| handle::tcp_info(&fd)).map_or(0, |info| info.tcpi_unacked)
    }

    fn epolls(&self) -> Vec<EpollState> {
        self.tracee.epolls().into_iter().filter_map(|(process, fd)| self.epoll(process, fd)).collect()
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
