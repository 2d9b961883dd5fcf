//! The table: every mutant, the checks that catch it, and what else it breaks.

use std::fmt::Write;

use harness::Symptom;

use super::bug::Bug;
use super::serve::Base;

/// A server with a bug.
pub struct Mutant {
    pub base: Base,
    /// None: the base itself is the mistake.
    pub bug: Option<Bug>,
    /// What it does wrong.
    pub what: &'static str,
    /// The checks that have to fail, how, and words of the cause they have to name.
    pub caught: &'static [(&'static str, Symptom, &'static str)],
    /// Consequences: checks (or whole groups, as `drain::`) that may fail besides.
    pub also: &'static [&'static str],
}

impl Mutant {
    /// As in the test's name and after `--serve`.
    pub fn name(&self) -> String {
        let bug = self.bug.map(|bug| format!("{bug:?}")).unwrap_or_default();
        snake(&format!("{:?}{bug}", self.base))
    }
}

/// `EpollEt` as `epoll_et`.
pub fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// What `--serve NAME` stands for.
pub fn find(name: &str) -> (Base, Option<Bug>) {
    let correct = CORRECT.iter().find(|base| snake(&format!("{base:?}")) == name).map(|base| (*base, None));
    let mutant = || MUTANTS.iter().find(|mutant| mutant.name() == name).map(|mutant| (mutant.base, mutant.bug));
    correct.or_else(mutant).unwrap_or_else(|| panic!("there is no server '{name}'"))
}

/// The table as README.md shows it.
pub fn markdown() -> String {
    let mut table =
        String::from("| mutant | what it does | caught by (symptom) | fails besides |\n|---|---|---|---|\n");
    for mutant in MUTANTS {
        let caught: Vec<_> =
            mutant.caught.iter().map(|(check, symptom, _)| format!("`{check}` ({symptom:?})")).collect();
        let also: Vec<_> = mutant.also.iter().map(|check| format!("`{check}`")).collect();
        let (name, what) = (mutant.name(), mutant.what);
        let _ = writeln!(table, "| `{name}` | {what} | {} | {} |", caught.join("<br>"), also.join("<br>"));
    }
    table
}

/// The bases that are right as they are.
pub const CORRECT: &[Base] = &[Base::Select, Base::Poll, Base::EpollLt, Base::EpollEt, Base::Uring, Base::Threads];

/// Run on every mutant, because they are quick; one or two of each group.
pub const FAST: &[&str] = &[];

use Base::*;
use Symptom::*;

/// Plainest first, call by call.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        base: EpollEt,
        bug: Some(Bug::AcceptOncePerEdge),
        what: "accepts one connection for an edge",
        caught: &[],
        also: &[],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::AcceptBatchForgotten),
        what: "accepts 16 for an edge and does not come back for more",
        caught: &[],
        also: &[],
    },
    Mutant { base: EpollEt, bug: Some(Bug::ReadOncePerEdge), what: "reads once for an edge", caught: &[], also: &[] },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::ShortReadIsDrained),
        what: "takes a short read for the end of what there is, and misses the FIN behind it",
        caught: &[],
        also: &[],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::CloseAtRdhup),
        what: "closes at RDHUP, before it has read what came before the FIN",
        caught: &[],
        also: &[],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::EofIgnored),
        what: "takes read's 0 for \"nothing yet\"",
        caught: &[],
        also: &[],
    },
    Mutant { base: EpollEt, bug: Some(Bug::HalfCloseIsClose), what: "x", caught: &[], also: &[] },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::PauseNotResumed),
        what: "pauses reading while too much is owed, and never reads again: no edge comes for what is there",
        caught: &[],
        also: &[],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::WriteEdgeLost),
        what: "looks at OUT in an `else if` behind IN",
        caught: &[],
        also: &[],
    },
    Mutant { base: EpollEt, bug: Some(Bug::ShortWriteDropped), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollEt, bug: Some(Bug::EagainIsError), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollEt, bug: Some(Bug::EmfileForgotten), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollEt, bug: Some(Bug::NoBudget), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollEt, bug: Some(Bug::ResetLeaks), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollEt, bug: Some(Bug::BlockingSockets), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollEt, bug: Some(Bug::SigpipeKills), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::WriteInterestLeftOn), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::InterestAfterEof), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::EofIgnored), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::HalfCloseIsClose), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::PauseNotResumed), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::OneshotNotRearmed), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::ShortWriteDropped), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::EagainIsError), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::ResetEndsServer), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::EmfileForgotten), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::EmfileIsFatal), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::EintrIsFatal), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::UnboundedOutput), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::SharedBuffer), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::BufferEach), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::BadArgsExit1), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::BindPanics), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::Banner), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::SignalsAtDefault), what: "x", caught: &[], also: &[] },
    Mutant { base: EpollLt, bug: Some(Bug::FlagNotSeen), what: "x", caught: &[], also: &[] },
    Mutant { base: Poll, bug: Some(Bug::BlockingSockets), what: "x", caught: &[], also: &[] },
    Mutant { base: Poll, bug: Some(Bug::ClosedSlotLeft), what: "x", caught: &[], also: &[] },
    Mutant { base: Poll, bug: Some(Bug::SlotNotMoved), what: "x", caught: &[], also: &[] },
    Mutant { base: Poll, bug: Some(Bug::EventsComparedForEquality), what: "x", caught: &[], also: &[] },
    Mutant { base: Poll, bug: Some(Bug::SigpipeKills), what: "x", caught: &[], also: &[] },
    Mutant { base: Select, bug: Some(Bug::NfdsOffByOne), what: "x", caught: &[], also: &[] },
    Mutant { base: Select, bug: Some(Bug::SetNotRebuilt), what: "x", caught: &[], also: &[] },
    Mutant { base: Select, bug: Some(Bug::BitBeyondTheSet), what: "x", caught: &[], also: &[] },
    Mutant { base: Select, bug: Some(Bug::ClosedSlotLeft), what: "x", caught: &[], also: &[] },
    Mutant { base: Select, bug: Some(Bug::LineForEachRefusal), what: "x", caught: &[], also: &[] },
    Mutant { base: Select, bug: Some(Bug::SigpipeKills), what: "x", caught: &[], also: &[] },
    Mutant { base: Select, bug: Some(Bug::EmfileIsFatal), what: "x", caught: &[], also: &[] },
    Mutant { base: Uring, bug: Some(Bug::AcceptNotRearmed), what: "x", caught: &[], also: &[] },
    Mutant { base: Uring, bug: Some(Bug::TwoSendsInFlight), what: "x", caught: &[], also: &[] },
    Mutant { base: Uring, bug: Some(Bug::ShortWriteDropped), what: "x", caught: &[], also: &[] },
    Mutant { base: Uring, bug: Some(Bug::BufferLentTwice), what: "x", caught: &[], also: &[] },
    Mutant { base: Uring, bug: Some(Bug::FixedLength), what: "x", caught: &[], also: &[] },
    Mutant { base: Uring, bug: Some(Bug::NonBlockingInRing), what: "x", caught: &[], also: &[] },
    Mutant { base: OneByOne, bug: None, what: "serves one client after the other", caught: &[], also: &[] },
];
