//! Words that several parts of the page use.
//!
//! Invariant: a verdict has one name, one letter and one shape everywhere, so that colour is never alone.

use explorer::Verdict;
use explorer::record::{Event, Frame, ServerCall};

/// A verdict's letter.
pub fn letter(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "P",
        Verdict::LostWakeup => "L",
        Verdict::NoEof => "E",
        Verdict::Truncated => "T",
        Verdict::WrongBytes => "W",
        Verdict::Exited => "X",
        Verdict::Spinning => "S",
        Verdict::NonDeterministic => "?",
    }
}

/// `ok`, `bad` or `unknown`: the class that gives a verdict its colour and its shape.
pub fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::NonDeterministic => "unknown",
        _ => "bad",
    }
}

/// A row of the sequence: `recvfrom(7 c0, 4096) = 3`.
pub fn row(event: &Event, threads: bool) -> String {
    match event {
        Event::Call(call) => called(call, threads),
        Event::Step(step) if step.implied => format!("({})", step.step),
        Event::Step(step) => step.step.clone(),
        Event::Rest { wrong: Some(_), .. } => "sleeps for ever".to_owned(),
        Event::Rest { .. } => "sleeps".to_owned(),
        Event::Preempted { thread, instead_of } => format!("thread {thread} before thread {instead_of}"),
    }
}

fn called(call: &ServerCall, threads: bool) -> String {
    let who = if threads { format!("{}: ", call.thread) } else { String::new() };
    let out = match call.name.as_str() {
        _ if call.out.is_empty() => String::new(),
        // The descriptor is followed by its client: `5 c0`.
        "accept" | "accept4" => format!(" {}", call.out),
        _ => format!(": {}", call.out),
    };
    format!("{who}{}({}) = {}{out}", call.name, call.arguments, call.result)
}

/// The frame that means something to a reader: the lesson's own line, or else the innermost line that is known.
pub fn meaning(event: &Event) -> Option<&Frame> {
    let Event::Call(call) = event else { return None };
    match call.meaning {
        Some(at) => call.frames.get(at),
        None => call.frames.iter().find(|frame| frame.source.is_some() && frame.line.is_some()),
    }
}

/// The frame that called [`meaning`]'s, if it stands in the same file: it tells apart the calls of one line.
pub fn caller(event: &Event) -> Option<&Frame> {
    let (Event::Call(call), frame) = (event, meaning(event)?) else { return None };
    let above = call.frames.iter().skip_while(|it| !std::ptr::eq(*it, frame)).skip(1);
    let mut own = above.filter(|it| it.source == frame.source && it.line.is_some() && function(it) != function(frame));
    frame.source.and_then(|_| own.next())
}

/// `read`: a function's name without its path, and of a closure the function that it stands in.
pub fn function(frame: &Frame) -> &str {
    let closed = frame.function.split("::{").next().unwrap_or_default();
    closed.rsplit("::").next().filter(|name| !name.is_empty()).unwrap_or(&frame.function)
}
