//! The commands: each module has its arguments and its `run`.
//!
//! Invariant: a command puts parts together; what two commands could need stands outside.

pub mod check;
