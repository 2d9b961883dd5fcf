//! One sentence for each event of a run, in the tone of the failure messages.
//!
//! Invariant: a sentence says only what the event and the states before and after it show. There is one sentence for each
//! event, in the same order.

mod call;
mod step;

use explorer::record::{ConnectionState, Event, RecordedRun, State};

/// The sentences of a run's events.
pub fn sentences(run: &RecordedRun) -> Vec<String> {
    let threads = has_threads(run);
    let nothing = State::default();
    let mut before = &nothing;
    let mut out = Vec::with_capacity(run.events.len());
    for event in &run.events {
        out.push(match event {
            Event::Call(call) => {
                let text = call::sentence(call, before);
                if threads { format!("Thread {}: {text}", call.thread) } else { capital(&text) }
            }
            Event::Step(step) => capital(&step::sentence(step, before)),
            Event::Rest { sleeps, wrong, state } => rest(sleeps, wrong.as_deref(), state),
            Event::Preempted { thread, instead_of } => {
                format!("Thread {thread} runs next, although thread {instead_of} could go on.")
            }
        });
        if let Some(state) = event.state() {
            before = state;
        }
    }
    out
}

/// Whether more than one thread made calls.
pub fn has_threads(run: &RecordedRun) -> bool {
    run.events.iter().any(|event| matches!(event, Event::Call(call) if call.thread > 0))
}

fn rest(sleeps: &[String], wrong: Option<&str>, state: &State) -> String {
    let who = match sleeps.len() {
        0 | 1 => "The server sleeps".to_owned(),
        n => format!("The server's {n} threads sleep"),
    };
    let mut calls: Vec<&str> = Vec::new();
    for call in sleeps {
        if !calls.contains(&call.as_str()) {
            calls.push(call);
        }
    }
    let place = if calls.is_empty() { String::new() } else { format!(" in {}", listed(&calls)) };
    match wrong {
        None => format!("{who}{place}."),
        Some(what) => {
            let what = what.trim_end_matches('.').trim_end_matches(", and the server sleeps");
            format!("{who} for ever{place}: {what}{}.", left_alone(state))
        }
    }
}

/// What lies in the kernel while no event is left that would tell of it.
fn left_alone(state: &State) -> String {
    let unread: Vec<String> = state.connections.iter().filter_map(unread).collect();
    if unread.is_empty() {
        return String::new();
    }
    let silent = !state.epolls.is_empty() && state.epolls.iter().all(|epoll| !epoll.ready);
    let told = if silent { ", and the ready list is empty" } else { "" };
    format!("; {}{told}", listed(&unread.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// `5000 bytes of c0 are unread in fd 7`, if some are.
fn unread(connection: &ConnectionState) -> Option<String> {
    if connection.unread == 0 {
        return None;
    }
    let place = connection.fd.map_or("a connection that is not accepted".to_owned(), |fd| format!("fd {fd}"));
    let verb = if connection.unread == 1 { "is" } else { "are" };
    Some(format!("{} of c{} {verb} unread in {place}", bytes(connection.unread), connection.client))
}

/// `1 byte`, `5000 bytes`.
fn bytes(count: u64) -> String {
    counted(count, "byte")
}

/// `1 connection`, `2 connections`.
fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(parts: &[&str]) -> String {
    match parts {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

/// A sentence that begins with a system call keeps its small letter: that is the call's name.
fn capital(text: &str) -> String {
    match text.strip_prefix("the ") {
        Some(rest) => format!("The {rest}"),
        None => text.to_owned(),
    }
}

fn connection(state: &State, client: usize) -> Option<&ConnectionState> {
    state.connections.iter().find(|connection| connection.client == client)
}
