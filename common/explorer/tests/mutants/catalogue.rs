//! Every mutant: its base, its bug, what it does wrong, and what the explorer has to find in it.
//!
//! A mutant is one item here, and the place in its base that asks for the bug: `if bug!("read_once")`.

use explorer::Verdict::{self, *};

use super::mutant::Mutant;
use super::serve::Base::{self, *};

const fn mutant(
    base: Base,
    bug: &'static str,
    what: &'static str,
    script: &'static str,
    verdict: Verdict,
    placements: usize,
) -> Mutant {
    Mutant { base, bug, what, script, verdict, placements }
}

#[rustfmt::skip]
pub const MUTANTS: &[Mutant] = &[
    mutant(EpollEt, "read_once", "reads once per edge", "close", LostWakeup, 0),
    mutant(EpollEt, "flag_cleared_late", "clears its ready flag after it has waited for events again", "close", LostWakeup, 1),
    mutant(EpollEt, "reads_once_more", "reads once more before it clears its ready flag too late", "finish", NoEof, 1),
    mutant(EpollEt, "short_read_is_dry", "takes a short read for an empty socket", "close", NoEof, 1),
    mutant(EpollEt, "blocking_sockets", "leaves accepted sockets blocking, and drains them", "two", LostWakeup, 0),
    mutant(EpollEt, "close_at_rdhup", "closes at RDHUP, before it has read", "close", Truncated, 1),
    mutant(EpollEt, "accept_once", "accepts once per edge", "reset", LostWakeup, 1),
    mutant(EpollEt, "aborted_is_drained", "takes ECONNABORTED for the end of the accept queue", "queue", LostWakeup, 1),
    mutant(EpollEt, "two_fins", "ends when two clients finish between two waits", "two", Exited, 2),
    mutant(EpollEt, "pause_forgets", "does not read again after a pause for back-pressure", "back-pressure", LostWakeup, 0),
    mutant(EpollEt, "short_write_drops", "drops what a short write did not take", "back-pressure", Truncated, 0),
    mutant(EpollEt, "eagain_drops", "drops what it could not write at EAGAIN", "back-pressure", Truncated, 0),
    mutant(EpollEt, "eintr_is_fatal", "ends when its wait returns EINTR", "close", Exited, 1),
    mutant(EpollEt, "emfile_parks", "waits for an edge of its listener after EMFILE", "emfile", LostWakeup, 0),
    mutant(Oneshot, "rearmed_early", "re-arms ONESHOT before the drain, with two threads", "close", WrongBytes, 1),
    mutant(Uring, "accept_not_rearmed", "starts one accept, and no other", "two", LostWakeup, 0),
    mutant(Select, "flag_before_select", "tests the flag of a signal, and then calls select", "stop", LostWakeup, 1),
    mutant(Select, "emfile_spins", "goes on waiting for its listener after EMFILE", "emfile", Spinning, 0),
];

/// The correct counterparts, and correct servers of other shapes; whether they handle SIGTERM.
pub const CORRECT: &[(Base, bool)] = &[
    (EpollEt, false),
    (SecondListener, false),
    (Oneshot, false),
    (Select, true),
    (Uring, false),
    (Threads, false),
    (Forks, false),
];

/// A server by its name: its base, and its bug.
pub fn find(name: &str) -> Option<(Base, Option<&'static str>)> {
    if let Some(mutant) = MUTANTS.iter().find(|mutant| mutant.name() == name) {
        return Some((mutant.base, Some(mutant.bug)));
    }
    Base::ALL.iter().find(|base| base.name() == name).map(|base| (*base, None))
}
