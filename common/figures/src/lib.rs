//! What `cargo lab measure` found: the record of a run, and how it is shown.
//!
//! Invariant: this crate measures nothing and depends on no server, so that `cargo lab docs` writes tables and pictures
//! from a record without a run. Everything that is shown stands in the record.

pub mod catalogue;
mod chart;
pub mod file;
pub mod html;
pub mod markdown;
pub mod plot;
mod record;
mod ruler;
pub mod svg;
#[cfg(test)]
mod testing;

pub use catalogue::{About, CATALOGUE, about};
pub use chart::{Axis, Chart, Limit, Point, Scale, Series};
pub use record::{Environment, FORMAT, Measured, Outcome, Record, VERSION, Verdict};
pub use ruler::number;
