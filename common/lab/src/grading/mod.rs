//! Grading: strangers' servers, compiled and checked so that a hostile one costs itself only.
//!
//! Invariant: what an attempt can reach is made by [`confine`] before its first instruction; what it left behind is ended
//! by [`supervise`] before the next one starts; its grade is made here from the reports that came, and a check without a
//! report has failed.

pub mod compile;
pub mod confine;
pub mod formats;
pub mod grade;
pub mod supervise;
pub mod worker;

pub use grade::{AttemptState, Grade};
