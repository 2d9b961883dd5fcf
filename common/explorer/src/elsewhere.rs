//! Systems on which nothing can be explored.
//!
//! Invariant: it says so, and why.

use crate::order::Order;
use crate::run::{Error, Run};

const WHY: &str = "the explorer needs Linux's ptrace(2) on x86-64 or aarch64";

pub fn run(_: &Order<'_>) -> Result<Run, Error> {
    Err(Error::Unsupported(WHY.into()))
}

pub fn possible() -> Result<(), String> {
    Err(WHY.into())
}

pub fn leave_descriptors() {}
