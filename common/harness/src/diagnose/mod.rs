//! From the kernel's view of a stalled connection to a symptom and a sentence that says what to change.
//!
//! Invariant: the sentence claims only what the view shows; where it shows too little, the symptom is `Slow`.

use std::net::SocketAddr;

use observe::view::{Holder, Socket};
use observe::{Call, Kind, Mask, Thread, View, advice};

use crate::causes::usually;
use crate::facts;
use crate::failure::{Symptom, size};

pub(crate) mod single;

pub(crate) use single::computes;

/// A stream this short has met no full send buffer: half of the least that Linux gives a socket (tcp_wmem).
const ALWAYS_FITS: u64 = 2048;

/// Why more operations are in flight than before, although no client is connected.
pub const LEFT_IN_FLIGHT: &str = "An operation outlives its connection: close(2) only gives up the number, and the \
    operation keeps the socket. Cancel what is in flight before you close (IORING_OP_ASYNC_CANCEL). Or the server \
    armed an accept that was still armed: a multishot has ended only when its completion lacks F_MORE.";

/// Why a socket lives on that has no file descriptor.
pub const HELD_IN_FLIGHT: &str = "The server has closed the file descriptor of this connection, and an operation in \
    flight on its io_uring still holds the socket. close(2) only gives up the number, so the kernel sent no FIN. \
    Cancel what is in flight before you close (IORING_OP_ASYNC_CANCEL, by descriptor or by user_data).";

/// Why the socket of a closed connection lives on in a server with threads.
pub const HELD_BY_A_WAIT: &str = "The server has closed the file descriptor of this connection, and another thread's \
    wait still holds the socket, so the kernel sent no FIN. poll and select hold every socket that they wait for \
    until they return. epoll_wait (since Linux 6.10) holds the socket that it looks at until it returns. Let no other \
    thread wait for it: remove it from a shared epoll before the close (EPOLL_CTL_DEL waits until no thread looks), \
    or call shutdown(2) first.";

/// What is said of connections that wait, unless it is known that an accept failed.
pub const TOO_FEW: &str = "One event can stand for several clients, and the server did not accept them all.";

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
    if let Some(cause) = stopped(view) {
        return (Symptom::Blocked, cause);
    }
    if !view.asleep() {
        // By now it has worked for seconds, or run for half a minute, and has moved no byte of any client.
        let why = socket.and_then(|socket| disarmed(view, socket)).unwrap_or_else(|| spinning(view));
        let cause = format!("The server never sleeps, and does nothing for this connection. {why}");
        return (Symptom::Spinning, cause);
    }
    let over = facts.half_closed && facts.received == facts.sent;
    if let Some(cause) = socket.filter(|_| over).and_then(|socket| facts::held_by_another(view, socket)) {
        return (Symptom::EofLost, cause);
    }
    if let Some(call) = blocked(view) {
        return (Symptom::Blocked, blocking_cause(call, "The whole event loop"));
    }
    if let Some((thread, call)) = facts::elsewhere(view, socket) {
        let who = format!("Thread {}, which this connection waits for,", thread.tid);
        return (Symptom::Blocked, blocking_cause(call, &who));
    }
    let wait = wait_name(view);
    let Some(socket) = socket else {
        let cause = "The server's end of this connection is gone, and the client got neither FIN nor reset.";
        return (Symptom::Slow, cause.into());
    };
    let Some(holder) = socket.holder() else { return without_a_descriptor(view, socket, wait) };
    let fd = holder.fd;
    let at_rest = facts::ring(view);
    if over {
        // Before the unread bytes: the FIN counts as one of them.
        if let Some(cause) = at_rest {
            return (Symptom::EofLost, cause);
        }
        let why = disarmed(view, socket).unwrap_or_else(|| {
            usually(&format!(
                "the read that returns 0 was not made (a short read is not the end of the data), or the server \
                 remembers the end of input and never acts on it: {}, and close once nothing is owed.",
                advice::READ_UNTIL_EAGAIN
            ))
        });
        let cause = format!(
            "Everything was echoed and the client has sent FIN, but the server sleeps in {wait} with fd {fd} still \
             open. {why}"
        );
        return (Symptom::EofLost, cause);
    }
    let missing = facts.sent - facts.received;
    let (received, unacknowledged) = view.peer(facts.client).map_or((0, 0), |peer| (peer.rx, peer.tx));
    let in_sockets = [socket.rx, socket.tx, received, unacknowledged].map(u64::from).iter().sum();
    let held = missing.saturating_sub(in_sockets);
    // A server that cannot send stops reading too, so what it holds is the reason where it holds anything.
    if socket.rx > 0 && held == 0 {
        let cause = at_rest.or_else(|| facts::low_water(socket, holder));
        return (Symptom::ReadLost, cause.unwrap_or_else(|| read_lost(view, socket, holder, facts, wait)));
    }
    if missing > 0 && u64::from(received) >= missing {
        let cause = "All that was missing had come by the time that the server was looked at: it is slow, or the \
                     machine is busy.";
        return (Symptom::Slow, cause.into());
    }
    if missing > 0 {
        return (Symptom::WriteLost, at_rest.unwrap_or_else(|| write_lost(view, socket, fd, held, facts, wait)));
    }
    (Symptom::Slow, String::new())
}

/// Unread bytes, or a FIN, of which EPOLLONESHOT lets no event tell any more.
fn disarmed(view: &View, socket: &Socket) -> Option<String> {
    let (holder, watch) = (socket.holder()?, view.registration(socket)?);
    let is_disarmed = watch.mask.has(Mask::ONESHOT) && !watch.mask.has(Mask(Mask::IN.0 | Mask::OUT.0));
    (is_disarmed && socket.rx > 0).then(|| advice::not_armed_again(holder.fd, watch.mask.asked_for(), "reading"))
}

/// No process of the server has this connection open.
fn without_a_descriptor(view: &View, socket: &Socket, wait: &str) -> (Symptom, String) {
    if view.accept_queue() == 0 && view.armed() > 0 {
        return (Symptom::EofLost, HELD_IN_FLIGHT.into());
    }
    if socket.held && view.rings().next().is_none() && view.threads().count() > 1 {
        return (Symptom::EofLost, HELD_BY_A_WAIT.into());
    }
    if let Some(cause) = facts::ring(view).or_else(|| facts::unserved_listener(view)) {
        return (Symptom::AcceptQueueNotDrained, cause);
    }
    let queued = facts::connections_wait(view.accept_queue());
    if view.rings().next().is_some() {
        let cause = format!(
            "No accept operation waits in the kernel: {queued} in the accept queue while the server sleeps in {wait}. The last \
             completion of its accept came without IORING_CQE_F_MORE (`more: false`): an error such as EMFILE ends a \
             multishot, and a single accept ends with each connection. After a connection, arm it again at once. After \
             EMFILE, wait until a connection was closed, or for a while."
        );
        return (Symptom::AcceptQueueNotDrained, cause);
    }
    let cause = format!(
        "This connection was never accepted: {queued} in the accept queue while the server sleeps in {wait}. {TOO_FEW} The \
         next event comes only with a new connect: {}.",
        advice::ACCEPT_UNTIL_EAGAIN
    );
    (Symptom::AcceptQueueNotDrained, cause)
}

fn read_lost(view: &View, socket: &Socket, holder: Holder, facts: &Stalled, wait: &str) -> String {
    let fd = holder.fd;
    let start = format!("The server sleeps in {wait} while {} unread in its socket.", facts::waiting(socket.rx));
    let Some(mask) = view.registration(socket).map(|watch| watch.mask) else { return unwatched(view, holder, &start) };
    let asked = mask.asked_for();
    if mask.has(Mask::ONESHOT) && !mask.has(Mask::IN) {
        return format!("{start} {}", advice::not_armed_again(fd, asked, "reading"));
    }
    if !mask.has(Mask::IN) {
        return format!("{start} {}", advice::no_read_interest(fd, asked));
    }
    if !mask.has(Mask::ET) {
        return format!("{start} fd {fd} is registered {asked}, and the server does not act on its events.");
    }
    let read = advice::READ_UNTIL_EAGAIN;
    if facts.received == 0 && facts.sent > 0 {
        let usually = usually(&format!(
            "the bytes came before the first read was due, or the event was dropped: register before the first read, \
             and {read}."
        ));
        return format!("{start} fd {fd} is registered {asked}, and its edge is used up. {usually}");
    }
    let usually = usually(&format!(
        "the server stopped reading before EAGAIN, or after a pause (back-pressure, a budget): {read}, and after a pause \
         come back by yourself."
    ));
    format!(
        "{start} fd {fd} is registered {asked}. The edge that told of these bytes is used up, and no other one comes for \
         them. {usually}"
    )
}

/// Bytes wait in a socket that is registered with no epoll instance.
fn unwatched(view: &View, holder: Holder, start: &str) -> String {
    let fd = holder.fd;
    if view.registrations().next().is_some() {
        return format!("{start} fd {fd} is in no epoll set: it was not registered, or was removed too early.");
    }
    if view.rings().next().is_some() {
        return format!("{start} No receive is in flight on fd {fd}: {}.", advice::START_THE_NEXT);
    }
    match facts::not_in_the_set(view, holder) {
        Some(cause) => format!("{start} {cause}"),
        None => format!("{start} fd {fd} is not among what the server waits for."),
    }
}

fn write_lost(view: &View, socket: &Socket, fd: i32, held: u64, facts: &Stalled, wait: &str) -> String {
    let mut start = format!(
        "The server sleeps in {wait}. It has read {} and not sent {} back, and its socket has {} under way.",
        size(held),
        if held == 1 { "it" } else { "them" },
        size(socket.tx.into())
    );
    if socket.rx > 0 {
        start += &format!(" {} unread, because so much is owed.", facts::waiting(socket.rx));
    }
    if facts.sent <= ALWAYS_FITS && view.rings().next().is_some() {
        return format!(
            "{start} So few always fit into a socket. No send is in flight on fd {fd}: {}.",
            advice::START_THE_NEXT
        );
    }
    if facts.sent <= ALWAYS_FITS {
        return format!("{start} So few always fit into a socket, so the server has not written them.");
    }
    let dropped = usually(&format!(
        "the rest of a short write was dropped, or EAGAIN at a write was taken for the end: {}.",
        advice::KEEP_THE_REST
    ));
    let Some(mask) = view.registration(socket).map(|watch| watch.mask) else { return format!("{start} {dropped}") };
    let asked = mask.asked_for();
    if mask.has(Mask::ONESHOT) && !mask.has(Mask::OUT) {
        return format!("{start} {}", advice::not_armed_again(fd, asked, "writing"));
    }
    if !mask.has(Mask::OUT) {
        return format!("{start} fd {fd} is registered for {asked}, without OUT. {dropped}");
    }
    if !mask.has(Mask::ET) {
        return format!("{start} {dropped}");
    }
    let edge = usually(
        "its OUT edge came together with IN, and was not used (look at both, without an else), or it came before a \
         write had returned EAGAIN; or the rest of a short write was dropped.",
    );
    format!("{start} fd {fd} is registered {asked}, and its edge of OUT is used up. {edge}")
}

fn blocked(view: &View) -> Option<&Call> {
    // With several threads one may well sleep in a read of its own; only a loop that has no other thread is stuck.
    let mut threads = view.threads();
    let (Some(only), None) = (threads.next(), threads.next()) else { return None };
    only.call.as_ref().filter(|call| !call.is_wait() && call.is_known())
}

fn blocking_cause(call: &Call, who: &str) -> String {
    let (name, fd) = (call.name, call.args[0] as i32);
    if call.kind == Kind::Close {
        return format!(
            "{who} sleeps in close on fd {fd} and serves no client: SO_LINGER with a time makes close wait until all is \
             acknowledged. Leave SO_LINGER alone: the kernel sends what is owed after the close too."
        );
    }
    if name == "futex" {
        return format!("{who} sleeps in futex: it waits for a lock or for another thread, and serves no client.");
    }
    if name.ends_with("nanosleep") {
        return format!(
            "{who} sleeps in {name} for a fixed time and serves no client meanwhile, and what it waits for \
             may not have come by then. Wait for it in the one wait, together with everything else."
        );
    }
    format!(
        "{who} sleeps inside {name} on fd {fd} and serves no client: that file descriptor lacks \
         O_NONBLOCK. Linux does not inherit it from the listener: set it on every accepted socket (accept4 with \
         SOCK_NONBLOCK, or fcntl)."
    )
}

fn wait_name(view: &View) -> &'static str {
    view.wait().map_or("a call", |call| call.name)
}

/// The view in lines: threads, the connection, the listener, rings.
pub fn describe(view: &View, socket: Option<&Socket>, facts: &Stalled) -> Vec<String> {
    let mut lines = threads(view);
    match socket {
        Some(socket) => {
            let fd = match (socket.holder(), view.registration(socket)) {
                (Some(_), Some(watch)) => {
                    format!("{}, registered {}", facts::whose(view, &socket.holders), watch.mask.asked_for())
                }
                (Some(_), None) => facts::whose(view, &socket.holders),
                (None, _) if socket.held => "open, and no file descriptor stands for it".into(),
                (None, _) => "not accepted yet".into(),
            };
            lines.push(format!(
                "the connection: {fd}; {} unread by the server, {} sent by it and not acknowledged",
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
        lines.push(format!("{} in the accept queue", facts::connections_wait(view.accept_queue())));
    }
    for ring in view.rings() {
        let armed = match ring.armed {
            1 => "1 operation waits for its socket".to_owned(),
            many => format!("{many} operations wait for their socket"),
        };
        lines.push(format!("ring fd {}: {}; {armed}", ring.fd, ring.queues()));
    }
    lines.extend(facts::sets(view));
    match &view.processes[..] {
        [] | [_] => lines.push(format!("{} file descriptors open", view.open_fds())),
        many => lines.extend(many.iter().take(6).map(|process| {
            let count = process.descriptors.open.len();
            format!("process {} ({}): {count} file descriptors open", process.pid, process.name)
        })),
    }
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

/// How it begins.
pub const STOPPED: &str = "The server is stopped (state T)";

/// What is to be said of a server that is stopped: it does nothing, and neither sleeps nor spins.
pub fn stopped(view: &View) -> Option<String> {
    let mut threads = view.threads().peekable();
    threads.peek()?;
    let all = threads.all(Thread::is_stopped);
    all.then(|| {
        format!(
            "{STOPPED}: something has sent it SIGSTOP, or one of the signals that stop a job \
             (SIGTSTP, SIGTTIN, SIGTTOU), and the harness has let it go on (SIGCONT) wherever it had stopped it itself."
        )
    })
}

/// Why a server that has nothing to do is not at rest.
pub fn spinning(view: &View) -> String {
    let level = view.registrations().filter(|(_, watch)| !watch.mask.has(Mask::ET));
    for (process, watch) in level {
        let (fd, mask) = (watch.fd, watch.mask.asked_for());
        if !process.descriptors.open.contains(&fd) {
            return format!(
                "fd {fd} is registered for {mask} and is not open any more: a duplicate (dup, try_clone, fork) keeps \
                 the socket, its connection and its registration alive{}. Close every duplicate too, or remove the \
                 registration (EPOLL_CTL_DEL) before the close.",
                facts::held_elsewhere(view, process.pid)
            );
        }
        let holder = Holder { pid: process.pid, fd };
        let Some(socket) = view.sockets.iter().find(|socket| socket.holders.contains(&holder)) else { continue };
        if socket.listening && socket.rx > 0 {
            return format!(
                "{} in the accept queue and the listener stays readable. Without a free file descriptor, stop watching it \
                 until one is free.",
                facts::connections_wait(socket.rx)
            );
        }
        if watch.mask.has(Mask::OUT) && socket.tx == 0 {
            return format!(
                "fd {fd} is registered for {mask} although nothing is owed to it, and an idle socket is always \
                 writable. Watch for OUT only while bytes are owed."
            );
        }
    }
    if view.accept_queue() > 0 {
        return format!(
            "{} in the accept queue: the server repeats an accept that fails (EMFILE) without a pause.",
            facts::connections_wait(view.accept_queue())
        );
    }
    if view.rings().next().is_some() {
        return usually(
            "its operations complete at once and are submitted again: with EAGAIN (MSG_DONTWAIT, where the kernel \
             should wait), or with an error or an end of input (0) that the server does not act on.",
        );
    }
    usually(
        "the server waits for something that is ready, and does not deal with it: end of input that it did not act on \
         (read returns 0 for ever, RDHUP stays set), an error or hang-up that it did not ask for, a closed file \
         descriptor left in the set, or write interest with nothing to write.",
    )
}
