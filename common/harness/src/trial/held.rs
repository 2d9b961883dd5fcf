//! What the server holds: connections, and descriptors of any kind.
//!
//! Invariant: a connection is a socket of the server's port that somebody holds open, and not a descriptor. A server may
//! have several descriptors for a connection (pipes, an epoll instance each), and several processes with one socket.

use std::time::{Duration, Instant};

use observe::View;

use super::{SOON, Trial};
use crate::client::Client;
use crate::failure::{Step, Stop, Symptom};

impl Trial<'_> {
    /// Connections that the server holds: accepted, and not closed.
    pub fn held(&mut self) -> Step<usize> {
        self.needs_proc()?;
        let process = self.process()?;
        let port = self.server()?.addr.port();
        process.held_connections(port).ok_or_else(|| Stop::skip("needs Linux's /proc/net/tcp"))
    }

    /// The connections that the server holds while nobody is connected, after it has served somebody.
    pub fn held_without_clients(&mut self) -> Step<usize> {
        self.needs_proc()?;
        self.process()?;
        self.probe()?;
        self.rest()?;
        self.held()
    }

    /// Waits until the server holds `expected` connections again; it has failed if it rests with more.
    pub fn expect_held(&mut self, expected: usize, after: &str) -> Step {
        self.log.step(format!("the server has to be back at {expected} connections"));
        let end = Instant::now() + SOON;
        let mut rests_with_more = false;
        loop {
            // Asleep first: what a server has not yet accepted it does not hold.
            self.await_ends()?;
            let at_rest = self.comes_to_rest(Duration::from_millis(30))?;
            let now = self.held()?;
            if now <= expected {
                return Ok(());
            }
            // A second look: the kernel may close late what was in flight on an io_uring.
            if at_rest && rests_with_more || self.restless || Instant::now() > end {
                let restless = if at_rest { "" } else { ", and does not come to rest" };
                let what = format!("{after}, the server holds {now} connections and not {expected}{restless}");
                let cause = "A connection that ended was not closed: read returned 0 with nothing owed, or a read, a \
                             write or the event reported an error.";
                return Err(self.with_view(Symptom::Leak, what, cause));
            }
            rests_with_more = at_rest;
        }
    }

    /// The inode of the server's end of a connection, by which it is known however many descriptors it has.
    pub fn socket_of(&mut self, client: &Client) -> Step<u64> {
        let (process, port) = (self.process()?, self.server()?.addr.port());
        let view = process.view(port).ok_or_else(|| Stop::skip("needs Linux's /proc"))?;
        let socket = view.connection(client.local);
        let holder = socket.and_then(|socket| socket.holders.first()).copied();
        let Some(holder) = holder else { return Err(held_by_nobody(&view, client)) };
        let sockets = view.processes.iter().filter(|process| process.pid == holder.pid);
        let mut sockets = sockets.flat_map(|process| &process.descriptors.sockets);
        let found = sockets.find(|(_, fd)| *fd == holder.fd).map(|(inode, _)| *inode);
        found.ok_or_else(|| Stop::Broken("a socket has a holder and no inode".into()))
    }

    /// Waits until no process of the server has this socket open any more; it has failed if it rests and one has.
    pub fn expect_let_go(&mut self, inode: u64, who: &str) -> Step {
        let end = Instant::now() + SOON;
        let mut rests_with_it = false;
        loop {
            self.await_ends()?;
            let at_rest = self.comes_to_rest(Duration::from_millis(20))?;
            let (process, port) = (self.process()?, self.server()?.addr.port());
            let view = process.view(port).ok_or_else(|| Stop::skip("needs Linux's /proc"))?;
            let holds = view.processes.iter().find_map(|process| {
                let fd = process.descriptors.sockets.iter().find(|(socket, _)| *socket == inode)?.1;
                Some((process.pid, fd))
            });
            let Some((pid, fd)) = holds else { return Ok(()) };
            if at_rest && rests_with_it || self.restless || Instant::now() > end {
                let what = format!("{who}, and process {pid} still has its socket open as descriptor {fd}");
                let cause = "A connection lives as long as one of its descriptors: the one that was registered, or a \
                             duplicate (dup, try_clone). Close every one of them when the connection ends, and not when \
                             the next client comes.";
                return Err(self.with_view(Symptom::Leak, what, cause));
            }
            rests_with_it = at_rest;
        }
    }

    /// The server's open descriptors of any kind, over all its processes.
    pub fn descriptors(&mut self) -> Step<usize> {
        self.needs_proc()?;
        let process = self.process()?;
        process.fd_count().ok_or_else(|| Stop::skip("needs Linux's /proc"))
    }

    /// The server's open descriptors while nobody is connected, after it has served somebody.
    pub fn descriptors_without_clients(&mut self) -> Step<usize> {
        self.held_without_clients()?;
        self.descriptors()
    }

    /// The server's open descriptors were counted after each of many equal rounds: they do not grow without end.
    pub fn expect_no_growth(&mut self, counts: &[usize], round: &str) -> Step {
        // A pool that is filled as it is needed comes to its bound early on, and a count may differ by what is just under
        // way. What leaks is more in each third than it ever was in the one before.
        let mut thirds = counts.chunks(counts.len().div_ceil(3));
        let (Some(first), Some(second), Some(last)) = (thirds.next(), thirds.next(), thirds.next()) else {
            return Ok(());
        };
        let above = |later: &[usize], earlier: &[usize]| later.iter().min() > earlier.iter().max();
        if !(above(last, second) && above(second, first)) {
            return Ok(());
        }
        let at = |index: usize| counts.get(index).copied().unwrap_or_default();
        let what = format!(
            "the server had {} descriptors open after {round}, {} after {} such rounds, and {} after {}: they grow without \
             end, and nobody is connected",
            at(0),
            at(counts.len() / 2),
            counts.len() / 2 + 1,
            at(counts.len() - 1),
            counts.len()
        );
        let cause = "Every socket was closed. What was opened besides for a connection (a pipe, an eventfd, a timer, an \
                     epoll instance, a file) has to be closed with it.";
        Err(self.with_view(Symptom::Leak, what, cause))
    }
}

/// Why the socket of a connection that was served has no descriptor.
fn held_by_nobody(view: &View, client: &Client) -> Stop {
    if view.rings().next().is_some() {
        return Stop::skip("its connections are no descriptors, but slots of an io_uring");
    }
    let processes: Vec<String> =
        view.processes.iter().map(|process| format!("{} ({})", process.pid, process.name)).collect();
    Stop::skip(format!(
        "c{} was served, and nobody was found to hold its connection: of the server, process {} can be seen",
        client.id,
        processes.join(", ")
    ))
}
