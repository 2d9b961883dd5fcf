//! The exercises: what there is, and what the harness says of a server that was made for one.
//!
//! Invariant: a verdict comes from the harness alone; nothing here looks into a student's source.

pub mod catalogue;
pub mod judge;

pub use catalogue::{Exercise, load};
pub use judge::{Verdict, judge};
