//! Why a connection does not go on: the last calls on it, and what the server did not do then.
//!
//! Invariant: each rule names the last call that was made, and the one that is missing.

use observe::Mask;
use observe::made::{Made, bytes};
use observe::syscall::Kind;

use super::{Case, Rule};
use crate::failure::Symptom::{self, AcceptQueueNotDrained, EofLost, ReadLost, Slow, Starved, WriteLost};

pub(super) const RULES: &[Rule] = &[
    Rule { about: "a deadline that a signal cut off", symptoms: &[AcceptQueueNotDrained, Slow], holds: cut_off },
    Rule { about: "DEFER_TASKRUN without GETEVENTS", symptoms: STALLS, holds: deferred },
    Rule { about: "a receive or accept of a ring that was not armed again", symptoms: STALLS, holds: not_armed },
    Rule { about: "a full pipe taken for an empty socket", symptoms: STALLS, holds: full_pipe },
    Rule { about: "accepts that stop too early", symptoms: &[AcceptQueueNotDrained], holds: accepts },
    Rule { about: "an event that was not used", symptoms: &[ReadLost, EofLost, WriteLost], holds: unused },
    Rule { about: "a read that stops too early", symptoms: &[ReadLost, EofLost], holds: stops_reading },
    Rule { about: "end of input that is not acted on", symptoms: &[EofLost], holds: end_of_input },
    Rule { about: "a write that was not made", symptoms: &[WriteLost], holds: unwritten },
    Rule { about: "a turn without an end", symptoms: &[Starved], holds: long_turn },
];

pub(super) const FIRST: &[Rule] = &[Rule {
    about: "an accept that failed, and no other one",
    symptoms: &[AcceptQueueNotDrained],
    holds: accept_failed,
}];

const STALLS: &[Symptom] = &[AcceptQueueNotDrained, ReadLost, EofLost, WriteLost, Slow];

/// Completions that only a call with GETEVENTS delivers.
fn deferred(case: &Case<'_>) -> Option<String> {
    const DEFER_TASKRUN: u64 = 1 << 13;
    let all = case.record.in_order();
    let enters: Vec<&&Made> = all.iter().filter(|made| made.kind == Kind::UringEnter).collect();
    let gets = enters.iter().rev().take(8).any(|made| made.words.iter().any(|word| word.starts_with("wait for")));
    (case.record.ring_flags & DEFER_TASKRUN != 0 && !gets).then(|| {
        let last = enters.last().map_or("it made no io_uring_enter".to_owned(), |made| format!("its last call was {made}"));
        format!(
            "The ring has IORING_SETUP_DEFER_TASKRUN, under which completions are delivered only in io_uring_enter with \
             IORING_ENTER_GETEVENTS, and {last}. Call it with GETEVENTS before you look at the completion queue."
        )
    })
}

/// The last completion of a receive or an accept, after which nothing was submitted.
fn not_armed(case: &Case<'_>) -> Option<String> {
    let all = case.record.in_order();
    let of_ring = |kind: Kind| all.iter().rfind(|made| made.is_operation() && made.kind == kind);
    let accepts = case.symptom == AcceptQueueNotDrained;
    let of_connection = |made: &&Made| made.is_operation() && matches!(made.kind, Kind::Read | Kind::Write);
    let last = if accepts { *of_ring(Kind::Accept)? } else { case.backwards().find(of_connection)? };
    if !accepts && is_closed(case) {
        return None;
    }
    // One that goes on is still armed.
    let value = last.value.filter(|_| !last.more)?;
    let failed = if value < 0 { " An error ends a multishot too." } else { "" };
    Some(format!(
        "{last}, and no operation was submitted {} since. Each completion, and each end of a multishot (a completion without \
         F_MORE), has to start the next operation.{failed}",
        if accepts { "on the listener" } else { "on this connection" }
    ))
}

fn cut_off(case: &Case<'_>) -> Option<String> {
    case.record.threads.values().find_map(|thread| {
        let waits: Vec<&Made> = thread.calls.iter().filter(|made| made.kind.is_wait()).collect();
        let [.., cut, last] = waits[..] else { return None };
        (cut.timed && cut.failed_with(libc::EINTR) && !last.timed && last.value.is_none()).then(|| {
            format!(
                "Its deadline was cut off by a signal: {cut}, and it waits without a timeout since. After EINTR wait for \
                 the rest of the time."
            )
        })
    })
}

/// The last call of accept that has returned.
fn last_accept<'a>(case: &Case<'a>) -> Option<&'a Made> {
    case.record.in_order().into_iter().rfind(|made| made.kind == Kind::Accept && made.value.is_some())
}

/// What epoll was last asked of the listener that this call accepted from.
fn listener_asked(case: &Case<'_>, accept: &Made) -> Option<Mask> {
    let registers = |made: &&Made| made.kind == Kind::EpollCtl && made.value == Some(0) && made.fd == accept.fd;
    let (_, mask) = case.record.in_order().into_iter().rfind(registers)?.asked.first()?;
    Some(*mask)
}

/// The connections wait because of that, and not because the server accepted too few for an event.
fn accept_failed(case: &Case<'_>) -> Option<String> {
    let last = last_accept(case).filter(|made| !made.is_operation())?;
    let why = match last.error()? {
        libc::EAGAIN => return None,
        libc::EMFILE | libc::ENFILE => "there was no free descriptor",
        libc::ENOBUFS | libc::ENOMEM => "there was no memory",
        _ => "the accept failed",
    };
    let by_edge = listener_asked(case, last).is_some_and(|mask| mask.has(Mask::ET));
    let edge = if by_edge { ", and the edge that told of it is used up" } else { "" };
    Some(format!(
        "{last}: {why}, and no other accept was made since. An accept that fails leaves its connection in the queue{edge}."
    ))
}

fn accepts(case: &Case<'_>) -> Option<String> {
    let last = last_accept(case)?;
    // A level is reported again: who stops early comes back.
    let wait = case.before(last).find(|made| made.kind.is_wait());
    let by_level = listener_asked(case, last).is_some_and(|mask| !mask.has(Mask::ET));
    if by_level || wait.is_some_and(|wait| !last.is_operation() && matches!(wait.kind, Kind::Poll | Kind::Select)) {
        return None;
    }
    match last.error() {
        Some(_) => None,
        None if last.is_operation() && last.more => None,
        None if last.is_operation() => Some(format!("its last accept was {last}, and it armed no other one.")),
        None => {
            let turn: Vec<&Made> = case.turn_before(last).collect();
            let number = turn.iter().filter(|made| made.kind == Kind::Accept).count() + 1;
            let after = match turn.last() {
                Some(wait) if wait.kind.is_wait() && wait.events.is_empty() => wait.to_string(),
                _ => "its event".to_owned(),
            };
            Some(format!("its last accept was {last}, number {number} after {after}, and EAGAIN was not reached."))
        }
    }
}

/// It was closed, and what follows is not about its end.
fn is_closed(case: &Case<'_>) -> bool {
    case.backwards().any(|made| made.kind == Kind::Close)
}

/// A wait said something of the connection, and nothing was done.
fn unused(case: &Case<'_>) -> Option<String> {
    if is_closed(case) {
        return None;
    }
    let event = case.last_event()?;
    let mask = event.said_of(event.events[0].0)?;
    let since: Vec<&Made> = case.backwards().take_while(|made| made.at > event.at).collect();
    let did = |kind: Kind| since.iter().any(|made| made.kind == kind);
    if mask.has(Mask::IN) && mask.has(Mask::OUT) && !did(Kind::Write) && case.owed() > 0 {
        return Some(format!(
            "{} reported {mask} of this connection, OUT came together with IN, and no write followed. Look at both, without \
             an else.",
            event.name
        ));
    }
    (!did(Kind::Read) && !did(Kind::Write)).then(|| {
        format!(
            "{} reported {mask} of this connection, and neither a read nor a write followed: the event was dropped.",
            event.name
        )
    })
}

/// splice has two ends, and its EAGAIN does not say which of them would block.
fn full_pipe(case: &Case<'_>) -> Option<String> {
    if is_closed(case) {
        return None;
    }
    let read = case.last(Kind::Read)?;
    (read.name == "splice" && read.failed_with(libc::EAGAIN) && read.unread > 0).then(|| {
        format!(
            "{read}: the pipe was full, and the server took the EAGAIN for an empty socket. splice says EAGAIN when either \
             end would block. While the pipe holds bytes, empty it, and splice from the socket again before you wait."
        )
    })
}

fn stops_reading(case: &Case<'_>) -> Option<String> {
    if is_closed(case) {
        return None;
    }
    // poll and select report again what was left, and so does epoll without edges.
    let event = case.last_event();
    if event.is_some_and(|event| matches!(event.kind, Kind::Poll | Kind::Select)) {
        return None;
    }
    let asked = asked_of(case);
    let is_asked_for = asked.iter().any(|(_, mask)| mask.has(Mask::IN));
    if let Some((last, _)) = asked.last().filter(|_| !is_asked_for)
        && !event.is_some_and(|event| event.at > last.at && event.events[0].1.has(Mask::IN))
    {
        return Some(format!("the last epoll_ctl of this connection was {last}, and IN was not asked for again."));
    }
    if is_asked_for && asked.iter().all(|(_, mask)| !mask.has(Mask::ET)) {
        return None;
    }
    let read = case.last(Kind::Read)?;
    let length = read.length.filter(|length| *length > 0)?;
    let eof = if case.symptom == EofLost { ": the read that returns 0 was not made" } else { "" };
    match read.value? {
        value if value as u64 == length => Some(format!(
            "its last read was {read}, which filled the buffer, and no other one followed{eof}. Read until EAGAIN or 0, or \
             come back by yourself."
        )),
        value if value > 0 => Some(format!(
            "its last read was {read}. It took the short read for the end of what there is, and no other read followed{eof}. \
             Read until EAGAIN or 0."
        )),
        _ => None,
    }
}

/// Of each epoll instance that the connection is registered with, the last call that worked, and what it asks for. A call
/// that failed has changed nothing, and a connection may be in one instance for input and in another for output.
fn asked_of<'a>(case: &Case<'a>) -> Vec<(&'a Made, Mask)> {
    let mut asked: Vec<(&Made, Mask)> = Vec::new();
    let worked = |made: &&Made| made.kind == Kind::EpollCtl && made.value == Some(0);
    for made in case.connection.into_iter().flat_map(|connection| &connection.calls).filter(worked) {
        asked.retain(|(earlier, _)| earlier.words.first() != made.words.first());
        asked.extend(made.asked.first().map(|(_, mask)| (made, *mask)));
    }
    asked
}

fn end_of_input(case: &Case<'_>) -> Option<String> {
    let read = case.last(Kind::Read)?;
    (read.value == Some(0) && !is_closed(case))
        .then(|| format!("{read}, and no close followed: the end of input was read, and is not acted on."))
}

fn unwritten(case: &Case<'_>) -> Option<String> {
    let owed = case.owed();
    if owed == 0 {
        return None;
    }
    let Some(write) = case.last(Kind::Write) else {
        let read = case.last(Kind::Read)?;
        return Some(format!(
            "after {read} it made no write at all: {} in its own memory, as if more had to come (the end of a line, a \
             full buffer) before {} sent.",
            if owed == 1 { "1 byte stays".to_owned() } else { format!("{} stay", bytes(owed)) },
            if owed == 1 { "it is" } else { "they are" }
        ));
    };
    let asked = case.backwards().take_while(|made| made.at > write.at).find(|made| made.kind == Kind::EpollCtl);
    let short = write.failed_with(libc::EAGAIN)
        || write.error().is_none() && write.length.is_some_and(|length| write.moved() < length);
    let then = match asked.and_then(|made| made.asked.first()) {
        Some((_, mask)) if mask.has(Mask::OUT) => "it asked for OUT, and made no write since".to_owned(),
        _ => out_not_asked(case, write).unwrap_or_else(|| "no write followed".to_owned()),
    };
    if short {
        let owed = if owed == 1 { "1 byte is".to_owned() } else { format!("{} are", bytes(owed)) };
        return Some(format!("its last write was {write}, the socket was full, and {then}. {owed} owed."));
    }
    Some(format!(
        "its last write, {write}, was taken whole, and {} more that it has read stay in its own memory (a buffered reader or \
         writer, a record), while it waits for the socket: the socket will not say anything about them. Go round until \
         the buffer is empty, then wait.",
        bytes(owed)
    ))
}

/// That nobody asks for OUT on this connection after its last write: it was not asked for, or not any more.
fn out_not_asked(case: &Case<'_>, write: &Made) -> Option<String> {
    let asked = asked_of(case);
    if let Some((last, _)) = asked.last() {
        let is_asked_for = asked.iter().any(|(_, mask)| mask.has(Mask::OUT));
        let is_out = |made: &Made| made.at > last.at && made.events.iter().any(|(_, mask)| mask.has(Mask::OUT));
        return (!is_asked_for && !case.backwards().any(is_out))
            .then(|| format!("it did not ask for OUT: the last epoll_ctl of this connection was {last}"));
    }
    let fd = write.fd?;
    let thread = case.record.threads.get(&write.tid)?;
    let asked_of = |made: &Made| made.asked.iter().find(|(of, _)| *of == fd).map(|(_, mask)| *mask);
    let waits: Vec<(&Made, Mask)> = thread
        .calls
        .iter()
        .filter(|made| made.kind == Kind::Poll && made.at > write.at)
        .filter_map(|made| Some((made, asked_of(made)?)))
        .collect();
    let (_, last) = waits.last().filter(|(_, mask)| !mask.has(Mask::OUT))?;
    let Some((before, _)) = waits.iter().rfind(|(_, mask)| mask.has(Mask::OUT)) else {
        return Some(format!("poll is asked for {last} on fd {fd}, and not for OUT"));
    };
    let closed = thread.calls.iter().find(|made| made.at > before.at && made.kind == Kind::Close);
    let moved = closed.map_or_else(String::new, |close| format!(", after {close},"));
    Some(format!(
        "poll was asked for OUT on fd {fd} at first, and{moved} for {last} alone: what is asked of a connection has to stay \
         with it, also when its entry of the list moves"
    ))
}

fn long_turn(case: &Case<'_>) -> Option<String> {
    let longest = case.record.threads.values().find_map(|thread| {
        let mut calls = 0;
        for made in &thread.calls {
            calls = if made.kind.is_wait() { 0 } else { calls + 1 };
        }
        let last = thread.calls.back()?;
        (calls >= 32).then_some((calls, last))
    })?;
    let (calls, last) = longest;
    Some(format!("its last {calls} calls or more were made without a wait between them, the last one {last}."))
}
