//! What a server is worth as an answer to an exercise.
//!
//! Invariant: the exercise's own checks share the points evenly, and the share of the kept checks that fails is taken
//! off. So the untouched starter gets nothing, and a fix that breaks something else does not get all.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Check, Outcome, Report, Subject};

use super::exercise::Exercise;
use crate::checking::jobs::{self, RunEvent};

/// The reports of one exercise's checks on one server.
#[derive(Debug)]
pub struct Judgement {
    /// The reports of the exercise's own checks, in their order.
    pub own: Vec<Report>,
    /// The reports of the kept checks.
    pub kept: Vec<Report>,
}

impl Judgement {
    /// All reports, those of the exercise's own checks first.
    pub fn all(&self) -> impl Iterator<Item = &Report> {
        self.own.iter().chain(&self.kept)
    }

    /// Whether no check failed, and at least one of the exercise's own checks was tried.
    pub fn passed(&self) -> bool {
        let failed = self.all().any(|report| matches!(report.outcome, Outcome::Fail(_)));
        !failed && self.own.iter().any(|report| matches!(report.outcome, Outcome::Pass))
    }

    /// Whether none of the exercise's own checks could be tried here.
    pub fn untried(&self) -> bool {
        self.own.iter().all(|report| matches!(report.outcome, Outcome::Skip { .. }))
    }

    /// From 0 to 1. Checks that were skipped count neither for nor against.
    pub fn share(&self) -> f64 {
        part(&self.own).unwrap_or(0.0) * part(&self.kept).unwrap_or(1.0)
    }
}

/// Of the checks that were not skipped, the share that passes; nothing if all were skipped.
fn part(reports: &[Report]) -> Option<f64> {
    let tried = reports.iter().filter(|report| !matches!(report.outcome, Outcome::Skip { .. })).count();
    let passed = reports.iter().filter(|report| matches!(report.outcome, Outcome::Pass)).count();
    if tried == 0 { None } else { Some(passed as f64 / tried as f64) }
}

/// Runs an exercise's own checks and the kept checks, several at once. `tell` gets each report as its check ends.
pub fn judge(exercise: &Exercise, subject: &Subject, tell: impl FnMut(&Report) + Send) -> Judgement {
    judge_until(exercise, subject, &AtomicBool::new(false), tell).expect("nobody stops it")
}

/// As [`judge`]; `None` if `stop` was set before the end.
pub fn judge_until(
    exercise: &Exercise,
    subject: &Subject,
    stop: &AtomicBool,
    mut tell: impl FnMut(&Report) + Send,
) -> Option<Judgement> {
    let find = |name: &str| {
        harness::checks().find(|check| check.full_name() == name).expect("loading the exercise found every check")
    };
    let own = exercise.about.must_pass.iter().map(|proof| find(&proof.check));
    let checks: Vec<&Check> = own.chain(exercise.kept().map(find)).collect();
    let batch = jobs::batch([0], &checks, harness::workers());
    let reports = jobs::run(&[subject], &checks, &[batch], stop, |event| {
        match event {
            RunEvent::Finished(_, report) if !stop.load(Ordering::Relaxed) => tell(report),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    if stop.load(Ordering::Relaxed) {
        return None;
    }
    let mut own: Vec<Report> = reports.into_iter().flatten().flatten().collect();
    let kept = own.split_off(exercise.about.must_pass.len());
    Some(Judgement { own, kept })
}
