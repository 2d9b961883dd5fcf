//! Lost wakeups of event loops, found by trying every order of client steps and system calls on the real kernel.
//!
//! A server runs under ptrace(2) and is stopped at its system calls. The steps of a client's [`script`] are placed
//! between them, in every way up to a bound, each time from the start of a new server. Whenever the server sleeps, every
//! byte must have come back and every FIN must have been answered.
//!
//! Invariant: the server runs its own code on its own kernel, and what it is told is true. Only the moment at which
//! things happen is chosen, and only faults that can happen are made.

pub mod diagnose;
pub mod explore;
mod order;
pub mod record;
pub mod reduction;
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

pub use explore::{Coverage, Exploration, Finding, Plan, explore, possible, replay, verdicts};
pub use run::{Error, Faults, Run, Schedule, Target, Verdict};
pub use script::Script;
