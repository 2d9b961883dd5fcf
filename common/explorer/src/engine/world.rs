//! What is around the server: where it listens, its clients, and how far their script has come.
//!
//! Invariant: a client exists from its connect on, at its own index, and keeps what it was told to send.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use observe::handle;
use socket2::{SockAddr, SockRef};

use super::client::{Client, SMALL};
use super::ledger::Ledger;
use super::tracee::Tracee;
use crate::run::Error;
use crate::script::{MAX_CLIENTS, Script, Step};

/// Where the server listens.
#[derive(Debug, Clone, Copy)]
pub struct Listener {
    pub process: i32,
    pub fd: RawFd,
    pub addr: SocketAddr,
}

/// Which of the server's listening sockets is meant.
#[derive(Debug, Clone, Copy)]
pub struct WhichListener {
    /// The one at this port, if the server was given a port.
    pub port: Option<u16>,
    /// Otherwise the one behind so many others.
    pub passed_over: usize,
}

pub struct World<'a> {
    pub script: &'a Script,
    /// Steps that are done.
    done: usize,
    pub listener: Option<Listener>,
    /// It listens on another port than it was told.
    pub elsewhere: Option<SocketAddr>,
    which: WhichListener,
    /// The server has said that it listens for clients on another socket.
    pub listens_elsewhere: bool,
    /// The server has waited for clients.
    pub has_started: bool,
    pub clients: [Option<Client>; MAX_CLIENTS],
    /// For which clients the server was seen to have a file descriptor.
    pub served: [bool; MAX_CLIENTS],
    /// The script leaves the server no file descriptor.
    pub fds_limited: bool,
    /// A client that comes when no file descriptor is free has to wait.
    own: bool,
    /// What the program took and gave, if events are kept.
    pub ledger: Ledger,
    /// The sizes of the server's buffers (receive, send) for each client, when they were seen first. The kernel may enlarge
    /// them, at a time that is not the same in each run.
    pub rooms: [Cell<Option<(u64, u64)>>; MAX_CLIENTS],
    /// Bytes were under way for so long that nobody waits for such bytes any more.
    pub stopped_waiting: Cell<bool>,
}

impl<'a> World<'a> {
    pub fn new(script: &'a Script, own: bool, which: WhichListener) -> Self {
        Self {
            script,
            own,
            elsewhere: None,
            done: 0,
            listener: None,
            which,
            listens_elsewhere: false,
            has_started: false,
            clients: Default::default(),
            served: [false; MAX_CLIENTS],
            fds_limited: false,
            ledger: Ledger::default(),
            rooms: Default::default(),
            stopped_waiting: Cell::new(false),
        }
    }

    /// The steps that are still to come.
    pub fn to_come(&self) -> &'a [Step] {
        &self.script.steps[self.done..]
    }

    /// Takes the next step of the script.
    pub fn take_step(&mut self) -> Option<Step> {
        let step = self.to_come().first().copied();
        self.done += usize::from(step.is_some());
        step
    }

    /// The place in the script of the step that was taken last.
    pub fn last_taken(&self) -> Option<usize> {
        self.done.checked_sub(1)
    }

    /// Of the steps to come, the last that comes together with this one.
    pub fn end_of_moment(&self, at: usize) -> usize {
        self.script.end_of_moment(self.done + at) - self.done
    }

    /// How many moments the next steps are.
    pub fn moments(&self, steps: usize) -> usize {
        self.script.moments(self.done..self.done + steps)
    }

    /// The client whose port this is.
    pub fn client_at(&self, port: u16) -> Option<usize> {
        self.clients.iter().position(|client| client.as_ref().is_some_and(|client| client.port == port))
    }

    /// The clients that are there, with their numbers.
    pub fn present(&self) -> impl Iterator<Item = (usize, &Client)> {
        self.clients.iter().enumerate().filter_map(|(id, client)| Some((id, client.as_ref()?)))
    }

    pub fn connect(&mut self, id: usize) -> Result<(), Error> {
        let Some(listener) = self.listener else { return Err(Error::Broken("the server does not listen".into())) };
        let mut client = Client::connect(id, listener.addr, self.script.small_buffers)
            .map_err(|error| Error::Broken(format!("c{id} cannot connect to {}: {error}", listener.addr)))?;
        client.came_without_fds = self.fds_limited;
        self.clients[id] = Some(client);
        Ok(())
    }

    /// Whether a foreign server has turned this client away for lack of a file descriptor: it closed the connection at
    /// once, without a byte, instead of letting it wait. (Who has kept one in reserve can accept and close.)
    pub fn was_turned_away(&self, client: &Client) -> bool {
        !self.own && client.came_without_fds && client.came_back == 0 && client.has_only_ended()
    }

    /// Who has had nothing from the server may be turned away, although it was accepted.
    pub fn lacked_a_descriptor(&mut self) {
        for client in self.clients.iter_mut().flatten().filter(|client| client.came_back == 0) {
            client.came_without_fds = true;
        }
    }

    /// The server has said where it listens: is that the listener that was found?
    pub fn compare_listener(&mut self, said: Option<SocketAddr>) {
        if let (Some(listener), Some(said), None) = (self.listener, said, self.which.port) {
            self.listens_elsewhere |= listener.addr.port() != said.port();
        }
    }

    /// The server listens on this file descriptor: where is that? Accepted sockets inherit what is set here.
    pub fn found_listener(&mut self, tracee: &Tracee<'_>, process: i32, fd: RawFd) -> Result<(), Error> {
        let Some(borrowed) = tracee.process(process).and_then(|process| process.borrow(fd)) else { return Ok(()) };
        let socket = SockRef::from(&borrowed);
        let Some(addr) = socket.local_addr().ok().as_ref().and_then(SockAddr::as_socket) else { return Ok(()) };
        if self.which.port.is_some_and(|port| port != addr.port()) {
            self.elsewhere = Some(addr);
            return Ok(());
        }
        if self.which.port.is_none() && self.which.passed_over > 0 {
            self.which.passed_over -= 1;
            return Ok(());
        }
        socket.set_tcp_nodelay(true)?;
        handle::unpace(&borrowed);
        if self.script.small_buffers {
            socket.set_send_buffer_size(SMALL)?;
            // Not small, but set: a size that the kernel tunes as it goes is not the same in each run.
            socket.set_recv_buffer_size(4 * SMALL)?;
        }
        let addr = match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())),
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, addr.port())),
            _ => addr,
        };
        self.listener = Some(Listener { process, fd, addr });
        Ok(())
    }
}
