//! The thread that answers a client.
//!
//! Invariant: it is found by what it sleeps in while the server is at rest, and by nothing that it says of itself.

use observe::{Kind, Thread};

use super::Trial;
use crate::client::Client;
use crate::failure::Step;
use crate::moments::Moment;

impl Trial<'_> {
    /// Traces the thread that will answer this client's next byte; `None` where there is none to be found, or to be
    /// traced. The server is at rest.
    pub(crate) fn before_it_answers(&mut self, client: &Client) -> Step<Option<Moment>> {
        let (process, port) = (self.process()?, self.server()?.addr.port());
        let view = process.view(port).unwrap_or_default();
        let socket = view.connection(client.local);
        let fds: Vec<i32> = socket.iter().flat_map(|socket| &socket.holders).map(|holder| holder.fd).collect();
        let ours = |fd: i32| fds.contains(&fd);
        let epolls = view.processes.iter().flat_map(|process| &process.descriptors.epolls);
        let watching = epolls.filter(|epoll| epoll.registrations.iter().any(|watch| ours(watch.fd)));
        let watching: Vec<i32> = watching.map(|epoll| epoll.fd).collect();
        // A thread of its own sleeps in its read, and a worker waits with the epoll that watches it; else it is the first
        // one that waits for descriptors.
        let is_it = |thread: &&Thread| match thread.call {
            Some(call) if call.kind == Kind::Read => call.fd().is_some_and(ours),
            Some(call) if call.kind == Kind::EpollWait => call.fd().is_some_and(|fd| watching.contains(&fd)),
            _ => false,
        };
        let threads = process.threads().unwrap_or_default();
        let first = Moment::threads(process).into_iter().next();
        let Some(thread) = threads.iter().find(is_it).copied().or(first) else { return Ok(None) };
        Ok(Moment::before(process, &thread).ok())
    }
}
