//! One run as a file, for a player to step through. The format is described in RECORD.md.
//!
//! Invariant: a reader that knows `format` and `version` can rely on every field that RECORD.md names for that version.

use serde::Serialize;

use crate::diagnose::diagnose;
use crate::run::{Event, Run, Snapshot, Verdict};
use crate::script::Script;

/// What stands in `format`.
pub const FORMAT: &str = "event-loop-run";
/// What stands in `version`; it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

#[derive(Serialize)]
struct Record<'a> {
    format: &'static str,
    version: u32,
    server: &'a str,
    script: String,
    schedule: String,
    verdict: Verdict,
    what: &'a str,
    diagnosis: String,
    events: &'a [Event],
    end: Option<&'a Snapshot>,
}

/// The text of the file.
pub fn record(server: &str, script: &Script, run: &Run) -> String {
    let record = Record {
        format: FORMAT,
        version: VERSION,
        server,
        script: script.to_string(),
        schedule: run.schedule().to_string(),
        verdict: run.verdict,
        what: &run.what,
        diagnosis: diagnose(run),
        events: &run.events,
        end: run.end.as_ref(),
    };
    serde_json::to_string_pretty(&record).expect("strings and numbers only") + "\n"
}
