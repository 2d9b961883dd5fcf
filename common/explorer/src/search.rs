//! The search: every schedule up to a bound, each run from the start of a new server.
//!
//! Invariant: schedules come in the order of their placements, so the first that fails is one with the fewest; and no
//! schedule is run twice. A run waits in the frontier until each of its decisions has been changed once. Runs with as many
//! placements as the bound allows are not kept, so memory holds the runs that have fewer.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::engine;
use crate::explore::{Finding, Plan};
use crate::reduction::Relation;
use crate::run::{Error, Point, Run, Schedule, Verdict};

/// Tries of one schedule before the explorer counts it among those that do not replay exactly.
const TRIES: u32 = 4;

/// A run whose decisions after its last placement are still to be changed, one at a time.
struct Branching {
    /// Up to and including the last placement.
    schedule: Schedule,
    /// The decisions of the run. After the schedule each of them is 0.
    points: Vec<Point>,
    /// The next decision to change.
    at: usize,
    /// What to change it to.
    choice: u8,
}

impl Branching {
    /// The next schedule with one placement more, and what must have happened before that placement.
    fn next(&mut self) -> Option<(Schedule, u64)> {
        while self.choice >= self.points.get(self.at)?.options {
            self.at += 1;
            self.choice = 1;
        }
        let mut schedule = self.schedule.0.clone();
        schedule.resize(self.at, 0);
        schedule.push(self.choice);
        self.choice += 1;
        Some((Schedule(schedule), self.points[self.at].before))
    }
}

/// One schedule that was run.
pub struct Tried {
    pub schedule: Schedule,
    pub run: Run,
}

pub struct Search<'a> {
    plan: &'a Plan<'a>,
    relation: Relation,
    stop: &'a AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
    frontier: VecDeque<Branching>,
    /// The schedule without a placement has been run.
    begun: bool,
    started: Instant,
    /// Servers that were started and run.
    pub runs: u64,
    /// Why the search ended before all schedules were run.
    pub cut: Option<String>,
    /// Schedules that did not lead to the same system calls each time.
    pub diverged: u64,
}

impl<'a> Search<'a> {
    pub fn new(
        plan: &'a Plan<'a>,
        relation: Relation,
        stop: &'a AtomicBool,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Self {
        Self {
            plan,
            relation,
            stop,
            progress,
            frontier: VecDeque::new(),
            begun: false,
            started: Instant::now(),
            runs: 0,
            cut: None,
            diverged: 0,
        }
    }

    /// Runs the next schedule; `None` when there is none left, or the search was cut.
    pub fn next(&mut self) -> Result<Option<Tried>, Error> {
        loop {
            let Some((schedule, before)) = self.next_schedule() else { return Ok(None) };
            if self.is_cut(schedule.placements()) {
                return Ok(None);
            }
            let run = self.run(&schedule, before, false)?;
            // The prefix leads elsewhere this time, so there is no such schedule. A server of which this is true again
            // and again is a finding.
            let gone = run.verdict == Verdict::NonDeterministic && self.diverged <= 3 + self.runs / 10;
            if !gone {
                return Ok(Some(Tried { schedule, run }));
            }
        }
    }

    fn next_schedule(&mut self) -> Option<(Schedule, Option<u64>)> {
        if !self.begun {
            self.begun = true;
            return Some((Schedule::default(), None));
        }
        while let Some(front) = self.frontier.front_mut() {
            if let Some((schedule, before)) = front.next() {
                return Some((schedule, Some(before)));
            }
            self.frontier.pop_front();
        }
        None
    }

    /// The schedules that follow this one with one placement more are run later, if the bound allows them.
    pub fn branch(&mut self, tried: Tried) {
        let Tried { schedule, run } = tried;
        if run.verdict != Verdict::NonDeterministic && schedule.placements() < self.plan.max_placements {
            let at = schedule.0.len();
            self.frontier.push_back(Branching { schedule, points: run.points, at, choice: 1 });
        }
    }

    fn is_cut(&mut self, placements: usize) -> bool {
        if self.plan.max_runs.is_some_and(|max| self.runs >= max) {
            self.cut = Some(format!("at {} runs", self.runs));
        }
        let hurried = placements > self.plan.always;
        if hurried && self.plan.max_time.is_some_and(|max| self.started.elapsed() > max) {
            self.cut = Some(format!("after {:.1} s", self.seconds()));
        }
        self.cut.is_some()
    }

    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn run(&mut self, schedule: &Schedule, before_last: Option<u64>, keep: bool) -> Result<Run, Error> {
        let Plan { target, script, faults, .. } = *self.plan;
        let (relation, stop) = (self.relation, self.stop);
        for tries in 1..=TRIES {
            // What comes before the last decision may differ, by a timer of the server or the kernel. The run is a real
            // one all the same, so in the end it is taken as it is.
            let before_last = before_last.filter(|_| tries < TRIES);
            let run =
                engine::run(&engine::Order { target, script, faults, schedule, before_last, relation, keep, stop })?;
            self.runs += 1;
            (self.progress)(self.runs);
            if run.verdict != Verdict::NonDeterministic {
                self.diverged += u64::from(tries == TRIES);
                return Ok(run);
            }
        }
        self.diverged += 1;
        engine::run(&engine::Order { target, script, faults, schedule, before_last: None, relation, keep, stop })
    }

    /// Runs the failing schedule once more for the record, and looks for one near it that passes.
    pub fn confirm(&mut self, failed: Tried) -> Result<Finding, Error> {
        let schedule = match failed.run.verdict {
            Verdict::NonDeterministic => failed.schedule,
            _ => failed.run.schedule(),
        };
        let mut run = self.run(&schedule, None, true)?;
        for _ in 0..TRIES {
            if run.verdict != Verdict::Ok {
                break;
            }
            run = self.run(&schedule, None, true)?;
        }
        let passing = self.nearest_passing(&run)?;
        let (verdict, what) = match run.verdict {
            Verdict::Ok => {
                (Verdict::NonDeterministic, "the schedule failed once and passed when it was replayed".into())
            }
            verdict => (verdict, run.what.clone()),
        };
        Ok(Finding { verdict, what, schedule, faults: self.plan.faults, run, passing })
    }

    /// With one placement less, it passed. If it had none, one placement may help.
    fn nearest_passing(&mut self, failing: &Run) -> Result<Option<Run>, Error> {
        const PATIENCE: Duration = Duration::from_secs(3);
        let started = Instant::now();
        let taken: Vec<u8> = failing.points.iter().map(|point| point.chosen).collect();
        if let Some(last) = taken.iter().rposition(|choice| *choice != 0) {
            // It has passed before, so it is run for the record at once.
            let run = self.run(&Schedule(taken[..last].to_vec()).trimmed(), None, true)?;
            if run.verdict == Verdict::Ok {
                return Ok(Some(run));
            }
        }
        // From the end: what comes late in the run is nearest to where it failed.
        for (at, _) in failing.points.iter().enumerate().rev().filter(|(_, point)| point.chosen == 0) {
            if started.elapsed() > PATIENCE {
                break;
            }
            let mut other = taken[..at].to_vec();
            other.push(1);
            let schedule = Schedule(other);
            if self.run(&schedule, None, false)?.verdict == Verdict::Ok {
                let run = self.run(&schedule, None, true)?;
                return Ok((run.verdict == Verdict::Ok).then_some(run));
            }
        }
        Ok(None)
    }
}
