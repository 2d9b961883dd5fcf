//! What a server is worth as an answer to an exercise.
//!
//! Invariant: the points are shared evenly among the exercise's own checks, and the share won is cut by the part of the
//! kept checks that fails: the untouched starter gets nothing, and a fix that breaks something else not all.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Check, Outcome, Report, Subject};

use super::exercise::Exercise;
use crate::checking::jobs::{self, RunEvent};

/// The reports of one exercise's checks on one server.
#[derive(Debug)]
pub struct Judgement {
    /// Of its own checks, in their order.
    pub own: Vec<Report>,
    /// Of the kept ones.
    pub kept: Vec<Report>,
}

impl Judgement {
    /// All reports, its own first.
    pub fn all(&self) -> impl Iterator<Item = &Report> {
        self.own.iter().chain(&self.kept)
    }

    /// Whether nothing failed, and something of its own was tried.
    pub fn passed(&self) -> bool {
        let failed = self.all().any(|report| matches!(report.outcome, Outcome::Fail(_)));
        !failed && self.own.iter().any(|report| matches!(report.outcome, Outcome::Pass))
    }

    /// Whether none of its own checks could be tried here.
    pub fn untried(&self) -> bool {
        self.own.iter().all(|report| matches!(report.outcome, Outcome::Skip { .. }))
    }

    /// From 0 to 1. Checks that were skipped count neither for nor against.
    pub fn share(&self) -> f64 {
        part(&self.own).unwrap_or(0.0) * part(&self.kept).unwrap_or(1.0)
    }
}

/// The part that passes of those that were not skipped.
fn part(reports: &[Report]) -> Option<f64> {
    let tried = reports.iter().filter(|report| !matches!(report.outcome, Outcome::Skip { .. })).count();
    let passed = reports.iter().filter(|report| matches!(report.outcome, Outcome::Pass)).count();
    (tried > 0).then(|| passed as f64 / tried as f64)
}

/// Runs an exercise's own checks and the kept ones, several at once; tells of each as it ends.
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
        harness::checks().find(|check| check.full_name() == name).expect("the catalogue knows every check")
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
