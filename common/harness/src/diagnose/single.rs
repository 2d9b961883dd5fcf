//! A server that is with one client at a time, and one that is with nobody: its own code loops.
//!
//! Invariant: only what makes nearly every other check fail too is told here, so that a run can end with it.

use std::net::SocketAddr;

use observe::view::{Computing, Holder};
use observe::{Family, Kind, View};

use super::threads;
use crate::failure::{Failure, Stop, Symptom};

/// What is said of a server whose own code loops.
pub(crate) const OWN_CODE: &str = "makes no system call at all: its own code loops";

/// A failure of a server of which a thread computes without an end.
pub(crate) fn computes(view: &View, computing: Computing, what: String) -> Stop {
    let who = match view.threads().count() {
        0 | 1 => "It".to_owned(),
        _ => format!("Thread {}", computing.tid),
    };
    let cause = format!(
        "{who} {OWN_CODE}. It has used {} ms of the processor's time, and the kernel was not asked for anything \
         meanwhile. Look for a loop that does not come back to the wait.",
        computing.ms
    );
    let kernel = threads(view);
    let is_fundamental = view.threads().count() < 2;
    Stop::Fail(Box::new(Failure { kernel, is_fundamental, ..Failure::new(Symptom::Spinning, what, cause) }))
}

/// It has accepted one connection, sleeps in a read or a write of that one, and this client has not been accepted. `name`
/// tells a client's name from its port.
pub(crate) fn one_at_a_time(view: &View, client: SocketAddr, name: &dyn Fn(u16) -> String) -> Option<String> {
    let [process] = &view.processes[..] else { return None };
    let [thread] = &process.threads[..] else { return None };
    let call = thread.call.filter(|call| thread.state == 'S' && matches!(call.kind, Kind::Read | Kind::Write))?;
    if !process.descriptors.epolls.is_empty() || !process.descriptors.rings.is_empty() {
        return None;
    }
    let holder = Holder { pid: process.pid, fd: call.fd()? };
    let mut accepted = view.sockets.iter().filter(|socket| !socket.listening && !socket.holders.is_empty());
    let (served, None) = (accepted.next()?, accepted.next()) else { return None };
    let waits = view.connection(client).is_some_and(|socket| socket.holders.is_empty() && !socket.held);
    if !waits || !served.holders.contains(&holder) || listens_without_blocking(view) {
        return None;
    }
    let (reads, others) = (call.kind == Kind::Read, view.accept_queue().saturating_sub(1));
    if reads && served.rx > 0 {
        return None;
    }
    let why = if reads { "which has nothing to say" } else { "which does not read" };
    let others = match others {
        0 => String::new(),
        1 => " and one more client".to_owned(),
        n => format!(" and {n} more clients"),
    };
    let (one, waiting) = (name(served.remote.port()), name(client.port()));
    Some(format!(
        "It serves one client at a time: it sleeps in {} of {one} (fd {}), {why}, while {waiting}{others} \
         {} to be accepted. Wait for the listener and for all connections at once (select, poll, epoll, kqueue), or give each \
         connection a thread.",
        call.name,
        holder.fd,
        if others.is_empty() { "waits" } else { "wait" }
    ))
}

/// A listener with O_NONBLOCK belongs to an event loop: what that one sleeps in is an accident.
fn listens_without_blocking(view: &View) -> bool {
    let mut listeners = view.sockets.iter().filter(|socket| socket.listening).flat_map(|socket| &socket.holders);
    let flags = |holder: &Holder| Family::of(holder.pid).fd_flags(*holder).unwrap_or(libc::O_NONBLOCK);
    listeners.any(|holder| flags(holder) & libc::O_NONBLOCK != 0)
}
