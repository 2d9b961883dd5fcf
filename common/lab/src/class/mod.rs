//! A class: many students' folders, graded, divided over machines and put together again.
//!
//! Invariant: nothing here gives points. A student's grades are those of `cargo lab grade` on the student's folder alone.

pub mod alike;
pub mod digest;
pub mod grader;
pub mod grades;
pub mod handout;
pub mod jobs;
pub mod layout;
pub mod merge;
pub mod record;
pub mod shard;
pub mod table;
