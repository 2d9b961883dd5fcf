//! Servers against the contract: which servers there are, the run of all checks on them, and what is shown of it.
//!
//! Invariant: nothing here knows an exercise; what it runs are checks on subjects, of whatever origin.

pub mod bars;
pub mod jobs;
pub mod results;
pub mod servers;
pub mod table;
