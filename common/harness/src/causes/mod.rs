//! From what was seen of a failed check to its cause, by rules.
//!
//! Invariant: a rule says what it saw, and claims no more; where no rule holds, the cause is not clear from outside. Each
//! rule has a mutant that proves it (tests/mutants).

use observe::made::{ConnectionCalls, Made, Record};
use observe::syscall::Kind;

use crate::diagnose::{HELD_IN_FLIGHT, LEFT_IN_FLIGHT, TOO_FEW};
use crate::failure::Symptom;

mod bytes;
mod endings;
mod spins;
mod stalls;
mod tables;

/// How a cause begins that is none.
pub const UNCLEAR: &str = "The cause is not clear from outside.";

/// What a cause is where nothing of the server's calls could be seen: what it usually is.
pub fn usually(list: &str) -> String {
    format!("{UNCLEAR} Usually it is one of these: {list}")
}

/// As `usually`, where it is one thing.
pub fn most_likely(guess: &str) -> String {
    format!("{UNCLEAR} Most likely: {guess}")
}

/// What was seen of one failure.
pub struct Case<'a> {
    /// The kind of trouble.
    pub symptom: Symptom,
    /// All calls that were kept.
    pub record: &'a Record,
    /// Those on the connection that the failure is about.
    pub connection: Option<&'a ConnectionCalls>,
    /// The client's port of that connection.
    pub client: Option<u16>,
    /// What came back were another client's bytes.
    pub has_others_bytes: bool,
}

/// A rule: which symptoms it is about, and what it says if it holds.
struct Rule {
    /// What it is about, in a few words: its name in the tests, which show that each rule finds something.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is read by the tests, and by whoever reads the rule"))]
    about: &'static str,
    symptoms: &'static [Symptom],
    holds: fn(&Case<'_>) -> Option<String>,
}

/// What happened before all else: told first, and the kernel's view after it.
fn first_rules() -> impl Iterator<Item = &'static Rule> {
    [endings::FIRST, stalls::FIRST].into_iter().flatten()
}

/// All rules, the more special ones first.
fn rules() -> impl Iterator<Item = &'static Rule> {
    let others = [tables::RULES, endings::RULES, bytes::RULES, spins::RULES, stalls::RULES];
    first_rules().chain(others.into_iter().flatten())
}

/// What the rules are about, in their order.
#[cfg(test)]
fn about() -> impl Iterator<Item = &'static str> {
    rules().map(|rule| rule.about)
}

impl<'a> Case<'a> {
    /// The case of a failure, with the client's port of the connection that it is about.
    pub fn new(symptom: Symptom, record: &'a Record, client: Option<u16>) -> Self {
        let connection = client.and_then(|port| record.connections.get(&port));
        Self { symptom, record, connection, client, has_others_bytes: false }
    }

    /// The calls on the connection, the last one first.
    fn backwards(&self) -> impl Iterator<Item = &'a Made> {
        self.connection.into_iter().flat_map(|connection| connection.calls.iter().rev())
    }

    /// The last call on the connection of a kind.
    fn last(&self, kind: Kind) -> Option<&'a Made> {
        self.backwards().find(|made| made.kind == kind)
    }

    /// The last thing that a wait said of the connection.
    fn last_event(&self) -> Option<&'a Made> {
        self.backwards().find(|made| made.kind.is_wait() && !made.events.is_empty())
    }

    /// The calls of a thread before another one of its calls, the last one first.
    fn before(&self, made: &Made) -> impl Iterator<Item = &'a Made> {
        let at = made.at;
        let thread = self.record.threads.get(&made.tid);
        thread.into_iter().flat_map(|thread| thread.calls.iter().rev()).filter(move |made| made.at < at)
    }

    /// Of the same turn of its loop: back to the wait before it, which is the last item.
    fn turn_before(&self, made: &Made) -> impl Iterator<Item = &'a Made> {
        let mut over = false;
        self.before(made).take_while(move |made| !std::mem::replace(&mut over, made.kind.is_wait()))
    }

    /// Bytes that were read from the connection and not written to it.
    fn owed(&self) -> u64 {
        self.connection.map_or(0, |connection| connection.read.saturating_sub(connection.wrote))
    }
}

fn what_holds(mut rules: impl Iterator<Item = &'static Rule>, case: &Case<'_>) -> Option<String> {
    rules.find_map(|rule| rule.symptoms.contains(&case.symptom).then(|| (rule.holds)(case)).flatten())
}

/// What the first rule that holds says.
pub fn seen(case: &Case<'_>) -> Option<String> {
    what_holds(rules(), case)
}

/// The cause: what the first rule that holds says, and what the kernel's view has told.
pub fn best(case: &Case<'_>, told: &str) -> String {
    let seen = seen(case);
    let (facts, guess) = told.split_once(UNCLEAR).map_or((told, None), |(facts, guess)| (facts, Some(guess)));
    let facts = facts.trim_end();
    if let Some(first) = what_holds(first_rules(), case) {
        // That the server accepted too few is how it looks from outside.
        let facts = facts.replace(&format!("{TOO_FEW} "), "");
        // The rule says the same of this operation.
        let facts = if [LEFT_IN_FLIGHT, HELD_IN_FLIGHT].contains(&facts.as_str()) { "" } else { &facts };
        return format!("{first} {facts}").trim_end().to_owned();
    }
    match (seen, guess) {
        (Some(seen), _) if facts.is_empty() => capitalised(&seen),
        (Some(seen), _) => format!("{facts} Seen under a tracer: {seen}"),
        // Whose bytes they are was told by the client, and no call shows more: what is usual is all that helps.
        (None, Some(_)) if case.symptom == Symptom::WrongBytes => told.into(),
        (None, Some(_)) => format!("{facts} {UNCLEAR}").trim_start().to_owned(),
        (None, None) => told.into(),
    }
}

fn capitalised(text: &str) -> String {
    // A call keeps its spelling.
    let is_a_call = text.split_once(' ').is_some_and(|(word, _)| word.contains('('));
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if !is_a_call => first.to_uppercase().chain(characters).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
