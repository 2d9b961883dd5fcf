//! Servers against the contract: the servers, the run of all checks on them, and how the run and its results are shown.
//!
//! Invariant: nothing here knows an exercise. Checks run on subjects, whether these are chapters, attempts or your own
//! server.

pub mod bars;
pub mod broken;
mod estimate;
pub mod jobs;
pub mod junit;
pub mod listing;
pub mod results;
pub mod servers;
mod shell;
pub mod table;
