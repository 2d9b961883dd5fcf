//! The exercises: what there is, what the harness says of a server that was made for one, and how far a student is.
//!
//! Invariant: a verdict comes from the harness alone; nothing here looks into a student's source.

pub mod attempt;
pub mod exercise;
pub mod feedback;
pub mod judging;
pub mod progress;
pub mod proof;

pub use exercise::{Exercise, load};
pub use judging::{Judgement, judge};
pub use progress::{Standing, StudentProgress};
