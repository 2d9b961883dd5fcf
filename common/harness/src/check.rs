//! Checks, and how one runs.
//!
//! Invariant: a check's name is a sentence of the contract and its clause is the one it proves; its result is a pass, a
//! failure that explains itself, or a skip with its reason. A check that could not be carried out is a failure too.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Step, Stop, Symptom};
use crate::kevent;
use crate::limit::{self, Limit};
use crate::overdue;
use crate::rerun::Reruns;
use crate::steps::Culprit;
use crate::subject::{Model, Subject};
use crate::trial::Trial;

/// One check: a function with `#[check]`, which fills this in.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The group it belongs to: its module.
    pub group: &'static str,
    /// What the server does, as a sentence with underscores: the function's name.
    pub name: &'static str,
    /// The clause of CONTRACT.md that it proves.
    pub clause: u8,
    /// One line on what it does to the server: the function's doc comment.
    pub about: &'static str,
    /// Must have the machine to itself.
    pub alone: bool,
    /// `cargo test` runs it on variants too: it takes little time, and one of the plainer bugs shows in it.
    pub quick: bool,
    /// Takes many seconds, and runs only when it is asked for.
    pub long: bool,
    /// Where it stands in its file.
    pub line: u32,
    /// The check itself.
    pub run: fn(&mut Trial<'_>) -> Step,
}

inventory::collect!(Check);

/// `harness::checks::echo` as `echo`.
pub(crate) const fn last_segment(path: &'static str) -> &'static str {
    let mut start = path.len();
    while start > 0 && path.as_bytes()[start - 1] != b':' {
        start -= 1;
    }
    path.split_at(start).1
}

impl Check {
    /// `group::name`.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.group, self.name)
    }
}

/// How a check ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// The server does what the clause says.
    Pass,
    /// It does not.
    Fail(Failure),
    /// It was not tried, for this reason.
    Skip {
        /// Why.
        reason: String,
    },
}

/// The result of one check on one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// `group::name` of the check.
    pub check: String,
    /// The clause it proves.
    pub clause: u8,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Checks that need the machine to themselves hold this for writing.
static MACHINE: RwLock<()> = RwLock::new(());

/// Held by what does not need the machine to itself.
pub(crate) fn among_others() -> RwLockReadGuard<'static, ()> {
    // A check that panicked has poisoned nothing: the lock guards no data.
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one check on a server of its own. If it fails, it is run once more under a tracer, for the cause alone.
pub fn run(check: &Check, subject: &Subject) -> Report {
    run_with(check, subject, &Reruns::every_time(), &|| {})
}

/// As `run`; `reruns` bounds what one server's failures may cost. `failed` is called as soon as the check has failed, before
/// it is run once more.
pub fn run_with(check: &Check, subject: &Subject, reruns: &Reruns, failed: &dyn Fn()) -> Report {
    if let Some(reason) = subject.declared(check.group, &check.full_name()) {
        let outcome = Outcome::Skip { reason: format!("declared difference: {reason}") };
        return Report { check: check.full_name(), clause: check.clause, seconds: 0.0, outcome };
    }
    crate::trial::raise_fd_limit();
    let _alone = check.alone.then(|| MACHINE.write().unwrap_or_else(PoisonError::into_inner));
    let _shared = (!check.alone).then(among_others);
    let start = Instant::now();
    let outcome =
        overdue::within_bounds(&check.full_name(), &subject.name, || judge(check, subject, reruns, start, failed));
    Report { check: check.full_name(), clause: check.clause, seconds: seconds(start.elapsed()), outcome }
}

fn judge(check: &Check, subject: &Subject, reruns: &Reruns, start: Instant, failed: &dyn Fn()) -> Outcome {
    let (mut outcome, crowd) = run_once(check, subject);
    if matches!(outcome, Outcome::Fail(_)) {
        outcome = judged_by_its_limits(check, subject, outcome, crowd);
    }
    if let Outcome::Fail(failure) = &mut outcome {
        failed();
        reruns.explain(check, subject, failure, start.elapsed());
        if subject.kqueue && cfg!(target_os = "linux") {
            kevent::speak_of_kevent(failure);
        }
    }
    outcome
}

/// What came of a check, and how many clients it had: in all, and at once.
fn run_once(check: &Check, subject: &Subject) -> (Outcome, (usize, usize)) {
    let (outcome, crowd, _) = once(check, subject);
    (outcome, crowd)
}

/// As `run_once`, and which client's connection a failure is about.
pub(crate) fn once(check: &Check, subject: &Subject) -> (Outcome, (usize, usize), Option<Culprit>) {
    let mut trial = Trial::new(subject);
    let log = trial.log.clone();
    let result = (check.run)(&mut trial);
    let crowd = trial.clients();
    let outcome = match trial.finish(result) {
        Ok(()) => Outcome::Pass,
        Err(Stop::Skip(reason)) => Outcome::Skip { reason },
        Err(Stop::Fail(failure)) if failure.symptom == Symptom::Exited && subject.model == Model::Completion => {
            // Not its fault where nobody gets a ring.
            match observe::io_uring_denied() {
                Some(reason) => Outcome::Skip { reason },
                None => Outcome::Fail(*failure),
            }
        }
        Err(Stop::Fail(failure)) => Outcome::Fail(*failure),
        Err(Stop::Broken(what)) => Outcome::Fail(Failure::new(
            Symptom::Contract,
            format!("the check could not be carried out: {what}"),
            "This says nothing about the server.",
        )),
    };
    (outcome, crowd, log.culprit())
}

/// A failure, unless the server has a limit of its own, or this machine has one, that the check did not stay below.
fn judged_by_its_limits(check: &Check, subject: &Subject, failed: Outcome, (all, at_once): (usize, usize)) -> Outcome {
    /// More than any check has at once with a server of somebody else.
    const MOST: usize = 1024;
    let Outcome::Fail(failure) = failed else { return failed };
    if failure.symptom == Symptom::Leak || at_once < 2 {
        return Outcome::Fail(failure);
    }
    if let Some(reason) = limit::lacks_descriptors(subject, at_once) {
        return Outcome::Skip { reason };
    }
    if subject.own || subject.max_clients.is_some() {
        return Outcome::Fail(failure);
    }
    match limit::of(subject, (all + 1).min(MOST)) {
        Limit::Policy(max) => run_once(check, &Subject { max_clients: Some(max), ..subject.clone() }).0,
        Limit::Kept(kept) if all > kept.first as usize && failure.symptom == kept.symptom() => {
            Outcome::Fail(Failure { cause: kept.cause(), ..failure })
        }
        _ => Outcome::Fail(failure),
    }
}

fn seconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1000.0).round() / 1000.0
}

/// A clause of the contract: its text, from CONTRACT.md.
pub fn clause(number: u8) -> &'static str {
    include_str!("../CONTRACT.md")
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{number}. ")))
        .unwrap_or_else(|| panic!("CONTRACT.md has no clause {number}"))
}

impl Report {
    /// What it failed with, if it failed.
    pub fn symptom(&self) -> Option<Symptom> {
        match &self.outcome {
            Outcome::Fail(failure) => Some(failure.symptom),
            _ => None,
        }
    }

    /// The whole story of a failure, as printed below the matrix and by `cargo test`.
    pub fn explain(&self) -> Option<String> {
        let Outcome::Fail(failure) = &self.outcome else { return None };
        Some(format!(
            "{}\n{failure}  contract, clause {}: {}\n",
            self.check,
            self.clause,
            clause(self.clause).replace("**", "")
        ))
    }
}
