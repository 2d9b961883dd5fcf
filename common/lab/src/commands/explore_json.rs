//! `cargo lab explore --json`: what was explored, as an object.
//!
//! Invariant: the fields are those that `cargo lab explore --help` names.

use explorer::{Coverage, Exploration, Finding, Run, Script, Verdict, report};
use serde::Serialize;

/// One server, and each script that was explored on it.
#[derive(Serialize)]
pub struct ExplorationJson {
    /// The server's name.
    pub server: String,
    /// The part that was explored, if not the whole.
    pub shard: Option<String>,
    /// In the order in which they were explored.
    pub scripts: Vec<ScriptJson>,
}

/// One script.
#[derive(Serialize)]
pub struct ScriptJson {
    name: String,
    script: String,
    runs: u64,
    seconds: f64,
    complete: bool,
    placements: Option<usize>,
    cut: Option<String>,
    diverged: u64,
    finding: Option<FindingJson>,
}

#[derive(Serialize)]
struct FindingJson {
    verdict: Verdict,
    what: String,
    diagnosis: String,
    replay: String,
    trace: Vec<TraceRowJson>,
    kernel: Vec<String>,
    passing: Option<PassingJson>,
}

/// The nearest schedule that passes.
#[derive(Serialize)]
struct PassingJson {
    replay: String,
    trace: Vec<TraceRowJson>,
}

#[derive(Serialize)]
struct TraceRowJson {
    server: String,
    client: String,
    placed: bool,
}

impl ScriptJson {
    /// What came of exploring this script.
    pub fn new(script: &Script, explored: &Exploration) -> Self {
        let (placements, cut) = match &explored.coverage {
            Coverage::Complete(placements) => (Some(*placements), None),
            Coverage::Cut(why) => (None, Some(why.clone())),
        };
        Self {
            name: script.name.clone(),
            script: script.to_string(),
            runs: explored.runs,
            seconds: explored.seconds,
            complete: cut.is_none() && explored.finding.is_none(),
            placements,
            cut,
            diverged: explored.diverged,
            finding: explored.finding.as_ref().map(finding),
        }
    }
}

fn finding(finding: &Finding) -> FindingJson {
    FindingJson {
        verdict: finding.verdict,
        what: finding.what.clone(),
        diagnosis: explorer::diagnose::diagnose(&finding.run),
        replay: finding.schedule.to_string(),
        trace: trace(&finding.run),
        kernel: finding.run.end.as_ref().map(report::state).unwrap_or_default(),
        passing: finding
            .passing
            .as_ref()
            .map(|run| PassingJson { replay: run.schedule().to_string(), trace: trace(run) }),
    }
}

fn trace(run: &Run) -> Vec<TraceRowJson> {
    let row = |row: report::Row| TraceRowJson { server: row.server, client: row.client, placed: row.placed };
    report::rows(run).into_iter().map(row).collect()
}
