//! The mutants, and what has to be found in each.
//!
//! Invariant: a mutant differs from its correct counterpart in one `if`.

use explorer::Verdict;

/// The correct servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    EpollEt,
    Oneshot,
    Select,
    Uring,
    Threads,
    Forks,
    Spins,
}

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    ReadOnce,
    FlagClearedLate,
    ShortReadIsDry,
    CloseAtRdhup,
    AcceptOnce,
    PauseForgets,
    ShortWriteDrops,
    EintrIsFatal,
    EmfileParks,
    RearmedEarly,
    AcceptNotRearmed,
    FlagBeforeSelect,
    EmfileSpins,
}

/// A server to be found wrong.
pub struct Mutant {
    pub name: &'static str,
    pub base: Base,
    pub bug: Bug,
    pub about: &'static str,
    /// The standard script that shows it.
    pub script: &'static str,
    pub verdict: Verdict,
}

const fn mutant(
    name: &'static str,
    base: Base,
    bug: Bug,
    about: &'static str,
    script: &'static str,
    verdict: Verdict,
) -> Mutant {
    Mutant { name, base, bug, about, script, verdict }
}

#[rustfmt::skip]
pub const MUTANTS: &[Mutant] = &[
    mutant("et_read_once", Base::EpollEt, Bug::ReadOnce, "reads once per edge", "close", Verdict::LostWakeup),
    mutant("et_flag_cleared_late", Base::EpollEt, Bug::FlagClearedLate, "clears its ready flag after it has looked for news", "close", Verdict::LostWakeup),
    mutant("et_short_read_is_dry", Base::EpollEt, Bug::ShortReadIsDry, "takes a short read for an empty socket", "close", Verdict::NoEof),
    mutant("et_close_at_rdhup", Base::EpollEt, Bug::CloseAtRdhup, "closes at RDHUP, before it has read", "close", Verdict::Truncated),
    mutant("et_accept_once", Base::EpollEt, Bug::AcceptOnce, "accepts once per edge", "reset", Verdict::LostWakeup),
    mutant("et_pause_forgets", Base::EpollEt, Bug::PauseForgets, "does not read again after a pause for back-pressure", "back-pressure", Verdict::LostWakeup),
    mutant("et_short_write_drops", Base::EpollEt, Bug::ShortWriteDrops, "drops what a short write did not take", "back-pressure", Verdict::Truncated),
    mutant("et_eintr_is_fatal", Base::EpollEt, Bug::EintrIsFatal, "ends when its wait says EINTR", "close", Verdict::Exited),
    mutant("et_emfile_parks", Base::EpollEt, Bug::EmfileParks, "waits for an edge of its listener after EMFILE", "emfile", Verdict::LostWakeup),
    mutant("oneshot_rearmed_early", Base::Oneshot, Bug::RearmedEarly, "re-arms ONESHOT before the drain, with two threads", "close", Verdict::WrongBytes),
    mutant("uring_accept_not_rearmed", Base::Uring, Bug::AcceptNotRearmed, "starts one accept, and no other", "two", Verdict::LostWakeup),
    mutant("select_flag_before_select", Base::Select, Bug::FlagBeforeSelect, "tests a signal's flag, and then calls select", "stop", Verdict::LostWakeup),
    mutant("select_emfile_spins", Base::Select, Bug::EmfileSpins, "goes on waiting for its listener after EMFILE", "emfile", Verdict::Spinning),
];

/// The correct counterparts, and correct servers of other shapes; whether they handle SIGTERM.
pub const CORRECT: &[(&str, Base, bool)] = &[
    ("et", Base::EpollEt, false),
    ("oneshot", Base::Oneshot, false),
    ("select", Base::Select, true),
    ("uring", Base::Uring, false),
    ("threads", Base::Threads, false),
    ("forks", Base::Forks, false),
];

/// A server by its name.
pub fn find(name: &str) -> Option<(Base, Option<Bug>)> {
    let mutant = MUTANTS.iter().find(|mutant| mutant.name == name).map(|mutant| (mutant.base, Some(mutant.bug)));
    let correct = || CORRECT.iter().find(|(it, ..)| *it == name).map(|(_, base, _)| (*base, None));
    mutant.or_else(correct).or_else(|| (name == "spins").then_some((Base::Spins, None)))
}
