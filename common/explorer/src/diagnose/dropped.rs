//! Bytes that the server has read and did not send: which write left them, and how many they are.
//!
//! Invariant: a write is named only if the bytes that it left are the ones that are missing, by their place in the stream.

use observe::advice;

use super::{calls, shown};
use crate::record::{ConnectionState, Event, ServerCall};
use crate::run::{Missing, Run};

/// What became of bytes that are missing, if the run shows it.
pub fn diagnose(run: &Run, missing: Missing) -> Option<String> {
    let Missing { client, at, bytes, passed_over } = missing;
    if !passed_over {
        return held_at_the_close(run, client);
    }
    let left = left(run, client, at);
    if let Some((write, _)) = left.first() {
        let dropped = match others(&left, bytes) {
            Some(0) => format!("The server dropped the rest: {bytes} bytes of c{client}"),
            Some(1) => format!("The server dropped the rest, and what the next write left: {bytes} bytes of c{client}"),
            Some(n) => {
                format!("The server dropped the rest, and what the next {n} writes left: {bytes} bytes of c{client}")
            }
            None => format!("At this place of the stream, the server dropped {bytes} bytes of c{client}"),
        };
        return Some(format!(
            "{}, because c{client}'s socket was full. {dropped}{}. Instead, {}.",
            took(write),
            in_the_end(run, client, bytes),
            advice::KEEP_THE_REST
        ));
    }
    let all_lengths_are_known = writes(run, client).all(|write| asked(write).is_some());
    let seen = writes(run, client).next().is_some();
    if seen && all_lengths_are_known {
        let read = reader_of(run, client, at).map_or_else(String::new, |read| format!(" ({})", shown(read)));
        return Some(format!(
            "The server read {bytes} bytes of c{client}{read} and gave them to no write. The next write of c{client} began \
             behind them."
        ));
    }
    Some(format!("The server read {bytes} bytes of c{client}, did not send them, and sent what came behind them."))
}

/// The server has closed, and had bytes that it did not give to the kernel.
fn held_at_the_close(run: &Run, client: usize) -> Option<String> {
    let mut held = 0;
    let mut at_close = None;
    for event in &run.events {
        if let Event::Call(call) = event
            && matches!(call.name.as_str(), "close" | "shutdown")
            && call.client == Some(client)
        {
            at_close = Some((call, held));
        }
        held = event.state().and_then(|state| of(&state.connections, client)).map_or(held, |it| it.held);
    }
    let (close, held) = at_close.filter(|(_, held)| *held > 0)?;
    let write = writes(run, client).filter(|write| is_incomplete(write)).last();
    let why = match write {
        Some(write) => format!(
            " {}, because c{client}'s socket was full: {}, and close only then.",
            took(write),
            advice::KEEP_THE_REST
        ),
        None => " Send what was read before you close.".to_owned(),
    };
    Some(format!(
        "{} came while the server had {held} bytes of c{client} that it had read and not sent.{why}",
        shown(close)
    ))
}

/// Every write of a client that left bytes behind the first `at` ones, and how many.
fn left(run: &Run, client: usize, at: u64) -> Vec<(&ServerCall, u64)> {
    let mut given = 0;
    let mut left = Vec::new();
    for write in writes(run, client) {
        let taken = u64::try_from(write.value).unwrap_or(0);
        given += taken;
        if given == at && is_incomplete(write) {
            left.push((write, asked(write).unwrap_or(0).saturating_sub(taken)));
        }
    }
    left
}

/// How many writes behind the first one left the missing bytes; `None` if they do not add up to them. A server may try
/// once more to send what the first write left.
fn others(left: &[(&ServerCall, u64)], missing: u64) -> Option<usize> {
    let adds_up = |left: &[(&ServerCall, u64)]| {
        let mut sum = 0;
        left.iter().position(|(_, rest)| {
            sum += rest;
            sum == missing
        })
    };
    match left {
        [(_, first), (_, second), ..] if first == second => adds_up(left).or_else(|| adds_up(&left[1..])),
        _ => adds_up(left),
    }
}

/// If more was dropped in other places: how much in all. Known only if no write was tried again.
fn in_the_end(run: &Run, client: usize, bytes: u64) -> String {
    let taken = |write: &ServerCall| u64::try_from(write.value).unwrap_or(0);
    let all: u64 = writes(run, client).filter_map(|write| Some(asked(write)?.saturating_sub(taken(write)))).sum();
    let held = run.end.as_ref().and_then(|end| of(&end.connections, client)).map_or(0, |it| it.held);
    if all > bytes && u64::try_from(held) == Ok(all) { format!(" here, and {all} in all") } else { String::new() }
}

/// `sendto(5 c0, 4096) = EAGAIN took none of its 4096 bytes`
fn took(write: &ServerCall) -> String {
    let asked = asked(write).map_or_else(|| "its".to_owned(), |asked| format!("its {asked}"));
    match write.value {
        1.. => format!("{} took {} of {asked} bytes", shown(write), write.value),
        _ => format!("{} took none of {asked} bytes", shown(write)),
    }
}

/// The last write of a client, if it took less than it was given.
pub fn last_incomplete(run: &Run, client: usize) -> Option<String> {
    writes(run, client).last().filter(|write| is_incomplete(write)).map(took)
}

fn writes(run: &Run, client: usize) -> impl Iterator<Item = &ServerCall> {
    let is_write = |call: &&ServerCall| matches!(call.name.as_str(), "write" | "sendto" | "writev" | "sendmsg");
    calls(run).filter(move |call| call.client == Some(client)).filter(is_write)
}

/// How many bytes a write was given; `None` if that stands behind a pointer.
fn asked(write: &ServerCall) -> Option<u64> {
    match write.name.as_str() {
        "write" | "sendto" => u64::try_from(write.raw[2]?).ok(),
        _ => None,
    }
}

/// It took less than it was given, and not because the connection was over.
fn is_incomplete(write: &ServerCall) -> bool {
    let is_short = asked(write).zip(u64::try_from(write.value).ok()).is_some_and(|(asked, taken)| taken < asked);
    is_short || write.result == "EAGAIN"
}

/// The read that got the byte at this place.
fn reader_of(run: &Run, client: usize, at: u64) -> Option<&ServerCall> {
    let is_read = |call: &&ServerCall| matches!(call.name.as_str(), "read" | "recvfrom" | "readv" | "recvmsg");
    let mut taken = 0;
    calls(run).filter(|call| call.client == Some(client)).filter(is_read).find(|read| {
        taken += u64::try_from(read.value).unwrap_or(0);
        taken > at
    })
}

fn of(connections: &[ConnectionState], client: usize) -> Option<&ConnectionState> {
    connections.iter().find(|connection| connection.client == client)
}
