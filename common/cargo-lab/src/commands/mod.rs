//! The commands that need nothing but files: each module has its arguments and its `run`.
//!
//! Invariant: nothing here knows a check or starts a server.

pub mod diff;
pub mod hint;
pub mod list;
pub mod next;
pub mod reset;
pub mod solution;
pub mod start;
