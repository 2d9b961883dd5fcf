//! The search: every schedule up to a bound, each run from the start of a new server.
//!
//! Invariant: schedules come in the order of their placements, so the first that fails is one with the fewest; and no
//! schedule is run twice. Of a run, its decisions are kept for as long as schedules with more placements follow from
//! it; of runs with as many placements as the bound allows, nothing is kept.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::engine;
use crate::explore::{Finding, Plan};
use crate::order::Order;
use crate::reduction::Relation;
use crate::run::{Error, Point, Run, Schedule, Verdict};

/// A plan with a bound on time ends after so long at the latest, however few placements its schedules have. With one placement
/// most servers take a second; one that answers a lack of descriptors by a timer of a second takes minutes.
const LONGEST: Duration = Duration::from_secs(20);
/// Tries of one schedule before the explorer counts it among those that do not replay exactly.
const TRIES: u32 = 4;
/// A schedule that failed and then passes is replayed so often, or for so long. A server with a bug in one start of sixteen
/// fails again; what a busy machine did once does not come again.
const REPLAYS: u32 = 100;
const REPLAYING: Duration = Duration::from_secs(10);

/// Schedules with fewer placements are few, and every part runs them: the others follow from them.
const DIVIDED: usize = 2;

/// A run that has fewer placements than the bound allows: its later decisions are still to be changed, one at a time.
struct Parent {
    /// Up to and including the last placement.
    schedule: Schedule,
    placements: usize,
    /// The decisions of the run. After the schedule each of them is 0.
    points: Vec<Point>,
}

/// A schedule that is still to be run: its parent's, with one decision changed.
struct Child {
    parent: usize,
    at: usize,
    choice: u8,
}

impl Parent {
    /// The later decisions and choices that add as many placements.
    fn changes(&self, placements: usize) -> impl Iterator<Item = (usize, u8)> {
        let later = self.points.iter().enumerate().skip(self.schedule.0.len());
        let choices = later.flat_map(|(at, point)| (1..point.options).map(move |choice| (at, choice, point)));
        choices
            .filter(move |(_, choice, point)| point.placements(*choice) == placements)
            .map(|(at, choice, _)| (at, choice))
    }
}

/// Whether this change of a schedule is in a part. It depends on the decisions alone, so every machine divides in the same way.
fn is_in((part, of): (u64, u64), schedule: &Schedule, at: usize, choice: u8) -> bool {
    // FNV-1a, over the places and the choices of the placements.
    let placed = schedule.0.iter().enumerate().filter(|(_, choice)| **choice != 0);
    let placed = placed.map(|(at, choice)| (at, *choice)).chain([(at, choice)]);
    let bytes = placed.flat_map(|(at, choice)| (at as u64).to_le_bytes().into_iter().chain([choice]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The low bits of this hash depend on the low bits of what came last.
    (hash ^ (hash >> 32)) % of == part
}

/// One schedule that was run.
pub struct Tried {
    pub schedule: Schedule,
    pub placements: usize,
    pub run: Run,
}

pub struct Search<'a> {
    plan: &'a Plan<'a>,
    relation: Relation,
    stop: &'a AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
    parents: Vec<Parent>,
    /// The schedules with so many placements that are still to be run.
    frontier: VecDeque<Child>,
    placements: usize,
    /// The schedule without a placement has been run.
    begun: bool,
    /// Keep the events of every run.
    keep: bool,
    /// Which part of the schedules with [`DIVIDED`] placements or more: from 0, and of how many.
    part: (u64, u64),
    started: Instant,
    /// Servers that were started and run.
    pub runs: u64,
    /// Those of them that are not divided: every part makes them.
    pub shared_runs: u64,
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
            parents: Vec::new(),
            frontier: VecDeque::new(),
            placements: 0,
            begun: false,
            keep: false,
            part: (0, 1),
            started: Instant::now(),
            runs: 0,
            shared_runs: 0,
            cut: None,
            diverged: 0,
        }
    }

    /// The events of every run are kept.
    pub fn recording(self) -> Self {
        Self { keep: true, ..self }
    }

    /// Only one part of the schedules, so that several machines share the search. All parts together are the whole of it.
    pub fn part(self, part: (u64, u64)) -> Self {
        Self { part, ..self }
    }

    /// Runs the next schedule; `None` when there is none left, or the search was cut.
    pub fn next(&mut self) -> Result<Option<Tried>, Error> {
        loop {
            let Some((schedule, before)) = self.next_schedule() else { return Ok(None) };
            if self.is_cut() {
                return Ok(None);
            }
            let run = match self.run(&schedule, before, self.keep) {
                Err(Error::Endless) => {
                    self.cut = Some(format!("in a run that did not end within 20 s ({schedule})"));
                    return Ok(None);
                }
                run => run?,
            };
            // The prefix leads elsewhere this time, so there is no such schedule. A server of which this is true again
            // and again is a finding.
            let gone = run.verdict == Verdict::NonDeterministic && self.diverged <= 3 + self.runs / 10;
            if !gone {
                return Ok(Some(Tried { schedule, placements: self.placements, run }));
            }
        }
    }

    /// The next schedule, and the hash of what must have happened before its last placement.
    fn next_schedule(&mut self) -> Option<(Schedule, Option<u64>)> {
        if !self.begun {
            self.begun = true;
            return Some((Schedule::default(), None));
        }
        loop {
            if let Some(Child { parent, at, choice }) = self.frontier.pop_front() {
                let Parent { schedule, points, .. } = &self.parents[parent];
                let mut schedule = schedule.0.clone();
                schedule.resize(at, 0);
                schedule.push(choice);
                return Some((Schedule(schedule), Some(points[at].before)));
            }
            if self.placements == self.plan.max_placements {
                return None;
            }
            self.placements += 1;
            for (at, parent) in self.parents.iter().enumerate() {
                let changes = parent.changes(self.placements - parent.placements);
                // What follows from a schedule of this part is in this part.
                let divides = parent.placements < DIVIDED && self.placements >= DIVIDED;
                let is_here = |(at, choice): &(usize, u8)| !divides || is_in(self.part, &parent.schedule, *at, *choice);
                let changes = changes.filter(is_here);
                self.frontier.extend(changes.map(|(at_point, choice)| Child { parent: at, at: at_point, choice }));
            }
        }
    }

    /// The schedules that follow this one with more placements are run later, if the bound allows them.
    pub fn branch(&mut self, tried: Tried) {
        let Tried { schedule, placements, run } = tried;
        if run.verdict != Verdict::NonDeterministic && placements < self.plan.max_placements {
            self.parents.push(Parent { schedule, placements, points: run.points });
        }
    }

    fn is_cut(&mut self) -> bool {
        if self.plan.max_runs.is_some_and(|max| self.runs >= max) {
            self.cut = Some(format!("at {} runs", self.runs));
        }
        let hurried = self.placements > self.plan.always;
        let bound = self.plan.max_time.map(|max| if hurried { max } else { max.max(LONGEST) });
        if self.begun && bound.is_some_and(|bound| self.started.elapsed() > bound) {
            let plural = if self.placements == 1 { "" } else { "s" };
            self.cut = Some(format!("after {:.1} s at {} placement{plural}", self.seconds(), self.placements));
        }
        self.cut.is_some()
    }

    /// Of the schedules that come next.
    pub fn placements(&self) -> usize {
        self.placements
    }

    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn run(&mut self, schedule: &Schedule, before_last: Option<u64>, keep: bool) -> Result<Run, Error> {
        let Plan { subject, script, faults, .. } = *self.plan;
        let (relation, stop) = (self.relation, self.stop);
        for tries in 1..=TRIES {
            // What comes before the last decision may differ, by a timer of the server or the kernel. The run is a real
            // one all the same, so in the end it is taken as it is.
            let before_last = before_last.filter(|_| tries < TRIES);
            let run = engine::run(&Order { subject, script, faults, schedule, before_last, relation, keep, stop })?;
            self.runs += 1;
            self.shared_runs += u64::from(self.placements < DIVIDED);
            (self.progress)(self.runs);
            if run.verdict != Verdict::NonDeterministic {
                self.diverged += u64::from(tries == TRIES);
                return Ok(run);
            }
        }
        self.diverged += 1;
        engine::run(&Order { subject, script, faults, schedule, before_last: None, relation, keep, stop })
    }

    /// Runs the failing schedule once more for the record, and looks for one near it that passes.
    pub fn confirm(&mut self, failed: Tried) -> Result<Finding, Error> {
        let Tried { schedule, run: failed, .. } = failed;
        let schedule = if failed.verdict == Verdict::NonDeterministic { schedule } else { failed.schedule() };
        let mut run = self.run(&schedule, None, true)?;
        let mut passed = 0;
        let started = Instant::now();
        while run.verdict == Verdict::Ok && (passed < TRIES || passed < REPLAYS && started.elapsed() < REPLAYING) {
            passed += 1;
            run = self.run(&schedule, None, true)?;
        }
        let passing = match self.nearest_passing(&run) {
            Err(Error::Endless) => None,
            passing => passing?,
        };
        let (verdict, what) = match run.verdict {
            Verdict::Ok => {
                let Run { verdict, what, .. } = &failed;
                let what = format!(
                    "under the schedule {schedule} it failed once ({verdict}: {what}) and passed {passed} times"
                );
                (Verdict::NonDeterministic, what)
            }
            verdict if passed == 0 => (verdict, run.what.clone()),
            verdict => {
                let what = &run.what;
                (verdict, format!("{what} (under one schedule it failed, passed {passed} times, and failed again)"))
            }
        };
        Ok(Finding { verdict, what, schedule, faults: self.plan.faults, run, passing })
    }

    /// With one placement less, it passed. If it had none, one placement may help.
    pub fn nearest_passing(&mut self, failing: &Run) -> Result<Option<Run>, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_a_schedule_is_in_one_part_and_the_parts_are_about_as_large() {
        const OF: u64 = 4;
        let mut sizes = [0; OF as usize];
        for first in 0..20 {
            let parent = Schedule([vec![0; first], vec![1]].concat());
            for at in first + 1..40 {
                let parts = (0..OF).filter(|part| is_in((*part, OF), &parent, at, 1));
                let parts: Vec<u64> = parts.collect();
                assert_eq!(parts.len(), 1, "{first} {at}: {parts:?}");
                sizes[parts[0] as usize] += 1;
                assert!(is_in((0, 1), &parent, at, 1));
            }
        }
        let all: u32 = sizes.iter().sum();
        assert!(sizes.iter().all(|size| (all / 6..=all / 3).contains(size)), "{sizes:?}");
    }
}
