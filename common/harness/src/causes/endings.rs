//! Why the server ended a connection too early: what it did just before its close.
//!
//! Invariant: each rule is about the last close on the connection, and looks at what the closing thread did before it.

use observe::Mask;
use observe::made::{Made, bytes};
use observe::syscall::Kind;

use super::{Case, Rule};
use crate::failure::Symptom::{self, Blocked, EofLost, Exited, Leak, Refused, Reset, Truncated};
use crate::kevent::RDHUP_OR_EOF;

const ENDS: &[Symptom] = &[Reset, Truncated, Refused];

const fn rule(about: &'static str, holds: fn(&Case<'_>) -> Option<String>) -> Rule {
    Rule { about, symptoms: ENDS, holds }
}

pub(super) const RULES: &[Rule] = &[
    rule("an event of the descriptor's last owner", last_owner),
    rule("two threads that close one connection", closed_twice),
    rule("a read of length 0 taken for the end", zero_length),
    rule("EPOLLERR of a zero-copy notification taken for an error", error_queue),
    rule("urgent data taken for an error", urgent),
    rule("the end is announced before the bytes are read", hang_up_first),
    rule("an error that is none taken for the end", try_again),
    rule("the client's FIN taken for the end of what is owed", finished_first),
    rule("a wait's end without an event taken for the end", timed_out),
    rule("closed while bytes are owed", owed),
    rule("closed with unread input", unread),
    rule("closed before anything was read", at_once),
    Rule { about: "a parent that keeps its copy", symptoms: &[EofLost, Blocked, Leak], holds: parents_copy },
    Rule { about: "a failed read, and no close", symptoms: &[Leak], holds: not_closed },
    Rule { about: "the last call before the exit", symptoms: &[Exited], holds: exit },
];

pub(super) const FIRST: &[Rule] =
    &[Rule { about: "a close with an operation in flight", symptoms: &[EofLost, Leak], holds: in_flight }];

/// The call that ended the connection.
fn close<'a>(case: &Case<'a>) -> Option<&'a Made> {
    let moved: Vec<i32> =
        case.backwards().filter(|made| matches!(made.kind, Kind::Read | Kind::Write)).map(|made| made.pid).collect();
    // A process that only passes the connection on closes its own copy, which ends nothing.
    let passes_on = |pid: i32| !moved.is_empty() && !moved.contains(&pid);
    case.backwards().find(|made| {
        let shut = made.kind == Kind::Shutdown && made.words.iter().any(|how| how != "SHUT_RD");
        made.error().is_none() && (shut || made.kind == Kind::Close && !passes_on(made.pid))
    })
}

/// The last read, write or event on the connection before its close.
fn before_close<'a>(case: &Case<'a>, close: &Made) -> Option<&'a Made> {
    let at = close.at;
    case.backwards().find(|made| {
        made.at < at && (matches!(made.kind, Kind::Read | Kind::Write) || made.kind.is_wait()) && made.value.is_some()
    })
}

fn last_owner(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let fd = close.fd?;
    let turn: Vec<&Made> = case.turn_before(close).collect();
    // Who accepts, passes each connection on and closes its copy acts on no event.
    turn.last().filter(|made| made.kind.is_wait())?;
    let earlier = turn.iter().find(|made| {
        made.kind == Kind::Close && made.fd == Some(fd) && made.client.is_some() && made.client != close.client
    })?;
    turn.iter().find(|made| made.kind == Kind::Accept && made.value == Some(fd.into()) && made.at > earlier.at)?;
    Some(format!(
        "It acted on an event of the descriptor's last owner: between two waits it closed fd {fd}, accepted another \
         client as fd {fd}, and closed that one too. A batch can hold two events of one connection. After a close, \
         events of the same batch must not find the next owner: compare a generation, or close at the batch's end."
    ))
}

fn closed_twice(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let fd = close.fd?;
    let all = case.record.in_order();
    let of_fd = |made: &&&Made| made.kind == Kind::Close && made.pid == close.pid && made.fd == Some(fd);
    // The thread that closed it had another client's connection under that number, and another thread closed that.
    let served = |client: u16| {
        all.iter().any(|made| made.tid == close.tid && made.client == Some(client) && made.kind != Kind::Close)
    };
    if served(close.client?) {
        return None;
    }
    let first = all.iter().filter(of_fd).rfind(|made| made.at < close.at && made.tid != close.tid)?;
    (first.client != close.client).then(|| {
        format!(
            "Two threads close one connection: thread {} closed fd {fd}, the number went to the next client, and thread \
             {}, which has not served that client, closed fd {fd} once more. Let one thread close it: the one that is \
             done last.",
            first.tid, close.tid
        )
    })
}

fn zero_length(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let read = case.connection?.last_read.as_ref().filter(|read| read.at < close.at)?;
    (read.length == Some(0) && read.value == Some(0)).then(|| {
        format!(
            "It took {read} for the end of input, and closed. A read of length 0 returns 0 whatever waits: its buffer \
             had no room. Read only while there is room."
        )
    })
}

fn error_queue(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let event = case.last_event().filter(|event| event.at <= close.at)?;
    let mask = event.said_of(event.events[0].0)?;
    let sends = case.record.zero_copy.0 > 0;
    (sends && mask.has(Mask::ERR) && !mask.has(Mask::HUP)).then(|| {
        format!(
            "It took {mask} for an error, and closed. After a send with MSG_ZEROCOPY, EPOLLERR says that a \
             notification waits in the error queue: read that (recvmsg with MSG_ERRQUEUE), and go on."
        )
    })
}

fn urgent(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let event = case.last_event().filter(|event| event.at <= close.at)?;
    let mask = event.said_of(event.events[0].0)?;
    let since = case.backwards().take_while(|made| made.at > event.at);
    let read_normally = since.filter(|made| made.at < close.at).any(|made| made.kind == Kind::Read && made.moved() > 0);
    (mask.has(Mask::PRI) && !mask.has(Mask(Mask::ERR.0 | Mask::HUP.0)) && !read_normally).then(|| {
        format!(
            "It took urgent data for an error: {} reported {mask}, and it closed. PRI, select's third set, says that \
             urgent data came, which is no error. Do not wait for it.",
            event.name
        )
    })
}

fn hang_up_first(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let event = case.last_event().filter(|event| event.at <= close.at)?;
    let mask = event.said_of(event.events[0].0)?;
    // With ERR the connection is over: a reset, or a timeout of the kernel (TCP_USER_TIMEOUT).
    let ended = mask.has(Mask(Mask::RDHUP.0 | Mask::HUP.0)) && !mask.has(Mask::ERR);
    let mut since = case.backwards().take_while(|made| made.at > event.at);
    // It may have read for a turn. A read that failed, or returned 0, is another story.
    let read = since.find(|made| made.kind == Kind::Read);
    let after = if read.is_some() { " and it had read for a turn" } else { "" };
    (ended && close.unread > 0 && read.is_none_or(|read| read.moved() > 0)).then(|| {
        format!(
            "It closed when {} reported {mask}{after}, with {} unread. {RDHUP_OR_EOF} says that the client sends \
             no more, and not that all was read: read until 0, answer, and then close. A close with unread input \
             sends a reset.",
            event.name,
            bytes(close.unread)
        )
    })
}

fn try_again(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let made = before_close(case, close)?;
    let error = made.error()?;
    // After a wait that brought nothing of this connection, it is something else that ended it.
    let waited = |between: &Made| between.kind.is_wait() && between.at > made.at && between.value.is_some();
    if !made.is_operation() && case.before(close).any(waited) {
        return None;
    }
    let purpose = match (made.kind, error) {
        (Kind::Write, libc::EAGAIN) => {
            "EAGAIN at a write says that the socket is full: keep the bytes, and send them when it is writable."
        }
        (Kind::Read, libc::EAGAIN) => "EAGAIN at a read says that there is nothing more now: wait.",
        (_, libc::EINTR) => "EINTR says that a signal came: make the call again.",
        (_, libc::ENOBUFS) => "ENOBUFS says that there is no buffer now: give buffers back, and try again.",
        _ => return None,
    };
    Some(format!("It took {made} for an error, and closed. {purpose} It is no reason to close."))
}

fn finished_first(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let made = before_close(case, close)?;
    let eof = made.kind == Kind::Read && made.value == Some(0);
    let rdhup = made.kind.is_wait() && made.events.iter().any(|(_, mask)| mask.has(Mask(Mask::RDHUP.0 | Mask::HUP.0)));
    let owed = case.owed();
    ((eof || rdhup) && owed > 0 && close.unread == 0).then(|| {
        // No send had failed or was short since the last bytes came, so it may not know that it owes any.
        let since = case.backwards().filter(|made| matches!(made.kind, Kind::Read | Kind::Write) && made.at < close.at);
        let mut sends = since.skip_while(|made| made.value == Some(0)).take_while(|made| made.kind == Kind::Write);
        if let Some(send) = sends.next().filter(|send| send.length.is_some_and(|length| send.moved() == length)) {
            return format!(
                "It closed at the client's FIN with {} owed, and its last send, {send}, took all that it was given. If it \
                 was to send more, it took the FIN for the end of everything: first send what is owed. If not, it has \
                 lost count: count what a read returns (in a usize) and what a send takes (all pieces of a writev).",
                bytes(owed)
            );
        }
        format!(
            "It took the client's FIN for the end of everything: after {made} it closed with {} owed. The client still \
             reads: first send what is owed, then close.",
            bytes(owed)
        )
    })
}

fn timed_out(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let wait = case.turn_before(close).find(|made| made.kind.is_wait())?;
    (wait.timed && wait.value == Some(0)).then(|| {
        format!(
            "It closed after {wait}: a time was over, and nothing had happened on this connection. A client that is \
             slow is served as long as it is there."
        )
    })
}

fn owed(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let (owed, made) = (case.owed(), before_close(case, close)?);
    let why = match made.kind {
        Kind::Write if made.length.is_some_and(|length| made.moved() < length) => {
            "A short write is not the end: keep the rest, and send it when the socket is writable."
        }
        _ => "First send what is owed, then close.",
    };
    let unread = if close.unread > 0 { format!(", and {} unread", bytes(close.unread)) } else { String::new() };
    (owed > 0).then(|| format!("After {made} it closed with {} owed{unread}. {why}", bytes(owed)))
}

fn unread(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    if close.lingers_not {
        return Some("It closed with SO_LINGER at 0 seconds, by which the kernel sends a reset and no FIN.".into());
    }
    let before = before_close(case, close).map_or_else(String::new, |made| format!("After {made} it closed: "));
    (close.unread > 0).then(|| {
        format!(
            "{before}{close}. The kernel answers unread input with a reset, and the client loses what was under way: \
             read until 0, then close."
        )
    })
}

fn at_once(case: &Case<'_>) -> Option<String> {
    let close = close(case)?;
    let connection = case.connection?;
    (connection.read == 0 && before_close(case, close).is_none()).then(|| {
        let before = case.turn_before(close).find(|made| made.error().is_some());
        let after = before.map_or_else(String::new, |made| format!(", after {made}"));
        format!("It closed the connection before it had read anything{after}.")
    })
}

/// A child serves the connection, and the parent that accepted it has not closed its copy.
fn parents_copy(case: &Case<'_>) -> Option<String> {
    let kept = case.record.connections.values().find_map(|connection| {
        let accepted = connection.accepted.as_ref()?;
        let read = connection.calls.iter().find(|made| made.kind == Kind::Read && made.pid != accepted.pid)?;
        (!connection.closed_by.contains(&accepted.pid)).then_some((accepted, read))
    })?;
    let (accepted, read) = kept;
    Some(format!(
        "Process {} made {accepted} and never closed its copy; process {} serves the connection. FIN is sent when the last \
         copy is closed: after the fork the parent closes the connection, and the child the listener.",
        accepted.pid, read.pid
    ))
}

/// An operation was under way on the connection when its descriptor was closed, and nothing cancelled it.
fn in_flight(case: &Case<'_>) -> Option<String> {
    let cancels = |made: &&Made| matches!(made.name.as_str(), "ASYNC_CANCEL" | "POLL_REMOVE");
    let (operation, close) = case.record.connections.values().find_map(|connection| {
        let close = connection.calls.iter().rfind(|made| made.kind == Kind::Close && made.error().is_none())?;
        let is_of_it = |made: &&Made| {
            made.is_operation() && made.at < close.at && matches!(made.kind, Kind::Read | Kind::Write | Kind::Poll)
        };
        let of_it: Vec<&Made> = connection.calls.iter().filter(is_of_it).collect();
        let goes_on = |made: &&&Made| {
            let last = of_it.iter().rfind(|other| other.name == made.name);
            last.is_some_and(|last| last.at == made.at) && (made.value.is_none() || made.more)
        };
        let operation = *of_it.iter().find(goes_on)?;
        let thread = case.record.threads.get(&close.tid)?;
        // What was forgotten of its calls may be a cancellation. One that is made after the close is submitted by the next call.
        let is_kept = thread.calls.front().is_some_and(|first| first.at <= operation.at);
        let mut enters = thread.calls.iter().filter(|made| made.kind == Kind::UringEnter && made.at > close.at);
        let end = enters.nth(1).map_or(u64::MAX, |enter| enter.at);
        let mut meanwhile = thread.calls.iter().filter(|made| made.at > operation.at && made.at < end);
        (is_kept && !meanwhile.any(|made| cancels(&made))).then_some((operation, close))
    })?;
    let fd = close.fd?;
    Some(format!(
        "{}({fd}) came while {} on fd {fd} was in flight, and nothing cancelled it. close(2) only gives up the number: the \
         operation keeps the socket, and the kernel sends no FIN. Cancel what is in flight before you close \
         (IORING_OP_ASYNC_CANCEL, by descriptor or by user_data), on every way that ends a connection.",
        close.name, operation.name
    ))
}

fn not_closed(case: &Case<'_>) -> Option<String> {
    let left = case.record.connections.values().find_map(|connection| {
        let closed = connection.calls.iter().any(|made| made.kind == Kind::Close);
        let last = connection.calls.iter().rev().find(|made| made.kind != Kind::EpollCtl)?;
        let ended = match last.kind {
            Kind::Read => last.value == Some(0) || last.error().is_some_and(|error| error != libc::EAGAIN),
            Kind::Write => last.error().is_some_and(|error| error != libc::EAGAIN),
            Kind::Shutdown => last.words.iter().any(|how| how == "SHUT_RDWR"),
            kind if kind.is_wait() => last.events.iter().any(|(_, mask)| mask.has(Mask(Mask::ERR.0 | Mask::HUP.0))),
            _ => false,
        };
        (!closed && ended).then_some((connection, last))
    })?;
    let (connection, last) = left;
    let fd =
        connection.accepted.as_ref().and_then(|made| made.value).map_or_else(String::new, |fd| format!(" of fd {fd}"));
    Some(format!(
        "After {last} no close{fd} came, and nothing else was done with it. The connection was not closed. A read of 0 \
         with nothing owed, a failed read or write, ERR and HUP all end a connection: close it then."
    ))
}

fn exit(case: &Case<'_>) -> Option<String> {
    let all = case.record.in_order();
    let exit = all.iter().rfind(|made| made.kind == Kind::Exit && made.name == "exit_group");
    let of_thread =
        |tid: i32, at: u64| all.iter().rfind(move |made| made.tid == tid && made.at < at && made.error().is_some());
    match exit {
        Some(exit) => {
            let Some(failed) = of_thread(exit.tid, exit.at) else { return event_before(case, exit) };
            // On its way out it closes what it has, and writes its last words.
            let is_farewell = |made: &Made| {
                made.kind == Kind::Close && made.error().is_none() || made.kind == Kind::Write && made.client.is_none()
            };
            let between = |made: &&&Made| made.tid == exit.tid && made.at > failed.at && made.at < exit.at;
            let near = all.iter().filter(between).filter(|made| !is_farewell(made)).count();
            // What failed long ago has not ended it.
            if near > 12 || failed.failed_with(libc::EAGAIN) {
                return event_before(case, exit);
            }
            Some(format!("the last call that failed before its exit was {failed}."))
        }
        None => {
            let last = all.iter().rfind(|made| made.error() == Some(libc::EPIPE))?;
            Some(format!("its last call was {last}."))
        }
    }
}

/// No call failed: an error that a wait reported may have ended it.
fn event_before(case: &Case<'_>, exit: &Made) -> Option<String> {
    let wait = case.turn_before(exit).find(|made| made.kind.is_wait())?;
    let (fd, mask) = wait.events.iter().find(|(_, mask)| mask.has(Mask(Mask::ERR.0 | Mask::HUP.0)))?;
    Some(format!("the last wait before its exit was {}, which reported fd {fd} {mask}.", wait.name))
}
