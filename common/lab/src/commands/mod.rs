//! The commands: each module has its arguments and its `run`.
//!
//! Invariant: a command only puts parts together. Code that two commands could need stands outside this folder.

pub mod check;
pub mod check_attempt;
pub mod docs;
pub mod explore;
pub mod fuzz;
pub mod grade;
pub mod grade_class;
pub mod handout;
pub mod matrix;
mod matrix_fixes;
pub mod measure;
pub mod merge;
mod narrow;
pub mod new;
mod showing;
pub mod watch;
