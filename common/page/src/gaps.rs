//! The gaps between a server's calls into which a step of a client may fall, and what came of each.
//!
//! Invariant: a gap is here only if the run in which the step fell into it is in the recording.

use explorer::Verdict;
use explorer::record::{Event, RecordedRun, Recording};
use serde::Serialize;

use crate::words;

/// One gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The place of the step in the script.
    pub step: usize,
    /// How many system calls the server had made.
    pub calls: usize,
    /// The call that the server was about to make.
    pub before: String,
    /// The place of the run in the recording.
    pub run: usize,
    /// How it ended.
    pub verdict: Verdict,
}

/// The gaps of a recording, by the script's steps and then by the calls.
pub fn gaps(recording: &Recording) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = recording.runs.iter().enumerate().filter_map(|(at, run)| gap(at, run)).collect();
    // Of several runs in one gap (a kevent of the stand-in has calls of its own inside), one that fails stands for all.
    gaps.sort_by_key(|gap| (gap.step, gap.calls, gap.verdict == Verdict::Ok, gap.run));
    gaps.dedup_by_key(|gap| (gap.step, gap.calls));
    gaps
}

/// How many gaps are fatal, and how many there are.
pub fn fatal(gaps: &[Gap]) -> (usize, usize) {
    (gaps.iter().filter(|gap| words::class(gap.verdict) == "bad").count(), gaps.len())
}

/// `2 of 14 gaps are fatal`: the title of the picture; `None` without a gap.
pub fn title(gaps: &[Gap]) -> Option<String> {
    Some(match fatal(gaps) {
        (_, 0) => return None,
        (0, 1) => "The one gap is harmless".to_owned(),
        (_, 1) => "The one gap is fatal".to_owned(),
        (0, all) => format!("None of {all} gaps is fatal"),
        (1, all) => format!("1 of {all} gaps is fatal"),
        (fatal, all) => format!("{fatal} of {all} gaps are fatal"),
    })
}

/// The gap that a run is about: its placed steps, which came together, and no other choice of the schedule.
fn gap(at: usize, run: &RecordedRun) -> Option<Gap> {
    let mut calls = 0;
    let mut found: Option<Gap> = None;
    for event in &run.events {
        match event {
            Event::Call(_) => calls += 1,
            Event::Preempted { .. } => return None,
            Event::Step(step) if step.fault => return None,
            Event::Step(step) if step.placed => match &found {
                None => {
                    let (step, before) = (step.script_step?, step.before.clone());
                    found = Some(Gap { step, calls, before, run: at, verdict: run.verdict });
                }
                Some(gap) if gap.calls == calls => {}
                Some(_) => return None,
            },
            _ => {}
        }
    }
    found
}
