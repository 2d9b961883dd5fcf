//! What the server waits for on a descriptor, whichever kernel object it is registered with.
//!
//! Invariant: of a descriptor that is registered with several, the first one that the state names.

use crate::record::{KnoteState, RegistrationState, State};

/// A registration with an epoll or a kqueue.
pub struct Interest {
    /// The events, as the server has asked for them: `IN|RDHUP|ET`, or `READ CLEAR`.
    pub shown: String,
    /// Bytes to read are reported.
    pub reads: bool,
    /// Each is reported once.
    pub edge: bool,
    /// A report has disarmed it, or may have.
    pub once: bool,
    /// With a kqueue.
    pub knote: bool,
}

/// Of a file descriptor.
pub fn of_fd(end: &State, fd: i32) -> Option<Interest> {
    find(end, |it| it.fd == fd, |it| it.fd == fd)
}

/// Of the listener.
pub fn of_listener(end: &State) -> Option<Interest> {
    find(end, |it| it.label == "listener", |it| it.label == "listener")
}

fn find(
    end: &State,
    epoll: impl Fn(&RegistrationState) -> bool,
    knote: impl Fn(&KnoteState) -> bool,
) -> Option<Interest> {
    let registrations = end.epolls.iter().flat_map(|epoll| &epoll.interests);
    let registered = registrations.into_iter().find(|it| epoll(it)).map(of_epoll);
    registered.or_else(|| {
        let knotes = end.kqueues.iter().flat_map(|kqueue| &kqueue.interests);
        // READ and WRITE are two; a reader is asked for first.
        let mut of_it = knotes.filter(|it| matches!(it.filter.as_str(), "READ" | "WRITE") && knote(it)).peekable();
        let first = of_it.peek().map(|it| of_knote(it))?;
        Some(of_it.find(|it| it.filter == "READ").map_or(first, of_knote))
    })
}

fn has(names: &str, name: &str) -> bool {
    names.split('|').any(|it| it == name)
}

fn of_epoll(at: &RegistrationState) -> Interest {
    let has = |name| has(&at.mask, name);
    let (reads, edge, once) = (has("IN"), has("ET"), has("ONESHOT"));
    Interest { shown: at.mask.clone(), reads, edge, once, knote: false }
}

fn of_knote(at: &KnoteState) -> Interest {
    let has = |name| has(&at.flags, name);
    Interest {
        shown: format!("{} {}", at.filter, at.flags).trim_end().to_owned(),
        reads: at.filter == "READ" && !has("DISABLE"),
        edge: has("CLEAR"),
        once: has("DISPATCH"),
        knote: true,
    }
}
