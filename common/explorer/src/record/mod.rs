//! Runs as a file, for a player to step through. RECORD.md and record.schema.json describe the format.
//!
//! Invariant: a reader that knows `format` and `version` can rely on every field that RECORD.md names for that version.
//! In a recording that [`read`] returns, every index is one of an entry that is there.

mod event;
mod read;
mod sources;
mod state;

use serde::{Deserialize, Serialize};

pub use self::event::{ClientStep, Cost, Event, Frame, RingCall, ServerCall};
pub use self::read::read;
pub use self::state::{
    ConnectionState, EpollState, KnoteState, KqueueState, Operation, RegistrationState, RingState, State, ThreadState,
};
use crate::diagnose::diagnose;
use crate::explore::Finding;
use crate::run::{Faults, Run, Verdict};
use crate::script::Script;

/// What stands in `format`.
pub const FORMAT: &str = "event-loop-run";
/// What stands in `version`; it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 2;
/// The JSON schema of a recording.
pub const SCHEMA: &str = include_str!("../../record.schema.json");

/// Runs of one server under one script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The server's name.
    pub server: String,
    /// The script's name.
    pub script_name: String,
    /// The clients' steps, in the syntax of `--script`.
    pub script: String,
    /// The clients' steps, one by one.
    pub steps: Vec<String>,
    /// The faults that were tried, in the syntax of `--faults`; empty for none.
    pub faults: String,
    /// The files that frames name.
    pub sources: Vec<Source>,
    /// Why there are no frames, if there are none.
    pub no_frames: Option<String>,
    /// The run to show, and others beside it. The first one is the run to show.
    pub runs: Vec<RecordedRun>,
    /// The place of the nearest run that passes, where the first one does not.
    pub passing: Option<usize>,
    /// With `--record-all`: how far `runs` goes.
    pub bound: Option<Bound>,
}

/// A file of the lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its path from the workspace's root.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Which schedules a recording of all of them has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The number of placements that a schedule has at most.
    pub placements: usize,
    /// Whether every schedule up to that number is there.
    pub complete: bool,
    /// Why not, if some are missing.
    pub cut: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRun {
    /// The decisions, in the syntax of `--replay`.
    pub schedule: String,
    /// How it ended.
    pub verdict: Verdict,
    /// The verdict in one sentence; empty if all is well.
    pub what: String,
    /// The likely cause; empty if all is well, or if the run does not show it.
    pub diagnosis: String,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The state at the end.
    pub end: Option<State>,
    /// What goes into the recording's `sources` and `no_frames`, until it has gone there.
    #[serde(skip)]
    pub found: Found,
}

/// The source, as far as a run's frames name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The files of the lesson.
    pub sources: Vec<Source>,
    /// Why there are no frames, if there are none.
    pub no_frames: Option<String>,
}

impl From<&Run> for RecordedRun {
    fn from(run: &Run) -> Self {
        Self {
            schedule: run.schedule().to_string(),
            verdict: run.verdict,
            what: run.what.clone(),
            diagnosis: diagnose(run),
            events: run.events.clone(),
            end: run.end.clone(),
            found: run.found.clone(),
        }
    }
}

impl Recording {
    /// A run, and beside it the nearest one that passes.
    pub fn new(server: &str, script: &Script, faults: Faults, run: &Run, passing: Option<&Run>) -> Self {
        let runs: Vec<RecordedRun> = [Some(run), passing].into_iter().flatten().map(RecordedRun::from).collect();
        Self { passing: passing.map(|_| 1), ..Self::of_runs(server, script, faults, runs) }
    }

    /// A finding, and beside it the nearest run that passes.
    pub fn of_finding(server: &str, script: &Script, finding: &Finding) -> Self {
        let mut recording = Self::new(server, script, finding.faults, &finding.run, finding.passing.as_ref());
        // If it does not fail each time, the finding says so, and the run does not.
        recording.runs[0].verdict = finding.verdict;
        recording.runs[0].what.clone_from(&finding.what);
        recording
    }

    /// Runs of which the first is the one to show.
    pub fn of_runs(server: &str, script: &Script, faults: Faults, mut runs: Vec<RecordedRun>) -> Self {
        let Found { sources, no_frames } = sources::gather(&mut runs);
        Self {
            format: FORMAT.into(),
            version: VERSION,
            server: server.to_owned(),
            script_name: script.name.clone(),
            script: script.to_string(),
            steps: script.steps.iter().map(ToString::to_string).collect(),
            faults: faults.to_string(),
            sources,
            no_frames,
            runs,
            passing: None,
            bound: None,
        }
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers only") + "\n"
    }
}
