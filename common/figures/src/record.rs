//! The record of a run: what `cargo lab measure --json` writes, and `common/bench/reference.json` holds.
//!
//! Invariant: `common/bench/MEASURED.md` documents it. Within a version a field keeps its meaning.

use serde::{Deserialize, Serialize};

use crate::chart::Chart;

/// The field `format` of every record.
pub const FORMAT: &str = "event-loop-measurements";
/// The field `version`: it grows when a field changes or is removed.
pub const VERSION: u32 = 1;

/// One run of `cargo lab measure`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Whether it was a run of `--quick`.
    pub quick: bool,
    /// Why it ended early, if it did: the experiments that are missing were not run.
    #[serde(default)]
    pub interrupted: Option<String>,
    /// Where it was measured.
    pub environment: Environment,
    /// What each experiment found, in the order of the catalogue.
    pub experiments: Vec<Measured>,
}

/// The machine, and its state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// `Linux 6.18.44`.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// How many processors this program may use.
    pub cores: usize,
    /// What the kernel does against faults of the processor: the file's name, and what it says.
    pub mitigations: Vec<(String, String)>,
    /// Limits that end a curve: RLIMIT_NOFILE (soft and hard), RLIMIT_MEMLOCK ...
    pub limits: Vec<(String, String)>,
    /// The load average of one minute before the run.
    pub load_before: f64,
    /// After it.
    pub load_after: f64,
    /// When it began, UTC: `2026-11-27 22:50`.
    pub date: String,
    /// The commit that was measured; `+` behind it if files were changed.
    pub commit: String,
}

/// What one experiment found, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name in the catalogue.
    pub name: String,
    /// The claim, as it stood in the catalogue then.
    pub claim: String,
    /// How long it took.
    pub seconds: f64,
    /// Runs that a neighbour disturbed, and that were made again.
    pub repeated: u32,
    /// Runs that a neighbour disturbed, and that count for want of better ones.
    pub disturbed: u32,
    /// What it found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What an experiment found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the claim holds.
    pub verdict: Verdict,
    /// One sentence with the figures that the verdict rests on: `at 9,000 idle, poll takes 19 times what epoll-lt takes`.
    pub found: String,
    /// The pictures; the first one is the experiment's own.
    pub charts: Vec<Chart>,
    /// What has to be known to read them: a limit that was met, a server that was left out and why.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Whether the claim holds on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does.
    Holds,
    /// It does under a condition: `many reads are in flight`.
    HoldsIf(String),
    /// It does not, and why: `pread is cheaper at each depth`.
    DoesNot(String),
    /// Nothing can be said, because this machine lacks something.
    Skipped(String),
    /// The experiment went wrong. Only the framework gives this verdict, for an `Err`.
    Failed(String),
}

impl Outcome {
    /// Nothing could be measured here.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped(why.into()), found: String::new(), charts: Vec::new(), notes: Vec::new() }
    }
}
