//! What the server's file descriptors stand for.
//!
//! Invariant: a label is kept from the call that made the descriptor to its close. What a descriptor stands for does not
//! change in between, and looking it up each time is slow.

use std::collections::HashMap;
use std::os::fd::RawFd;

use observe::handle::{self, Label};
use observe::syscall::{Call, Kind};

use super::{Returned, Tracee};

/// By process and number.
#[derive(Default)]
pub struct Labels(HashMap<(i32, RawFd), Label>);

impl Labels {
    fn insert(&mut self, process: i32, fd: RawFd, label: Label) {
        self.0.insert((process, fd), label);
    }

    /// A child has all that its parent has.
    pub fn inherit(&mut self, parent: i32, child: i32) {
        let of_parent = self.0.iter().filter(|((process, _), _)| *process == parent);
        let copied: Vec<_> = of_parent.map(|((_, fd), label)| ((child, *fd), *label)).collect();
        self.0.extend(copied);
    }

    /// Any of its file descriptors may be closed or changed.
    pub fn forget(&mut self, process: i32) {
        self.0.retain(|(of, _), _| *of != process);
    }

    /// Those that stand for `label`, in order.
    fn of(&self, label: Label) -> Vec<(i32, RawFd)> {
        let mut found: Vec<(i32, RawFd)> = self.0.iter().filter(|(_, it)| **it == label).map(|(at, _)| *at).collect();
        found.sort_unstable();
        found
    }
}

impl Tracee<'_> {
    /// What a file descriptor stands for.
    pub fn label(&self, process: i32, fd: RawFd) -> Label {
        if let Some(label) = self.labels.0.get(&(process, fd)) {
            return *label;
        }
        let Some(of) = self.processes.get(&process) else { return Label::Other };
        of.borrow(fd).map_or(Label::Other, |borrowed| handle::label(&borrowed, || of.link(fd)))
    }

    /// What a call's file descriptor stands for.
    pub fn label_of_call(&self, tid: i32, call: &Call) -> Option<Label> {
        Some(self.label(self.thread(tid)?.process, call.fd()?))
    }

    /// The epoll instances that it has used.
    pub fn epolls(&self) -> Vec<(i32, RawFd)> {
        self.labels.of(Label::Epoll)
    }

    /// The server's end of the connection of the client with this port.
    pub fn end_of(&self, port: u16) -> Option<(RawFd, socket2::Socket)> {
        let end = |(process, fd): (i32, RawFd)| {
            let socket = socket2::Socket::from(self.processes.get(&process)?.borrow(fd)?);
            let is_it = socket.peer_addr().ok()?.as_socket()?.port() == port;
            if is_it { Some((fd, socket)) } else { None }
        };
        let labelled = self.labels.of(Label::Peer(port)).into_iter().find_map(end);
        labelled.or_else(|| self.fds().into_iter().find_map(end))
    }

    /// All file descriptors of all processes.
    fn fds(&self) -> Vec<(i32, RawFd)> {
        let of = |process: &observe::Handle| process.fds().unwrap_or_default();
        self.processes.values().flat_map(|process| of(process).into_iter().map(|fd| (process.pid, fd))).collect()
    }

    /// Before a call that has returned is recorded: what its file descriptors stand for.
    pub fn learn(&mut self, returned: &Returned) {
        let Returned { tid, call, value } = returned;
        let Some(process) = self.thread(*tid).map(|thread| thread.process) else { return };
        let first = call.args[0] as RawFd;
        match call.kind {
            Kind::Accept if *value >= 0 => {
                let label = self.accepted(process, *value as RawFd, call);
                self.labels.insert(process, *value as RawFd, label);
            }
            Kind::Listen if *value == 0 => self.labels.insert(process, first, Label::Listener),
            Kind::EpollCtl => self.labels.insert(process, first, Label::Epoll),
            Kind::Other if self.keep && call.name == "io_uring_setup" && *value >= 0 => {
                let of = **self.process_of(*tid);
                self.rings.set_up(of, *value as RawFd, call.args[1]);
            }
            _ => {}
        }
    }

    /// After it is recorded: what a call has closed stands for nothing any more.
    pub fn unlearn(&mut self, returned: &Returned) {
        let Some(process) = self.thread(returned.tid).map(|thread| thread.process) else { return };
        match returned.call.kind {
            Kind::Close => {
                let fd = returned.call.args[0] as RawFd;
                self.labels.0.remove(&(process, fd));
                self.kqueues.closed(process, fd);
            }
            Kind::Duplicate => self.labels.forget(process),
            _ => {}
        }
    }

    /// Whose connection was accepted. One that was reset meanwhile has no peer any more, but accept has said who it was.
    fn accepted(&self, process: i32, fd: RawFd, call: &Call) -> Label {
        let label = self.label(process, fd);
        if label != Label::Other || call.args[1] == 0 {
            return label;
        }
        // The port stands at the same place in both address families, and in network order.
        let address: [u8; 4] = self.processes[&process].word(call.args[1]);
        match u16::from_be_bytes([address[2], address[3]]) {
            0 => label,
            port => Label::Peer(port),
        }
    }
}
