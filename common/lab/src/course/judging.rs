//! What a server is worth as an answer to an exercise.
//!
//! Invariant: an attempt has passed if all that the starter failed works now, and nothing that worked before is broken.
//! While something that the starter fails still fails, the attempt has half of the points at most. If only something else
//! is broken, it has three quarters at most. The untouched starter has none.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Check, Outcome, Report, Subject};

use super::Exercise;
use crate::checking::jobs::{self, CheckJob, Halt, JobBatch, RunEvent};

/// The largest share of the points while the bug is still there, in another shape.
pub const STILL_THERE: f64 = 0.5;
/// The largest share of the points if the bug is mended, and the fix breaks something else.
pub const BREAKS_ANOTHER: f64 = 0.75;

/// How much of the suite is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// The exercise's own checks; and the rest, if none of them fails.
    OwnFirst,
    /// The exercise's own checks, and of the others those that are quick.
    Quick,
}

/// The reports of a suite on one server, sorted by what a failure means for the exercise.
#[derive(Debug, Default)]
pub struct Judgement {
    /// The exercise's own checks, in their order.
    pub own: Vec<Report>,
    /// The other checks that the starter fails.
    pub starter_failed: Vec<Report>,
    /// The checks that the starter passes.
    pub starter_passed: Vec<Report>,
}

/// What happens while an attempt is judged.
#[derive(Debug)]
pub enum JudgeNews<'a> {
    /// A check has failed; its report comes later.
    Failed(&'a Check),
    /// A check has ended.
    Ended(&'a Report, Stage),
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// The check is one of the exercise's own.
    pub is_own: bool,
    /// How many checks of this stage have ended.
    pub done: usize,
    /// How many there are in this stage.
    pub all: usize,
}

impl Judgement {
    /// All reports, those of the exercise's own checks first.
    pub fn all(&self) -> impl Iterator<Item = &Report> {
        self.own.iter().chain(&self.starter_failed).chain(&self.starter_passed)
    }

    /// Whether no check failed, and at least one of the exercise's own checks was tried.
    pub fn passed(&self) -> bool {
        !self.all().any(is_failure) && self.own.iter().any(|report| matches!(report.outcome, Outcome::Pass))
    }

    /// Whether none of the exercise's own checks could be tried here.
    pub fn untried(&self) -> bool {
        self.own.iter().all(|report| matches!(report.outcome, Outcome::Skip { .. }))
    }

    /// Whether the rest of the suite was left out, because one of the exercise's own checks failed.
    pub fn ended_early(&self) -> bool {
        self.starter_failed.is_empty() && self.starter_passed.is_empty()
    }

    /// Whether all that the starter failed works now.
    pub fn is_mended(&self) -> bool {
        !self.own.iter().chain(&self.starter_failed).any(is_failure)
    }

    /// The share of the points, from 0 to 1. Checks that were skipped count neither for nor against.
    pub fn share(&self) -> f64 {
        let own = part(self.own.iter()).unwrap_or(0.0);
        let rest = part(self.starter_failed.iter().chain(&self.starter_passed)).unwrap_or(1.0);
        let most = match (self.is_mended(), self.starter_passed.iter().any(is_failure)) {
            (true, false) => 1.0,
            (true, true) => BREAKS_ANOTHER,
            (false, _) => STILL_THERE,
        };
        most * own * rest
    }
}

fn is_failure(report: &Report) -> bool {
    matches!(report.outcome, Outcome::Fail(_))
}

/// Of the checks that were not skipped, the share that passes; nothing if all were skipped.
fn part<'a>(reports: impl Iterator<Item = &'a Report>) -> Option<f64> {
    let (mut tried, mut passed) = (0, 0);
    for report in reports {
        tried += u32::from(!matches!(report.outcome, Outcome::Skip { .. }));
        passed += u32::from(matches!(report.outcome, Outcome::Pass));
    }
    if tried == 0 { None } else { Some(f64::from(passed) / f64::from(tried)) }
}

/// The checks of this extent, sorted as in a [`Judgement`].
#[derive(Debug)]
pub struct JudgedChecks {
    checks: Vec<&'static Check>,
    /// How many of them are the exercise's own.
    own: usize,
    /// How many of the others the starter fails.
    starter_failed: usize,
}

impl JudgedChecks {
    /// The checks of the suite, for this exercise.
    pub fn of(exercise: &Exercise, extent: Extent) -> Self {
        let find = |name: &str| {
            harness::checks().find(|check| check.full_name() == name).expect("loading the exercise found every check")
        };
        let mut checks: Vec<&Check> = exercise.about.must_pass.iter().map(|proof| find(&proof.check)).collect();
        let own = checks.len();
        let is_wanted = |check: &&Check| {
            let is_own = exercise.about.must_pass.iter().any(|proof| proof.check == check.full_name());
            // An exploration takes seconds.
            let is_quick = check.quick && check.group != "interleaving";
            !is_own && (is_quick || extent != Extent::Quick)
        };
        let fails = |check: &&Check| exercise.starter_fails.contains(&check.full_name());
        let (failed, passed): (Vec<&Check>, Vec<&Check>) = harness::checks().filter(is_wanted).partition(fails);
        let starter_failed = failed.len();
        checks.extend(failed.into_iter().chain(passed));
        Self { checks, own, starter_failed }
    }

    /// In the order of a judgement's reports.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.checks.iter().map(|check| check.full_name())
    }

    /// A judgement from a report for each check; a check of the rest without a report was not run.
    pub fn judgement(&self, reports: impl IntoIterator<Item = Option<Report>>) -> Judgement {
        let mut judgement = Judgement::default();
        for (place, report) in reports.into_iter().enumerate() {
            let list = match place {
                place if place < self.own => &mut judgement.own,
                place if place < self.own + self.starter_failed => &mut judgement.starter_failed,
                _ => &mut judgement.starter_passed,
            };
            list.extend(report);
        }
        judgement
    }

    fn batch(&self, places: Range<usize>) -> JobBatch {
        let mut jobs: Vec<CheckJob> = places.map(|check| CheckJob { server: 0, check }).collect();
        jobs.sort_by_key(|job| self.checks[job.check].alone);
        JobBatch { workers: harness::workers(), jobs }
    }
}

/// Runs the suite, several checks at once. `tell` gets each report as its check ends.
pub fn judge(
    exercise: &Exercise,
    subject: &Subject,
    extent: Extent,
    mut tell: impl FnMut(&Report, Stage) + Send,
) -> Judgement {
    let ended = |news: JudgeNews<'_>| {
        if let JudgeNews::Ended(report, stage) = news {
            tell(report, stage);
        }
    };
    judge_until(exercise, subject, extent, &AtomicBool::new(false), ended).expect("nobody stops it")
}

/// As [`judge`]; `None` if `stop` was set before the end.
pub fn judge_until(
    exercise: &Exercise,
    subject: &Subject,
    extent: Extent,
    stop: &AtomicBool,
    mut tell: impl FnMut(JudgeNews<'_>) + Send,
) -> Option<Judgement> {
    let judged = JudgedChecks::of(exercise, extent);
    let (own, all) = (judged.own, judged.checks.len());
    let (mut done, mut failed, mut passed) = (0, false, false);
    let batches = [judged.batch(0..own), judged.batch(own..all)];
    let reports = jobs::run(&[subject], &judged.checks, &batches, stop, |event| {
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(Halt::Run);
        }
        let (job, report) = match event {
            RunEvent::Started(_) => return ControlFlow::Continue(()),
            RunEvent::Failed(job) => {
                tell(JudgeNews::Failed(judged.checks[job.check]));
                return ControlFlow::Continue(());
            }
            RunEvent::Finished(job, report) => (job, report),
        };
        done += 1;
        let is_own = job.check < own;
        let stage = if is_own { (done, own) } else { (done - own, all - own) };
        tell(JudgeNews::Ended(report, Stage { is_own, done: stage.0, all: stage.1 }));
        failed |= is_failure(report);
        passed |= matches!(report.outcome, Outcome::Pass);
        // Without one that passes, the exercise's own checks cannot be run here.
        let ends_here = extent == Extent::OwnFirst && done == own && (failed || !passed);
        if ends_here { ControlFlow::Break(Halt::Run) } else { ControlFlow::Continue(()) }
    });
    if stop.load(Ordering::Relaxed) {
        return None;
    }
    Some(judged.judgement(reports.into_iter().flatten()))
}

#[cfg(test)]
mod tests {
    use harness::{Failure, Symptom};

    use super::*;

    fn reports(outcomes: &str) -> Vec<Report> {
        let outcome = |letter| match letter {
            'p' => Outcome::Pass,
            's' => Outcome::Skip { reason: "not here".into() },
            _ => Outcome::Fail(Failure::new(Symptom::ReadLost, "lost", "")),
        };
        let report = |letter| Report { check: "a::b".into(), clause: 2, seconds: 0.0, outcome: outcome(letter) };
        outcomes.chars().map(report).collect()
    }

    fn share(own: &str, starter_failed: &str, starter_passed: &str) -> (f64, bool) {
        let [own, starter_failed, starter_passed] = [own, starter_failed, starter_passed].map(reports);
        let judgement = Judgement { own, starter_failed, starter_passed };
        (judgement.share(), judgement.passed())
    }

    #[test]
    fn all_points_are_for_an_attempt_that_fails_nothing() {
        assert_eq!(share("pp", "pp", "pppp"), (1.0, true));
        assert_eq!(share("ps", "sp", "ppsp"), (1.0, true));
        assert_eq!(share("p", "", ""), (1.0, true));
    }

    #[test]
    fn a_bug_in_another_shape_gets_half_at_most() {
        let (points, passed) = share("pp", "pf", "pppppp");
        assert!(points > 0.0 && points < 0.5 && !passed, "{points}");
        let (points, passed) = share("pf", "pp", "pp");
        assert!(points == 0.25 && !passed, "{points}");
        // The rest was not run.
        assert_eq!(share("pf", "", ""), (0.25, false));
        assert_eq!(share("ff", "pp", "pp"), (0.0, false));
    }

    #[test]
    fn a_fix_that_breaks_something_else_gets_three_quarters_at_most() {
        let (points, passed) = share("pp", "pp", "pppf");
        assert!(points > 0.5 && points < 0.75 && !passed, "{points}");
    }

    #[test]
    fn nothing_is_passed_if_nothing_could_be_tried() {
        assert_eq!(share("ss", "", ""), (0.0, false));
    }
}
