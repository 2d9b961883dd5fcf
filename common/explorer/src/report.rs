//! A finding as text: the run in two columns, the kernel's last state, and the nearest run that passes.
//!
//! Invariant: the same run gives the same text, and no line is longer than the width.

use crate::diagnose::diagnose;
use crate::explore::Finding;
use crate::record::{Event, KnoteState, Operation, State};
use crate::repeats::{Piece, fold};
use crate::run::{Run, Schedule};
use crate::script::Script;

/// A row of a trace. It has text in one of the two columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The server's action, or empty.
    pub server: String,
    /// The client's action, or empty.
    pub client: String,
    /// Whether the schedule placed it there.
    pub placed: bool,
}

impl Row {
    fn merged(&self) -> String {
        match (self.client.is_empty(), self.placed) {
            (true, _) => self.server.clone(),
            (false, true) => format!(">> {}", self.client),
            (false, false) => format!(" > {}", self.client),
        }
    }
}

/// A run's rows.
pub fn rows(run: &Run) -> Vec<Row> {
    let threads = run.events.iter().any(|event| matches!(event, Event::Call(call) if call.thread > 0));
    run.events.iter().flat_map(|event| rows_of(event, threads)).collect()
}

fn rows_of(event: &Event, threads: bool) -> Vec<Row> {
    let server = |text: String, placed| Row { server: text, client: String::new(), placed };
    match event {
        Event::Call(call) => {
            let who = if threads { format!("{}: ", call.thread) } else { String::new() };
            let out = match call.name.as_str() {
                // The descriptor is followed by its client: `5 c0`.
                "accept" | "accept4" if !call.out.is_empty() => format!(" {}", call.out),
                _ if call.out.is_empty() => String::new(),
                _ => format!(": {}", call.out),
            };
            vec![server(format!("{who}{}({}) = {}{out}", call.name, call.arguments, call.result), false)]
        }
        Event::Step(step) => {
            let client = match step.implied {
                true => format!("({})", step.step),
                false => step.step.clone(),
            };
            let place = match (step.placed, step.before.is_empty()) {
                (true, false) => format!("-- before {} --", step.before),
                _ => String::new(),
            };
            vec![Row { server: place, client, placed: step.placed }]
        }
        Event::Rest { sleeps, wrong, .. } => {
            let for_ever = if wrong.is_some() { " for ever" } else { "" };
            vec![server(format!("[sleeps{for_ever}: {}]", sleeps.join(", ")), false)]
        }
        Event::Preempted { thread, instead_of } => {
            vec![server(format!("-- thread {thread} goes first, thread {instead_of} waits --"), true)]
        }
    }
}

/// The whole story of a finding.
pub fn finding(server: &str, script: &Script, finding: &Finding, width: usize) -> String {
    let mut out = String::new();
    let width = width.clamp(60, 160);
    out += &wrap(
        &format!("{}: {}.", finding.verdict.to_string().to_uppercase(), finding.what.trim_end_matches('.')),
        width,
        0,
    );
    out.push('\n');
    out += &trace(server, &script.name, &finding.run, width);
    if let Some(end) = &finding.run.end {
        out += "\nthe kernel at the end\n";
        for line in state(end) {
            out += &wrap(&line, width - 2, 2);
        }
    }
    let diagnosis = diagnose(&finding.run);
    if !diagnosis.is_empty() {
        out.push('\n');
        out += &wrap(&diagnosis, width, 0);
    }
    out.push('\n');
    out += &match &finding.passing {
        Some(passing) => beside(&finding.run, passing, width),
        None => "No schedule near this one passes: the server fails wherever the steps are placed.\n".to_owned(),
    };
    out
}

/// What replays a finding, behind `cargo lab explore SERVER`.
pub fn replay_arguments(script: &Script, finding: &Finding) -> String {
    let faults = match finding.faults.to_string() {
        none if none.is_empty() => none,
        faults => format!(" --faults {faults}"),
    };
    format!("--script '{}'{faults} --replay {}", script_argument(script), finding.schedule)
}

/// What the words of a summary and of a finding mean.
pub const WORDS: &str = "\
A schedule says where the script's steps come in a run. Normally a step comes while the server sleeps. A step that comes \
before a system call of a running server is a placement. In a schedule, each number is a decision: 0 lets the server go on, \
and 1 lets the step come first. COMPLETE: every schedule with so many placements was run, or has the same results as one \
that was. CUT: not all were run.";

/// The script as an argument of a command line: its name, if it is a standard script.
pub fn script_argument(script: &Script) -> String {
    match Script::standard(&script.name) {
        Some(standard) if standard == *script => script.name.clone(),
        _ => script.to_string(),
    }
}

/// A run as two columns.
pub fn trace(server: &str, script: &str, run: &Run, width: usize) -> String {
    let rows = rows(run);
    let widest = rows.iter().map(|row| row.client.chars().count() + 3).max().unwrap_or(0);
    let right = widest.clamp(18, width * 2 / 5);
    let left = width.saturating_sub(right + 3);
    let mut out = format!("{} | {}\n", pad(server, left), script);
    out += &format!("{}-+-{}\n", "-".repeat(left), "-".repeat(right));
    for piece in fold(&rows, |row| row.placed) {
        match piece {
            Piece::Row(row) => {
                let mark = if row.placed && !row.client.is_empty() { ">> " } else { "" };
                let line = format!("{} | {mark}{}", pad(&row.server, left), cut(&row.client, right - mark.len()));
                out += line.trim_end();
            }
            Piece::Again(again) => out += &format!("{} |", pad(&format!("   {again}"), left)),
        }
        out.push('\n');
    }
    out
}

/// The kernel's state as lines.
pub fn state(end: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for it in &end.connections {
        let mut parts = Vec::new();
        match it.fd {
            Some(fd) => {
                parts.push(format!("fd {fd}"));
                parts.push(format!("{} bytes unread", it.unread));
                if it.fin_arrived {
                    parts.push("the FIN has arrived".into());
                }
                if it.held > 0 {
                    parts.push(format!("{} bytes read and not sent", it.held));
                }
                if it.not_sent > 0 {
                    parts.push(format!("{} bytes not taken by the client", it.not_sent));
                }
                let interests =
                    end.epolls.iter().flat_map(|epoll| epoll.interests.iter().map(move |it| (epoll.fd, it)));
                for (epoll, interest) in interests.filter(|(_, interest)| interest.fd == fd) {
                    parts.push(format!("registered with epoll {epoll} for {}", interest.mask));
                }
                for (kqueue, knote) in knotes(end, |knote| is_of_fd(knote, fd)) {
                    parts.push(format!("has the knote {knote} in kqueue {kqueue}"));
                }
            }
            None => parts.push("no file descriptor of the server".into()),
        }
        parts.push(format!("{} of {} bytes came back", it.came_back, it.asked));
        if it.eof {
            parts.push("the server has closed".into());
        }
        lines.push(format!("c{}: {}", it.client, parts.join(", ")));
    }
    let queue = match end.accept_queue {
        0 => "is empty".to_owned(),
        1 => "holds 1 connection".to_owned(),
        n => format!("holds {n} connections"),
    };
    lines.push(format!("the accept queue {queue}"));
    for epoll in &end.epolls {
        let ready = if epoll.ready { "has an event" } else { "is empty" };
        let listeners = epoll.interests.iter().filter(|interest| interest.label == "listener");
        let masks: Vec<String> = listeners.map(|it| format!("; the listener is registered for {}", it.mask)).collect();
        lines.push(format!("epoll {}: its ready list {ready}{}", epoll.fd, masks.concat()));
    }
    for kqueue in &end.kqueues {
        let ready = if kqueue.ready { "an event is pending" } else { "no event is pending" };
        let listeners = knotes(end, |knote| knote.label == "listener").into_iter().filter(|(fd, _)| *fd == kqueue.fd);
        let shown: Vec<String> = listeners.map(|(_, knote)| format!("; the listener has the knote {knote}")).collect();
        lines.push(format!("kqueue {}: {ready}{}", kqueue.fd, shown.concat()));
    }
    for ring in &end.rings {
        let shown = |it: &Operation| match it.client {
            Some(client) => format!("{} c{client}", it.operation),
            None => it.operation.clone(),
        };
        let in_flight: Vec<String> = ring.in_flight.iter().map(shown).collect();
        let in_flight = if in_flight.is_empty() { "nothing".to_owned() } else { in_flight.join(", ") };
        lines.push(format!("ring {}: in flight: {in_flight}", ring.fd));
    }
    for thread in &end.threads {
        let what = if thread.sleeps { "sleeps in" } else { "is about to make" };
        lines.push(format!("thread {} {what} {}", thread.thread, thread.at));
    }
    lines
}

/// Registrations with kqueues: the kqueue, and `READ CLEAR`.
fn knotes(end: &State, is_it: impl Fn(&KnoteState) -> bool) -> Vec<(i32, String)> {
    let all = end.kqueues.iter().flat_map(|kqueue| kqueue.interests.iter().map(move |knote| (kqueue.fd, knote)));
    let shown = |it: &KnoteState| format!("{} {}", it.filter, it.flags).trim_end().to_owned();
    all.filter(|(_, knote)| is_it(knote)).map(|(kqueue, knote)| (kqueue, shown(knote))).collect()
}

/// The ident of other filters is no file descriptor.
fn is_of_fd(knote: &KnoteState, fd: i32) -> bool {
    knote.fd == fd && matches!(knote.filter.as_str(), "READ" | "WRITE")
}

/// The failing run and the passing run side by side, from just before they differ.
fn beside(failing: &Run, passing: &Run, width: usize) -> String {
    const BEFORE: usize = 2;
    const AFTER: usize = 26;
    let merged = |run: &Run| {
        let rows: Vec<(bool, String)> = rows(run).iter().map(|row| (row.placed, row.merged())).collect();
        let text = |piece: Piece<'_, (bool, String)>| match piece {
            Piece::Row((_, text)) => text.clone(),
            Piece::Again(again) => format!("   {again}"),
        };
        fold(&rows, |(placed, _)| *placed).into_iter().map(text).collect::<Vec<_>>()
    };
    let (fails, passes) = (merged(failing), merged(passing));
    let part = fails.iter().zip(&passes).take_while(|(one, other)| one == other).count();
    let start = part.saturating_sub(BEFORE);
    let column = (width - 3) / 2;
    let mut out = wrap(
        &format!(
            "The nearest schedule that passes is {}{}. The runs differ from row {} on (>> marks a placed step, > another \
             step of a client):",
            passing.schedule(),
            match passing.placements() {
                0 => ", in which no step is placed: each comes while the server sleeps",
                _ => "",
            },
            part + 1
        ),
        width,
        0,
    );
    out += &format!("{} | passes, {}\n", pad(&format!("fails, {}", failing.schedule()), column), passing.schedule());
    out += &format!("{}-+-{}\n", "-".repeat(column), "-".repeat(column));
    const LONGER: usize = 6;
    let length = fails.len().max(passes.len().min(fails.len() + LONGER));
    for at in start..length.min(start + AFTER) {
        let one = fails.get(at).map_or("", String::as_str);
        let other = passes.get(at).map_or("", String::as_str);
        let line = format!("{} | {}", pad(one, column), cut(other, column));
        out += line.trim_end();
        out.push('\n');
    }
    if length > start + AFTER {
        out += &format!(
            "{} |\n",
            pad(&format!("   ... {} more rows, which stand above ...", length - start - AFTER), column)
        );
    }
    out
}

fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn pad(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let missing = width.saturating_sub(text.chars().count());
    text + &" ".repeat(missing)
}

fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            out += &format!("{}{line}\n", " ".repeat(indent));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    out + &format!("{}{line}\n", " ".repeat(indent))
}

/// For `--replay`: one run, with its verdict.
pub fn replayed(server: &str, script: &Script, schedule: &Schedule, run: &Run, width: usize) -> String {
    let width = width.clamp(60, 160);
    let mut out = trace(server, &script.name, run, width);
    if let Some(end) = &run.end {
        out += "\nthe kernel at the end\n";
        for line in state(end) {
            out += &wrap(&line, width - 2, 2);
        }
    }
    let what = if run.what.is_empty() { String::new() } else { format!(": {}", run.what) };
    out.push('\n');
    out += &wrap(&format!("schedule {schedule}: {}{what}", run.verdict.to_string().to_uppercase()), width, 0);
    let diagnosis = diagnose(run);
    if !diagnosis.is_empty() {
        out += &wrap(&diagnosis, width, 0);
    }
    out
}
