//! Systems on which nothing can be explored.
//!
//! Invariant: it says so, and why.

use std::sync::atomic::AtomicBool;

use crate::reduction::Relation;
use crate::run::{Error, Faults, Run, Schedule, Target};
use crate::script::Script;

const WHY: &str = "the explorer needs Linux's ptrace(2) on x86-64 or aarch64";

/// What a run is to do.
#[expect(dead_code, reason = "nothing here looks at it")]
pub struct Order<'a> {
    pub target: &'a Target,
    pub script: &'a Script,
    pub faults: Faults,
    pub schedule: &'a Schedule,
    pub before_last: Option<u64>,
    pub relation: Relation,
    pub keep: bool,
    pub stop: &'a AtomicBool,
}

pub fn run(_: &Order<'_>) -> Result<Run, Error> {
    Err(Error::Unsupported(WHY.into()))
}

pub fn possible() -> Result<(), String> {
    Err(WHY.into())
}

pub fn leave_descriptors() {}
