//! The reduction: which schedules are left out because another one with the same outcome is run.
//!
//! Invariant: a step and a call that `argued` calls independent lead to the same state in either order. The argument
//! stands beside the relation, in `engine/independence.rs`.

use crate::script::Step;

/// Whether it makes a difference if a step comes before or after a system call of this name, given what the explorer's
/// own relation says of the two. A step that makes none before a call is not placed there.
pub type Relation = fn(call: &str, step: Step, argued: bool) -> bool;

/// The explorer's own relation.
pub fn argued(_: &str, _: Step, argued: bool) -> bool {
    argued
}

/// Every step is placed before every call that a recording shows, and wherever it makes a difference: so each gap between
/// two calls of a recording is really run.
pub fn every_gap(call: &str, _: Step, argued: bool) -> bool {
    argued || observe::syscall::is_shown(call)
}

/// No reduction: every step is placed before every call.
pub fn brute_force(_: &str, _: Step, _: bool) -> bool {
    true
}
