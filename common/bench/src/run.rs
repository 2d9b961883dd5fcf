//! The experiments, one after the other, into a record.
//!
//! Invariant: an experiment that fails or is skipped does not end the run; a signal does, and what was finished stays in
//! the record.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use figures::{FORMAT, Measured, Outcome, Record, VERSION, Verdict, about};

use crate::cores::{self, Place};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::session::{NotBuilt, missing};
use crate::{Experiment, Session, environment};

/// What an experiment may take, so that the quick ones end within two minutes and all within fifteen.
pub const QUICK: Duration = Duration::from_secs(9);
/// As [`QUICK`], for a whole run.
pub const WHOLE: Duration = Duration::from_secs(72);

/// A record that a signal's thread can write too.
pub type Shared = Arc<Mutex<Record>>;

/// What is run, and with what.
#[derive(Debug)]
pub struct Plan {
    /// Whether it has to end within two minutes.
    pub quick: bool,
    /// The folder of the release build.
    pub programs: PathBuf,
    /// The folder of the peers' programs, or why there is none.
    pub peers: Result<PathBuf, String>,
    /// An earlier run, which tells how long each experiment takes.
    pub reference: Option<Record>,
}

/// A record without experiments.
pub fn empty(quick: bool) -> Record {
    let (format, version, environment) = (FORMAT.to_owned(), VERSION, environment::now());
    Record { format, version, quick, interrupted: None, environment, experiments: Vec::new() }
}

/// Runs the experiments; each one is added to the record when it has ended.
pub fn run(plan: &Plan, chosen: &[&Experiment], progress: Progress, interrupt: &Interrupt, record: &Shared) {
    let progress = Rc::new(RefCell::new(progress));
    let mut takes: Vec<Duration> = chosen.iter().map(|experiment| plan.takes(experiment.name)).collect();
    for experiment in chosen {
        if interrupt.signal().is_some() {
            break;
        }
        let present = takes.remove(0);
        progress.borrow_mut().begin(experiment.name, present, takes.iter().sum());
        let measured = one(plan, experiment, &progress, interrupt);
        if interrupt.signal().is_some() {
            break;
        }
        progress.borrow().end(&line(&measured));
        lock(record).experiments.push(measured);
    }
    progress.borrow().clear();
    let mut record = lock(record);
    record.environment.load_after = environment::load();
    if interrupt.signal().is_some() {
        let missing: Vec<&str> = chosen[record.experiments.len()..].iter().map(|it| it.name).collect();
        record.interrupted = Some(format!("a signal came before {} had ended", missing.join(", ")));
    }
}

fn one(plan: &Plan, experiment: &Experiment, progress: &Rc<RefCell<Progress>>, interrupt: &Interrupt) -> Measured {
    let start = Instant::now();
    let budget = if plan.quick { QUICK } else { WHOLE };
    let session = Session::new(plan.quick, &plan.programs, interrupt.stop.clone(), budget);
    let session = session.with(progress.clone(), plan.peers.clone());
    let lacks = experiment.needs.iter().find_map(|need| missing(*need));
    let outcome = match lacks {
        Some(why) => Outcome::skipped(why),
        None => {
            (experiment.run)(&session).unwrap_or_else(|error| match error.is::<NotBuilt>() && plan.is_installed() {
                true => Outcome::skipped(error.to_string()),
                false => Outcome { verdict: Verdict::Failed(format!("{error:#}")), ..Outcome::skipped("") },
            })
        }
    };
    cores::move_to(Place::Anywhere);
    let claim = about(experiment.name).map_or("", |about| about.claim).to_owned();
    Measured {
        name: experiment.name.to_owned(),
        claim,
        seconds: (start.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        repeated: session.repeated.get(),
        disturbed: session.disturbed.get(),
        outcome,
    }
}

/// The line that stays when an experiment has ended.
fn line(measured: &Measured) -> String {
    let Measured { name, seconds, repeated, disturbed, outcome, .. } = measured;
    let mut line = format!("  {name:9} {seconds:>5.1} s  {}", outcome.verdict.in_words());
    if *repeated > 0 {
        line += &format!("; {repeated} disturbed runs repeated");
    }
    if *disturbed > 0 {
        line += &format!("; {disturbed} disturbed runs count for want of better ones");
    }
    line
}

impl Plan {
    /// Whether this program was installed, and the servers of the course are not beside it. Cargo builds into a folder with
    /// `deps`.
    fn is_installed(&self) -> bool {
        !self.programs.join("deps").is_dir()
    }

    /// About how long an experiment takes.
    fn takes(&self, name: &str) -> Duration {
        let measured = self.reference.as_ref().filter(|it| it.quick == self.quick).and_then(|it| it.experiment(name));
        let usual = if self.quick { QUICK } else { WHOLE };
        measured.map_or(usual, |measured| Duration::from_secs_f64(measured.seconds))
    }
}

/// The record, whatever became of the thread that held it.
pub fn lock(record: &Shared) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The record in a file; nothing if there is no such file.
///
/// # Errors
/// If it is no record, or one of another version.
pub fn read(path: &Path) -> Result<Option<Record>, String> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
    Record::parse(&text).map(Some).map_err(|wrong| format!("{}: {wrong}", path.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::Need;

    fn experiment(
        name: &'static str,
        needs: &'static [Need],
        run: fn(&Session) -> anyhow::Result<Outcome>,
    ) -> Experiment {
        Experiment { name, needs, run }
    }

    fn outcomes(chosen: &[&Experiment], interrupt: &Interrupt) -> Record {
        let (programs, peers) = ("/nonexistent".into(), Err("not built".to_owned()));
        let plan = Plan { quick: true, programs, peers, reference: None };
        let record: Shared = Arc::new(Mutex::new(empty(true)));
        run(&plan, chosen, Progress::new(chosen.len(), true), interrupt, &record);
        lock(&record).clone()
    }

    #[test]
    fn an_experiment_that_fails_or_lacks_something_does_not_end_the_run() {
        let fails = experiment("wait", &[], |_| bail!("no luck"));
        let lacks = experiment("reads", &[Need::Cores(100_000)], |_| unreachable!("it lacks processors"));
        let holds = experiment("herd", &[], |_| Ok(Outcome { verdict: Verdict::Holds, ..Outcome::skipped("") }));
        let record = outcomes(&[&fails, &lacks, &holds], &Interrupt::default());
        let verdicts: Vec<&Verdict> = record.experiments.iter().map(|it| &it.outcome.verdict).collect();
        assert_eq!(verdicts[0], &Verdict::Failed("no luck".into()));
        assert!(matches!(verdicts[1], Verdict::Skipped(why) if why.contains("processors")), "{verdicts:?}");
        assert_eq!((verdicts[2], record.interrupted), (&Verdict::Holds, None));
    }

    #[test]
    fn after_a_signal_the_record_has_what_was_finished_and_a_mark() {
        let interrupt = Interrupt::default();
        interrupt.stop.store(true, std::sync::atomic::Ordering::Release);
        let never = experiment("herd", &[], |_| unreachable!("it was interrupted"));
        let record = outcomes(&[&never], &interrupt);
        assert!(record.experiments.is_empty());
        assert_eq!(record.interrupted.as_deref(), Some("a signal came before herd had ended"));
    }
}
