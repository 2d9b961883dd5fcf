//! Grading: untrusted servers are compiled and checked so that a hostile attempt harms only its own grade.
//!
//! Invariant: [`apart`] puts the process that checks an attempt, and the attempt with it, into namespaces of their own.
//! [`confine`] limits what an attempt can reach before its first instruction. [`supervise`] ends what it
//! left behind before the next attempt starts. [`grade`] makes its grade of the reports that came; a check without a
//! report has failed.

pub mod apart;
mod clock;
pub mod compile;
pub mod confine;
pub mod formats;
pub mod grade;
pub mod job;
mod scrub;
pub mod supervise;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod syscalls;
pub mod worker;

pub use grade::{AttemptState, Grade};
