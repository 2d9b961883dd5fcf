//! The experiments of `cargo lab measure`, and what they share.
//!
//! An experiment is one file in [`experiments`] and one line in `figures::CATALOGUE`. Its `run` gets a
//! [`Session`] and returns a [`figures::Outcome`]: charts, a verdict about the claim, and one sentence of what was
//! found. The method is the [`Session`]'s and stands there.
//!
//! Invariant: an experiment prints nothing, leaves no process behind, and ends soon after [`Session::check`] fails.

pub mod cores;
#[cfg(target_os = "linux")]
pub mod crowd;
pub mod environment;
pub mod experiments;
pub mod flood;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod held;
pub mod interrupt;
pub mod load;
pub mod machine;
pub mod measure;
pub mod open_loop;
pub mod progress;
pub mod report;
pub mod run;
pub mod server;
pub mod session;
pub mod stats;
#[cfg(target_os = "linux")]
pub mod waits;

use anyhow::Result;

pub use server::{Contestant, Running};
pub use session::Session;

/// What an experiment needs of the machine. Where that is missing, it is skipped, and the table says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// io_uring that this process may use.
    IoUring,
    /// ptrace(2) of its own children.
    Ptrace,
    /// So many file descriptors (the hard limit).
    Descriptors(u64),
    /// So many processors: the client and the server would take each other's time.
    Cores(usize),
}

/// An experiment: its file says what is varied, what is held, what is counted, and why the figure can be trusted.
#[derive(Debug, Clone, Copy)]
pub struct Experiment {
    /// Its name in `figures::CATALOGUE`, where the claim stands.
    pub name: &'static str,
    /// What it cannot do without. What only one of its series needs, it checks itself ([`session::missing`]), leaves
    /// that series out, and says so in `Outcome::notes`.
    pub needs: &'static [Need],
    /// Measures. An `Err` fails this experiment only; a machine that lacks something is `Outcome::skipped`.
    pub run: fn(&Session) -> Result<figures::Outcome>,
}
