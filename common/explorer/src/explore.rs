//! All schedules up to a bound, each from the start of a new server.
//!
//! Invariant: schedules come in the order of their placements, so the first that fails is one with the fewest. What is
//! kept is one path from the root of the tree of decisions: memory does not grow with the runs.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::engine;
use crate::run::{Error, Faults, Run, Schedule, Target, Verdict};
use crate::script::Script;

/// What is to be explored.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The server.
    pub target: &'a Target,
    /// The client's side.
    pub script: &'a Script,
    /// Faults at every point where they can happen.
    pub faults: Faults,
    /// Steps placed at most where the server could have gone on.
    pub max_placements: usize,
    /// With so many placements, schedules are tried however long it takes.
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
    /// Decisions in the run without a placement.
    pub points: usize,
    /// Whether that was all.
    pub coverage: Coverage,
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
    in_a_thread(|| {
        Explorer {
            plan,
            stop,
            progress,
            runs: 0,
            points: 0,
            started: Instant::now(),
            cut: None,
            diverged: 0,
            unhurried: true,
        }
        .explore()
    })
}

/// One run under a schedule, with all that happens in it.
///
/// # Errors
/// As `explore`; and if the schedule has decisions that this server does not come to.
pub fn replay(
    target: &Target,
    script: &Script,
    faults: Faults,
    schedule: &Schedule,
    stop: &AtomicBool,
) -> Result<Run, Error> {
    let order = engine::Order { target, script, faults, schedule, before_last: None, keep: true, stop };
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

struct Explorer<'a> {
    plan: &'a Plan<'a>,
    stop: &'a AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
    runs: u64,
    points: usize,
    started: Instant,
    cut: Option<String>,
    diverged: u64,
    unhurried: bool,
}

/// Runs of one schedule before it counts as one that leads to something else each time.
const TRIES: u32 = 4;

impl Explorer<'_> {
    fn explore(mut self) -> Result<Exploration, Error> {
        let mut finding = None;
        let mut reached = 0;
        for placements in 0..=self.plan.max_placements {
            self.unhurried = placements <= self.plan.always;
            let (failing, deeper) = self.all_with(&Schedule::default(), None, placements)?;
            reached = placements;
            if let Some(schedule) = failing {
                finding = Some(self.confirm(schedule)?);
                break;
            }
            // Nobody has that many places.
            if self.cut.is_some() || !deeper {
                reached = self.plan.max_placements;
                break;
            }
        }
        Ok(Exploration {
            runs: self.runs,
            points: self.points,
            coverage: self.cut.map_or(Coverage::Complete(reached), Coverage::Cut),
            finding,
            diverged: self.diverged,
            seconds: self.started.elapsed().as_secs_f64(),
        })
    }

    /// Tries every schedule that begins with this one and has `left` more placements; the first that fails, and whether
    /// there is any such schedule.
    fn all_with(
        &mut self,
        schedule: &Schedule,
        before: Option<u64>,
        left: usize,
    ) -> Result<(Option<Schedule>, bool), Error> {
        if self.cut.is_some() || self.is_cut() {
            return Ok((None, false));
        }
        let run = self.run(schedule, before, false)?;
        if run.verdict == Verdict::NonDeterministic && self.diverged <= 3 + self.runs / 10 {
            // There is no such schedule any more. A server that is like this again and again is a finding.
            return Ok((None, false));
        }
        if run.verdict != Verdict::Ok {
            return Ok((
                Some(if run.verdict == Verdict::NonDeterministic { schedule.clone() } else { run.schedule() }),
                true,
            ));
        }
        if schedule.0.is_empty() {
            self.points = run.points.len();
        }
        if left == 0 {
            return Ok((None, true));
        }
        let mut any = false;
        for (at, point) in run.points.iter().enumerate().skip(schedule.0.len()) {
            for choice in 1..point.options {
                let mut next: Vec<u8> = run.points[..at].iter().map(|point| point.chosen).collect();
                next.push(choice);
                let (failing, deeper) = self.all_with(&Schedule(next), Some(point.before), left - 1)?;
                any |= deeper;
                if failing.is_some() || self.cut.is_some() {
                    return Ok((failing, any));
                }
            }
        }
        Ok((None, any))
    }

    fn is_cut(&mut self) -> bool {
        if self.plan.max_runs.is_some_and(|max| self.runs >= max) {
            self.cut = Some(format!("at {} runs", self.runs));
        }
        if !self.unhurried && self.plan.max_time.is_some_and(|max| self.started.elapsed() > max) {
            self.cut = Some(format!("after {:.1} s", self.started.elapsed().as_secs_f64()));
        }
        self.cut.is_some()
    }

    fn run(&mut self, schedule: &Schedule, before_last: Option<u64>, keep: bool) -> Result<Run, Error> {
        let Plan { target, script, faults, .. } = *self.plan;
        for tries in 1..=TRIES {
            // What comes before the last decision may differ by a timer of the server's or the kernel's own. The run is
            // a real one all the same, so in the end it is taken as it is.
            let before_last = before_last.filter(|_| tries < TRIES);
            let order = engine::Order { target, script, faults, schedule, before_last, keep, stop: self.stop };
            let run = engine::run(&order)?;
            self.runs += 1;
            (self.progress)(self.runs);
            if run.verdict != Verdict::NonDeterministic {
                self.diverged += u64::from(tries == TRIES);
                return Ok(run);
            }
        }
        self.diverged += 1;
        let order = engine::Order { target, script, faults, schedule, before_last: None, keep, stop: self.stop };
        engine::run(&order)
    }

    /// Runs the failing schedule once more for the record, and looks for one that passes.
    fn confirm(&mut self, schedule: Schedule) -> Result<Finding, Error> {
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
        let last = taken.iter().rposition(|choice| *choice != 0);
        let fewer = last.map(|last| Schedule(taken[..last].to_vec()).trimmed());
        // From the end: what comes late in the run is nearest to where it failed.
        let more = failing.points.iter().enumerate().rev().filter(|(_, point)| point.chosen == 0).map(|(at, _)| {
            let mut other = taken[..at].to_vec();
            other.push(1);
            Schedule(other)
        });
        for schedule in fewer.into_iter().chain(more) {
            if started.elapsed() > PATIENCE {
                break;
            }
            if self.run(&schedule, None, false)?.verdict == Verdict::Ok {
                let run = self.run(&schedule, None, true)?;
                return Ok((run.verdict == Verdict::Ok).then_some(run));
            }
        }
        Ok(None)
    }
}
