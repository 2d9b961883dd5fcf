//! Finds lost wakeups of event loops. The script's order is fixed; the explorer places its steps between the server's
//! system calls, in every way up to a bound, on the real kernel.
//!
//! Each run starts a new server under ptrace(2), and stops it at its system calls. Whenever the server sleeps, every
//! byte of the clients must have come back and every FIN must have been answered.
//!
//! Invariant: the server runs its own code on its own kernel, and what it is told is true. The explorer chooses only
//! the moment at which things happen, and makes only faults that can happen.

pub mod diagnose;
pub mod explore;
mod order;
pub mod record;
pub mod reduction;
mod repeats;
pub mod report;
pub mod run;
pub mod script;
mod search;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod elsewhere;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod engine;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
use elsewhere as engine;

pub use explore::{
    Coverage, Exploration, Finding, Plan, explore, explore_part, passing_beside, possible, record_all, replay, verdicts,
};
pub use record::Recording;
pub use run::{Error, Faults, Missing, Run, Schedule, Subject, Verdict};
pub use script::Script;
