//! What a server is worth as an answer to an exercise.
//!
//! Invariant: the points are shared evenly among the exercise's own checks, and the share won is cut by the part of the
//! kept checks that fails: the untouched starter gets nothing, and a fix that breaks something else not all.

use harness::{Outcome, Report, Subject};

use super::catalogue::Exercise;

/// The reports of one exercise's checks on one server.
#[derive(Debug)]
pub struct Verdict {
    /// Of its own checks, in their order.
    pub own: Vec<Report>,
    /// Of the kept ones.
    pub kept: Vec<Report>,
}

impl Verdict {
    /// Whether nothing failed, and something of its own was tried.
    pub fn passed(&self) -> bool {
        let failed = self.own.iter().chain(&self.kept).any(|report| matches!(report.outcome, Outcome::Fail(_)));
        !failed && self.own.iter().any(|report| matches!(report.outcome, Outcome::Pass))
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

/// Runs an exercise's own checks and then the kept ones; tells of each as it ends.
pub fn judge(exercise: &Exercise, subject: &Subject, mut tell: impl FnMut(&Report)) -> Verdict {
    let mut run = |name: &str| {
        let check = harness::checks().find(|check| check.full_name() == name).expect("the catalogue knows every check");
        let report = harness::run(check, subject);
        tell(&report);
        report
    };
    let own = exercise.about.must_pass.iter().map(|proof| run(&proof.check)).collect();
    let kept = exercise.kept().map(&mut run).collect();
    Verdict { own, kept }
}
