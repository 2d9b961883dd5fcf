//! All schedules up to a bound, each from the start of a new server.
//!
//! Invariant: schedules come in the order of their placements, so the first that fails is one with the fewest. What is
//! kept is one path from the root of the tree of decisions: memory does not grow with the runs.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::engine;
use crate::order::Order;
use crate::record::{Bound, RecordedRun, Recording};
use crate::reduction::{self, Relation};
use crate::run::{Error, Faults, Run, Schedule, Subject, Verdict};
use crate::script::Script;
use crate::search::Search;

/// What is to be explored.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The server.
    pub subject: &'a Subject,
    /// The client's side.
    pub script: &'a Script,
    /// Faults at every point where they can happen.
    pub faults: Faults,
    /// Steps placed at most where the server could have gone on.
    pub max_placements: usize,
    /// With so many placements, schedules are tried for longer than `max_time`: for up to 20 seconds.
    pub always: usize,
    /// Runs at most.
    pub max_runs: Option<u64>,
    /// Time at most; looked at between runs.
    pub max_time: Option<Duration>,
}

/// Whether all schedules up to the bound were tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// All with this many placements and fewer.
    Complete(usize),
    /// Not all: why.
    Cut(String),
}

/// A schedule that fails.
#[derive(Debug)]
pub struct Finding {
    /// It fails with this.
    pub verdict: Verdict,
    /// In one sentence.
    pub what: String,
    /// The schedule.
    pub schedule: Schedule,
    /// The faults that were tried.
    pub faults: Faults,
    /// What happens under it.
    pub run: Run,
    /// The nearest one that passes, if one was found.
    pub passing: Option<Run>,
}

/// What came of an exploration.
#[derive(Debug)]
pub struct Exploration {
    /// Servers that were started and run to the end of the script.
    pub runs: u64,
    /// Those of them that every part of the schedules makes.
    pub shared_runs: u64,
    /// Decisions in the run without a placement.
    pub points: usize,
    /// Whether that was all.
    pub coverage: Coverage,
    /// All schedules with fewer placements than this were run, or are known to have the same results.
    pub placements: usize,
    /// The first schedule that fails.
    pub finding: Option<Finding>,
    /// Schedules that did not lead to the same system calls each time. They were run all the same.
    pub diverged: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Explores; `progress` is told the number of runs after each.
///
/// # Errors
/// If nothing can be explored here, or the server does not start.
pub fn explore(plan: &Plan<'_>, stop: &AtomicBool, progress: &(dyn Fn(u64) + Sync)) -> Result<Exploration, Error> {
    explore_part(plan, (0, 1), stop, progress)
}

/// Explores one part of the schedules: which, from 0, and of how many. Schedules with fewer than two placements are in each
/// part. The others are divided by their decisions alone, so all parts together are what `explore` tries.
///
/// # Errors
/// As `explore`.
pub fn explore_part(
    plan: &Plan<'_>,
    part: (u64, u64),
    stop: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Exploration, Error> {
    in_a_thread(|| {
        let mut search = Search::new(plan, reduction::argued, stop, progress).part(part);
        let mut points = 0;
        let mut finding = None;
        while let Some(tried) = search.next()? {
            if tried.schedule.0.is_empty() {
                points = tried.run.points.len();
            }
            if tried.run.verdict != Verdict::Ok {
                finding = Some(search.confirm(tried)?);
                break;
            }
            search.branch(tried);
        }
        let reached = finding.as_ref().map_or(plan.max_placements, |it| it.run.placements());
        Ok(Exploration {
            runs: search.runs,
            shared_runs: search.shared_runs,
            points,
            placements: search.placements(),
            finding,
            diverged: search.diverged,
            seconds: search.seconds(),
            coverage: search.cut.map_or(Coverage::Complete(reached), Coverage::Cut),
        })
    })
}

/// Every verdict that some schedule up to the bound leads to, with its sentence, under a relation of the caller's
/// choice; and the number of runs. For the test of the reduction: it goes on behind schedules that fail.
///
/// # Errors
/// As `explore`; and if the plan's bounds cut the search.
pub fn verdicts(plan: &Plan<'_>, relation: Relation) -> Result<(BTreeSet<(Verdict, String)>, u64), Error> {
    let stop = AtomicBool::new(false);
    in_a_thread(|| {
        let mut search = Search::new(plan, relation, &stop, &|_| {});
        let mut found = BTreeSet::new();
        while let Some(tried) = search.next()? {
            found.insert((tried.run.verdict, tried.run.what.clone()));
            search.branch(tried);
        }
        match search.cut {
            Some(why) => Err(Error::Broken(format!("the search was cut {why}"))),
            None => Ok((found, search.runs)),
        }
    })
}

/// Every schedule up to the bound, without the reduction: a recording with a run for each gap between two calls that a step
/// can come into. The first one that fails is the first of the recording; if none fails, that is the run without placements.
///
/// # Errors
/// As `explore`.
pub fn record_all(plan: &Plan<'_>, stop: &AtomicBool, progress: &(dyn Fn(u64) + Sync)) -> Result<Recording, Error> {
    in_a_thread(|| {
        let mut search = Search::new(plan, reduction::every_gap, stop, progress).recording();
        let mut runs = Vec::new();
        while let Some(tried) = search.next()? {
            runs.push((tried.run.schedule(), RecordedRun::from(&tried.run)));
            search.branch(tried);
        }
        if runs.is_empty() {
            return Err(Error::Endless);
        }
        let first = runs.iter().position(|(_, run)| run.verdict != Verdict::Ok);
        if let Some(first) = first {
            let failing = runs.remove(first);
            runs.insert(0, failing);
        }
        let passing = first.and_then(|_| nearest_passing(&runs));
        let runs = runs.into_iter().map(|(_, run)| run).collect();
        let cut = search.cut.clone();
        let bound = Bound { placements: plan.max_placements, complete: cut.is_none(), cut };
        let recording = Recording::of_runs(&plan.subject.name, plan.script, plan.faults, runs);
        Ok(Recording { passing, bound: Some(bound), ..recording })
    })
}

/// Of the runs that pass, one that goes together with the first run for as long as any does.
fn nearest_passing(runs: &[(Schedule, RecordedRun)]) -> Option<usize> {
    let together = |one: &Schedule, other: &Schedule| {
        let decisions = |schedule: &Schedule, at: usize| schedule.0.get(at).copied().unwrap_or(0);
        let longer = one.0.len().max(other.0.len());
        (0..longer).take_while(|at| decisions(one, *at) == decisions(other, *at)).count()
    };
    let (first, _) = runs.first()?;
    let passing = runs.iter().enumerate().filter(|(_, (_, run))| run.verdict == Verdict::Ok);
    // Of those that part at the same place, the one with the fewest placements, which comes first.
    passing.max_by_key(|(at, (schedule, _))| (together(first, schedule), std::cmp::Reverse(*at))).map(|(at, _)| at)
}

/// A schedule near one that fails, under which the server passes; `None` if none was found.
///
/// # Errors
/// As `explore`.
pub fn passing_beside(plan: &Plan<'_>, failing: &Run, stop: &AtomicBool) -> Result<Option<Run>, Error> {
    in_a_thread(|| match Search::new(plan, reduction::argued, stop, &|_| {}).nearest_passing(failing) {
        Err(Error::Endless) => Ok(None),
        passing => passing,
    })
}

/// One run under a schedule, with all that happens in it.
///
/// # Errors
/// As `explore`; and if the schedule has decisions that this server does not come to.
pub fn replay(
    subject: &Subject,
    script: &Script,
    faults: Faults,
    schedule: &Schedule,
    stop: &AtomicBool,
) -> Result<Run, Error> {
    let order =
        Order { subject, script, faults, schedule, before_last: None, relation: reduction::argued, keep: true, stop };
    let run = in_a_thread(|| engine::run(&order))?;
    if run.verdict == Verdict::NonDeterministic || run.points.len() < schedule.trimmed().0.len() {
        return Err(Error::Broken(format!(
            "the schedule {schedule} does not fit: after {} of its decisions there was no such choice. It belongs to this \
             server with another script or other --faults, or the server does not do the same each time",
            run.points.len()
        )));
    }
    Ok(run)
}

/// Whether anything can be explored here; if not, why.
///
/// # Errors
/// The reason.
pub fn possible() -> Result<(), String> {
    // Its child has copies of what is open here, and must not hold a connection of somebody else's.
    let tried = in_a_thread(|| Ok(engine::possible()));
    tried.map_err(|error| error.to_string())?
}

/// The kernel binds a traced process to the thread that traces it, and this way it meets no other child. And its
/// descriptors are its own.
fn in_a_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let alone = || {
        engine::leave_descriptors();
        work()
    };
    std::thread::scope(|scope| match scope.spawn(alone).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
