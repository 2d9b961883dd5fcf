//! What a wait reported of one connection was given to another: two tables of the server's are out of step. And a server
//! that goes round by a flag of its own.
//!
//! Invariant: each rule compares what a wait said with the calls of the same turn of the same thread.

use observe::made::{Made, ThreadCalls};
use observe::syscall::Kind;

use super::{Case, Rule};
use crate::failure::Symptom::{self, Blocked, EofLost, ReadLost, Slow, Spinning, WriteLost, WrongBytes};

const CONFUSED: &[Symptom] = &[Spinning, ReadLost, WriteLost, EofLost, Blocked, Slow, WrongBytes];

pub(super) const RULES: &[Rule] = &[
    Rule { about: "an event that was given to the wrong connection", symptoms: CONFUSED, holds: out_of_step },
    Rule { about: "a flag of its own that keeps it going round", symptoms: &[Spinning], holds: own_flag },
];

/// A wait that reported connections, and the calls until the next wait.
struct Turn<'a> {
    wait: &'a Made,
    calls: Vec<&'a Made>,
}

fn turns(thread: &ThreadCalls) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for made in &thread.calls {
        if made.kind.is_wait() {
            turns.push(Turn { wait: made, calls: Vec::new() });
        } else if let Some(turn) = turns.last_mut() {
            turn.calls.push(made);
        }
    }
    turns
}

fn out_of_step(case: &Case<'_>) -> Option<String> {
    case.record.threads.values().find_map(|thread| {
        let turns = turns(thread);
        // The last turn may not be over yet.
        let (last, over) = turns.split_last()?;
        let is_touched = |fd: i32, at: u64| {
            let later = turns.iter().flat_map(|turn| &turn.calls).filter(move |made| made.at > at);
            later.into_iter().any(|made| made.fd == Some(fd))
        };
        let wrong = |turn: &Turn<'_>| {
            let moves = || turn.calls.iter().filter(|made| matches!(made.kind, Kind::Read | Kind::Write));
            let is_reported = |made: &&&Made| made.fd.is_some_and(|fd| turn.wait.said_of(fd).is_some());
            if turn.wait.events.is_empty() || moves().any(|made| is_reported(&made)) {
                return None;
            }
            let (reported, mask) = turn.wait.events.iter().find(|(fd, _)| !is_touched(*fd, turn.wait.at))?;
            let in_vain = moves().find(|made| made.client.is_some() && made.failed_with(libc::EAGAIN))?;
            let waits = turn.wait.name.as_str();
            Some(format!(
                "It gave an event to the wrong connection: {waits} reported fd {reported} {mask}, and then came {in_vain}, on \
                 a descriptor of which nothing was reported. Two tables are out of step, such as the list that is waited for \
                 and the list of the connections: whatever is added to one, taken out of it, or moved in it, has to be in the \
                 other too, and in the same way."
            ))
        };
        let of_a_turn_that_blocks = last.calls.iter().any(|made| made.value.is_none()).then_some(last);
        over.iter().rev().chain(of_a_turn_that_blocks).find_map(wrong)
    })
}

fn own_flag(case: &Case<'_>) -> Option<String> {
    let busiest = case.record.threads.values().max_by_key(|thread| thread.calls.len())?;
    let waits: Vec<&Made> = busiest.calls.iter().filter(|made| made.kind.is_wait() && made.value.is_some()).collect();
    let asks = |made: &&&Made| made.value == Some(0) && !made.timed && made.kind != Kind::UringEnter;
    let in_vain = waits.iter().filter(asks).count();
    let wait = waits.iter().rfind(asks)?;
    if in_vain < 8 || in_vain * 4 < waits.len() * 3 {
        return None;
    }
    let tries = || busiest.calls.iter().filter(|made| made.client.is_some() && made.failed_with(libc::EAGAIN));
    if tries().count() * 4 < in_vain {
        return None;
    }
    let tried = tries().next_back()?;
    Some(format!(
        "Its own flag keeps it going round: {wait}, {in_vain} times among its last {} waits, and {tried}. The kernel has nothing to \
         report. The server does not sleep, because something of its own (a flag, a list of what is ready) says that there \
         is work. Take that back as soon as nothing more can be done: at EAGAIN, and when a connection is closed.",
        waits.len()
    ))
}
