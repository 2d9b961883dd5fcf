//! The checks, a file for each group.
//!
//! Invariant: a group's order is from the plainest to the hardest, so that the first failure is the one to look at first.

use crate::check::Check;

mod close;
mod drain;
mod echo;
mod fairness;
mod faults;
mod fd_setsize;
mod idle;
mod interleaving;
mod lifetime;
mod scale;
mod start;
mod wakeup;
mod write;

/// The groups in the order in which they are shown.
pub const GROUPS: &[(&str, &[Check])] = &[
    ("echo", echo::CHECKS),
    ("drain", drain::CHECKS),
    ("wakeup", wakeup::CHECKS),
    ("close", close::CHECKS),
    ("write", write::CHECKS),
    ("fd_setsize", fd_setsize::CHECKS),
    ("faults", faults::CHECKS),
    ("idle", idle::CHECKS),
    ("interleaving", interleaving::CHECKS),
    ("fairness", fairness::CHECKS),
    ("scale", scale::CHECKS),
    ("lifetime", lifetime::CHECKS),
    ("start", start::CHECKS),
];

/// All checks, in order.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    GROUPS.iter().flat_map(|(_, checks)| checks.iter())
}
