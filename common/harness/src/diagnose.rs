//! From the kernel's view of a stalled connection to a symptom and a sentence that says what to change.
//!
//! Invariant: the sentence claims only what the view shows; where it shows too little, the symptom is `Slow`.

use std::net::SocketAddr;

use observe::view::{Holder, Socket};
use observe::{Call, Mask, Thread, View};

use crate::failure::{Symptom, size};

/// A stream this short has met no full send buffer: half of the least that Linux gives a socket (tcp_wmem).
const ALWAYS_FITS: u64 = 2048;

/// Why more is in flight than before, although nobody is connected.
pub const LEFT_IN_FLIGHT: &str = "An operation outlives its connection: close(2) only gives up the number, and the socket is \
    kept. Cancel what is in flight before you close (IORING_OP_ASYNC_CANCEL). Or an accept was armed again that was still \
    armed: a multishot has ended only when its completion lacks F_MORE.";

/// Why a socket lives on that has no descriptor.
pub const HELD_IN_FLIGHT: &str = "The server has closed the connection's descriptor, and an operation in flight on its \
    io_uring still holds the socket: close(2) only gives up the number, so no FIN was sent and the socket is kept. Cancel \
    what is in flight before you close (IORING_OP_ASYNC_CANCEL, by descriptor or by user_data).";

/// Why a closed connection's socket lives on in a server with threads.
pub const HELD_BY_A_WAIT: &str = "The server has closed the connection's descriptor, and another thread's wait still holds the \
    socket, so no FIN was sent. poll and select hold all that they wait for until they return, and epoll_wait (since Linux \
    6.10) what it looks at, which is let go only when the call returns. Let no other thread wait for it: take it off a shared \
    epoll before you close it (EPOLL_CTL_DEL waits until nobody looks), or say goodbye with shutdown(2) first.";

/// What the client knows of a connection that does not go on.
#[derive(Debug, Clone, Copy)]
pub struct Stalled {
    /// The client's end.
    pub client: SocketAddr,
    /// Bytes handed to the client's socket.
    pub sent: u64,
    /// Bytes that came back.
    pub received: u64,
    /// The client has sent FIN.
    pub half_closed: bool,
}

/// A symptom, the kernel's view in lines, and the likely cause.
#[derive(Debug)]
pub struct Diagnosis {
    /// The kind of trouble.
    pub symptom: Symptom,
    /// For `Failure::kernel`.
    pub kernel: Vec<String>,
    /// For `Failure::cause`.
    pub cause: String,
}

/// Why this connection does not go on.
pub fn stalled(view: &View, facts: &Stalled) -> Diagnosis {
    let socket = view.connection(facts.client);
    let kernel = describe(view, socket, facts);
    let (symptom, cause) = judge(view, socket, facts);
    Diagnosis { symptom, kernel, cause }
}

fn judge(view: &View, socket: Option<&Socket>, facts: &Stalled) -> (Symptom, String) {
    if !view.asleep() {
        // Whoever asks has seen it work for seconds, or run for half a minute, and move nobody's bytes.
        let cause = format!("The server never sleeps, and does nothing for this connection. {}", spinning(view));
        return (Symptom::Spinning, cause);
    }
    if let Some(call) = blocked(view) {
        return (Symptom::Blocked, blocking_cause(call));
    }
    let wait = wait_name(view);
    let Some(socket) = socket else {
        return (
            Symptom::Slow,
            "The server's end of this connection is gone, and the client has not been told.".into(),
        );
    };
    if socket.holders.is_empty() && view.accept_queue() == 0 && view.armed() > 0 {
        return (Symptom::EofLost, HELD_IN_FLIGHT.into());
    }
    if socket.holders.is_empty() && socket.held && view.rings().next().is_none() && view.threads().count() > 1 {
        return (Symptom::EofLost, HELD_BY_A_WAIT.into());
    }
    let Some(holder) = socket.holder() else {
        let cause = format!(
            "This connection was never accepted: {} wait in the accept queue while the server sleeps in {wait}. \
             It took fewer connections than the readiness event stood for, and waits for an event that only a new \
             connect would bring: accept until EAGAIN, and come back by yourself after a batch limit or EMFILE.",
            view.accept_queue()
        );
        return (Symptom::AcceptQueueNotDrained, cause);
    };
    let fd = holder.fd;
    if facts.half_closed && facts.received == facts.sent {
        // Before the unread bytes: the FIN counts as one of them.
        let cause = format!(
            "Everything was echoed and the client has sent FIN, but the server sleeps in {wait} with fd {fd} still open. \
             The read that returns 0 was not made (a short read is not the end of the data), or the end of input is \
             remembered and never acted on: read until EAGAIN or 0, and close once nothing is owed."
        );
        return (Symptom::EofLost, cause);
    }
    let missing = facts.sent - facts.received;
    let (received, unacknowledged) = view.peer(facts.client).map_or((0, 0), |peer| (peer.rx, peer.tx));
    let in_sockets = [socket.rx, socket.tx, received, unacknowledged].map(u64::from).iter().sum();
    let held = missing.saturating_sub(in_sockets);
    // A server that cannot send stops reading too, so what it holds is the reason where it holds anything.
    if socket.rx > 0 && held == 0 {
        return (Symptom::ReadLost, read_lost(view, socket, holder, facts, &wait));
    }
    if missing > 0 {
        return (Symptom::WriteLost, write_lost(view, socket, holder, held, facts, &wait));
    }
    (Symptom::Slow, String::new())
}

fn read_lost(view: &View, socket: &Socket, holder: Holder, facts: &Stalled, wait: &str) -> String {
    let (fd, owed) = (holder.fd, socket.rx);
    let start = format!("The server sleeps in {wait} while {owed} bytes wait unread in its socket.");
    match view.registration(socket) {
        Some(watch) if watch.mask.has(Mask::ONESHOT) && !watch.mask.has(Mask::IN) => {
            format!(
                "{start} EPOLLONESHOT disarmed fd {fd} (mask {}), and it was not armed again for reading.",
                watch.mask.asked_for()
            )
        }
        Some(watch) if !watch.mask.has(Mask::IN) => format!(
            "{start} fd {fd} is registered for {}, without IN: reading was paused and not resumed when the client read on.",
            watch.mask.asked_for()
        ),
        Some(watch) if watch.mask.has(Mask::ET) && facts.received == 0 && facts.sent > 0 => format!(
            "{start} fd {fd} is registered {}, and its edge is used up: the bytes came before the first read was due, or \
             the event was dropped. Register before the first read, and read until EAGAIN.",
            watch.mask.asked_for()
        ),
        Some(watch) if watch.mask.has(Mask::ET) => format!(
            "{start} fd {fd} is registered {}. The server stopped reading before EAGAIN and waits for an edge that will \
             not come: drain until EAGAIN, and after a pause (back-pressure, a budget) come back by yourself.",
            watch.mask.asked_for()
        ),
        Some(watch) => {
            format!("{start} fd {fd} is registered {}, and its events are not acted on.", watch.mask.asked_for())
        }
        None if view.registrations().next().is_some() => {
            format!("{start} fd {fd} is in no epoll set: it was not registered, or was removed too early.")
        }
        None if view.rings().next().is_some() => {
            format!(
                "{start} No receive is armed for fd {fd}: each completion (and each end of a multishot) has to be followed by a new one."
            )
        }
        None => format!(
            "{start} fd {fd} is not among what it waits for: the set was not rebuilt, the slot was lost, nfds is too small, \
             or reading was paused and not resumed."
        ),
    }
}

fn write_lost(view: &View, socket: &Socket, holder: Holder, held: u64, facts: &Stalled, wait: &str) -> String {
    let fd = holder.fd;
    let mut start = format!(
        "The server sleeps in {wait}. It has read {} that have not come back, and its socket has {} under way.",
        size(held),
        socket.tx
    );
    if socket.rx > 0 {
        start += &format!(" {} more wait unread, because so much is owed.", socket.rx);
    }
    if facts.sent <= ALWAYS_FITS {
        return format!(
            "{start} So few always fit into a socket: it waits for more (a newline, a full buffer), stops at a zero byte \
             (the stream is bytes, not text), or has a buffered writer that was not flushed."
        );
    }
    let dropped = "The rest of a short write was dropped, or EAGAIN on write was taken as done: keep what write() did not take, and send it when the socket is writable.";
    match view.registration(socket) {
        Some(watch) if watch.mask.has(Mask::ONESHOT) && !watch.mask.has(Mask::OUT) => {
            let mask = watch.mask.asked_for();
            format!("{start} EPOLLONESHOT disarmed fd {fd} (mask {mask}), and it was not armed again for writing.")
        }
        Some(watch) if !watch.mask.has(Mask::OUT) => {
            format!("{start} fd {fd} is registered for {}, without OUT. {dropped}", watch.mask.asked_for())
        }
        Some(watch) if watch.mask.has(Mask::ET) => format!(
            "{start} fd {fd} is registered {}, and its OUT edge was not used: it came together with IN (look at both, no else), \
             or before write() had said EAGAIN. Or the bytes are gone. {dropped}",
            watch.mask.asked_for()
        ),
        _ => format!("{start} {dropped}"),
    }
}

fn blocked(view: &View) -> Option<&Call> {
    // With several threads one may well sleep in a read of its own; only a loop that has nobody else is stuck.
    let mut threads = view.threads();
    let (Some(only), None) = (threads.next(), threads.next()) else { return None };
    only.call.as_ref().filter(|call| !call.is_wait() && call.is_known())
}

fn blocking_cause(call: &Call) -> String {
    let (name, fd) = (call.name, call.args[0] as i32);
    if name.ends_with("nanosleep") {
        return format!(
            "The loop sleeps in {name}, for some time of its own, and nobody is served meanwhile; and what it has slept for need \
             not have come then. What it waits for belongs into the one wait, together with everything else."
        );
    }
    format!(
        "The whole loop sleeps inside {name} on fd {fd}, so nobody is served: that descriptor lacks O_NONBLOCK. Linux does \
         not inherit it from the listener: set it on every accepted socket (accept4 with SOCK_NONBLOCK, or fcntl)."
    )
}

fn wait_name(view: &View) -> String {
    view.wait().map_or_else(|| "a call".to_owned(), |call| call.name.to_owned())
}

/// The view in lines: threads, the connection, the listener, rings.
pub fn describe(view: &View, socket: Option<&Socket>, facts: &Stalled) -> Vec<String> {
    let mut lines = threads(view);
    match socket {
        Some(socket) => {
            let fd = match (socket.holder(), view.registration(socket)) {
                (Some(holder), Some(watch)) => format!("fd {}, registered {}", holder.fd, watch.mask.asked_for()),
                (Some(holder), None) => format!("fd {}", holder.fd),
                (None, _) if socket.held => "open, and no descriptor stands for it".into(),
                (None, _) => "not accepted yet".into(),
            };
            lines.push(format!(
                "the connection: {fd}; {} unread, {} sent and not acknowledged",
                size(socket.rx.into()),
                size(socket.tx.into())
            ));
        }
        None => lines.push("the server has no socket for this connection".into()),
    }
    if let Some(peer) = view.peer(facts.client).filter(|peer| peer.tx > 0) {
        lines.push(format!("{} bytes wait in the client's socket, because the server's is full", peer.tx));
    }
    if view.accept_queue() > 0 {
        lines.push(format!("{} connections wait in the accept queue", view.accept_queue()));
    }
    for ring in view.rings() {
        lines.push(format!("ring fd {}: {}; {} operations wait for their socket", ring.fd, ring.queues, ring.armed));
    }
    lines.push(format!("{} descriptors open", view.open_fds()));
    lines
}

/// A line for each thread (the first few): where it is.
pub fn threads(view: &View) -> Vec<String> {
    let line = |thread: &Thread| match (&thread.call, thread.state) {
        (Some(call), 'S') if call.is_endless() && call.is_wait() => {
            format!("asleep in {call} without a timeout")
        }
        (Some(call), 'S') if call.is_wait() => format!("asleep in {call}"),
        (Some(call), 'S') if call.name.ends_with("nanosleep") => format!("asleep in {call}"),
        (Some(call), 'S') => format!("asleep in {call} (fd {})", call.args[0] as i32),
        (_, 'R') => "running".to_owned(),
        (_, 'T' | 't') => "stopped".to_owned(),
        (_, state) => format!("in state {state}"),
    };
    let all: Vec<&Thread> = view.threads().collect();
    let mut lines: Vec<String> = match all.as_slice() {
        [] => vec!["the process has ended".into()],
        [only] => vec![format!("the server is {}", line(only))],
        many => many.iter().take(6).map(|thread| format!("thread {} is {}", thread.tid, line(thread))).collect(),
    };
    if all.len() > 6 {
        lines.push(format!("and {} more threads", all.len() - 6));
    }
    lines
}

/// Why a server that has nothing to do is not at rest.
pub fn spinning(view: &View) -> String {
    let level = view.registrations().filter(|(_, watch)| !watch.mask.has(Mask::ET));
    for (process, watch) in level {
        let (fd, mask) = (watch.fd, watch.mask.asked_for());
        if !process.descriptors.open.contains(&fd) {
            return format!(
                "fd {fd} is registered for {mask} and is not open any more: a duplicate of it (dup, try_clone, fork) keeps the \
                 socket, its connection and its registration alive. Close every duplicate with it, or remove the \
                 registration (EPOLL_CTL_DEL) before the close."
            );
        }
        let holder = Holder { pid: process.pid, fd };
        let Some(socket) = view.sockets.iter().find(|socket| socket.holders.contains(&holder)) else { continue };
        if socket.listening && socket.rx > 0 {
            return format!(
                "{} connections stay in the accept queue and the listener stays readable: out of descriptors, stop watching it \
                 until one is free.",
                socket.rx
            );
        }
        if watch.mask.has(Mask::OUT) && socket.tx == 0 {
            return format!(
                "fd {fd} is registered for {mask} although nothing is owed to it: an idle socket is always writable. Watch for \
                 OUT only while bytes are owed."
            );
        }
    }
    if view.accept_queue() > 0 {
        return format!(
            "{} connections stay in the accept queue: an accept that fails (EMFILE) is tried again and again.",
            view.accept_queue()
        );
    }
    if view.rings().next().is_some() {
        return "Its operations complete at once and are submitted again: with EAGAIN (MSG_DONTWAIT, where the kernel should wait), \
                or with an error or an end of input (0) that is not acted on."
            .into();
    }
    "Something that it waits for is ready and is not dealt with: end of input that was not acted on (read returns 0 for ever, \
     RDHUP stays set), an error or hang-up that was not asked for, a closed descriptor left in the set, or write interest \
     without anything to write."
        .into()
}
