//! Grading: untrusted servers are compiled and checked so that a hostile attempt harms only its own grade.
//!
//! Invariant: [`confine`] limits what an attempt can reach before its first instruction. [`supervise`] ends what it
//! left behind before the next attempt starts. [`grade`] makes its grade of the reports that came; a check without a
//! report has failed.

pub mod compile;
pub mod confine;
pub mod formats;
pub mod grade;
pub mod supervise;
pub mod worker;

pub use grade::{AttemptState, Grade};
