//! Runs checks on servers, several at once, and reports each start and each end.
//!
//! Invariant: every job that was begun is reported, and no job is begun once the run was told to stop. Events are
//! handled one at a time, each before its worker goes on. So a single worker begins nothing after its handler said
//! stop.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::rerun::{self, Reruns};
use harness::{Check, Failure, Outcome, Report, Subject, Symptom};

/// One check on one server, by their places in the lists given to [`run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckJob {
    /// The server's place.
    pub server: usize,
    /// The check's place.
    pub check: usize,
}

/// What happens in a run.
#[derive(Debug)]
pub enum RunEvent<'a> {
    /// A check begins.
    Started(CheckJob),
    /// A check has failed. It has not ended: what it failed with is looked at more closely.
    Failed(CheckJob),
    /// A check has ended.
    Finished(CheckJob, &'a Report),
}

/// What a run leaves out from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// The checks of the server that the event is about.
    Server,
    /// All checks.
    Run,
}

/// The reports of a run: a list for each server, with a place for each check.
pub type Reports = Vec<Vec<Option<Report>>>;

/// Jobs that run together, at most `workers` of them at once.
#[derive(Debug)]
pub struct JobBatch {
    /// How many at once.
    pub workers: usize,
    /// In the order in which they are begun.
    pub jobs: Vec<CheckJob>,
}

/// All checks on some of the servers as one batch. Checks that need the machine to themselves come last: before each of
/// them, the other workers have to finish and wait.
pub fn batch(servers: impl IntoIterator<Item = usize>, checks: &[&Check], workers: usize) -> JobBatch {
    let all = servers.into_iter().flat_map(|server| (0..checks.len()).map(move |check| CheckJob { server, check }));
    let mut jobs: Vec<CheckJob> = all.collect();
    jobs.sort_by_key(|job| checks[job.check].alone);
    JobBatch { workers, jobs }
}

/// Runs the batches one after the other. The handler can stop the run, and so can the flag.
pub fn run(
    subjects: &[&Subject],
    checks: &[&Check],
    batches: &[JobBatch],
    stop: &AtomicBool,
    handler: impl FnMut(RunEvent<'_>) -> ControlFlow<Halt> + Send,
) -> Reports {
    let reports: Reports = subjects.iter().map(|_| checks.iter().map(|_| None).collect()).collect();
    let (reports, handler, halted) = (Mutex::new(reports), Mutex::new(handler), AtomicBool::new(false));
    let left_out: Vec<AtomicBool> = subjects.iter().map(|_| AtomicBool::new(false)).collect();
    let tell = |server: usize, event: RunEvent<'_>| match lock(&handler)(event) {
        ControlFlow::Continue(()) => {}
        ControlFlow::Break(Halt::Server) => left_out[server].store(true, Ordering::Relaxed),
        ControlFlow::Break(Halt::Run) => halted.store(true, Ordering::Relaxed),
    };
    let reruns = Reruns::once_a_symptom();
    for batch in batches {
        let queue = Mutex::new(batch.jobs.iter());
        let next = || {
            let stopped = stop.load(Ordering::Relaxed) || halted.load(Ordering::Relaxed);
            let is_wanted = |job: &&CheckJob| !left_out[job.server].load(Ordering::Relaxed);
            if stopped { None } else { lock(&queue).find(is_wanted).copied() }
        };
        let work = || {
            while let Some(job) = next() {
                tell(job.server, RunEvent::Started(job));
                let failed = || tell(job.server, RunEvent::Failed(job));
                let report = run_one(checks[job.check], subjects[job.server], &reruns, &failed);
                tell(job.server, RunEvent::Finished(job, &report));
                lock(&reports)[job.server][job.check] = Some(report);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..batch.workers.min(batch.jobs.len()) {
                scope.spawn(work);
            }
        });
    }
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.iter_mut().for_each(|of_a_server| rerun::share(of_a_server.iter_mut().flatten()));
    reports
}

/// A poisoned lock is taken all the same: a panic while it is held leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one check. A panic is a fault of the check, and the other checks go on.
fn run_one(check: &Check, subject: &Subject, reruns: &Reruns, failed: &dyn Fn()) -> Report {
    catch_unwind(AssertUnwindSafe(|| harness::run_with(check, subject, reruns, failed))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let failure = Failure::new(
            Symptom::Contract,
            format!("the check could not be carried out: it panicked ({said})"),
            "This is a fault of the check, not of the server.",
        );
        Report { check: check.full_name(), clause: check.clause, seconds: 0.0, outcome: Outcome::Fail(failure) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::Stop;

    fn check(name: &'static str, alone: bool, run: fn(&mut harness::trial::Trial<'_>) -> harness::Step) -> Check {
        Check { group: "group", name, clause: 2, about: "", alone, quick: false, long: false, line: 0, run }
    }

    fn subject() -> Subject {
        Subject::command("never started", vec!["/".into()])
    }

    #[test]
    fn every_check_is_run_on_every_server_and_reported_in_its_place() {
        let (passes, skips) =
            (check("passes", false, |_| Ok(())), check("skips", false, |_| Err(Stop::skip("because"))));
        let checks = [&passes, &skips];
        let subjects = [&subject(), &subject()];
        let mut news = (0, 0);
        let reports = run(&subjects, &checks, &[batch(0..2, &checks, 3)], &AtomicBool::new(false), |event| {
            match event {
                RunEvent::Started(_) => news.0 += 1,
                RunEvent::Failed(_) => panic!("none fails"),
                RunEvent::Finished(..) => news.1 += 1,
            }
            ControlFlow::Continue(())
        });
        assert_eq!(news, (4, 4));
        for reports in reports {
            assert!(matches!(reports[0].as_ref().unwrap().outcome, Outcome::Pass));
            assert!(matches!(reports[1].as_ref().unwrap().outcome, Outcome::Skip { .. }));
        }
    }

    #[test]
    fn checks_that_need_the_machine_come_last() {
        let (alone, other) = (check("alone", true, |_| Ok(())), check("other", false, |_| Ok(())));
        let order: Vec<usize> = batch(0..2, &[&alone, &other], 1).jobs.iter().map(|job| job.check).collect();
        assert_eq!(order, [1, 1, 0, 0]);
    }

    #[test]
    fn a_handler_that_breaks_ends_the_run_and_what_was_not_begun_has_no_report() {
        let check = check("one", false, |_| Ok(()));
        let checks = [&check; 50];
        let reports = run(&[&subject()], &checks, &[batch([0], &checks, 1)], &AtomicBool::new(false), |event| {
            let ended = matches!(event, RunEvent::Finished(..));
            if ended { ControlFlow::Break(Halt::Run) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(reports[0].iter().flatten().count(), 1);
        let stopped = AtomicBool::new(true);
        let reports = run(&[&subject()], &checks, &[batch([0], &checks, 1)], &stopped, |_| ControlFlow::Continue(()));
        assert!(reports[0].iter().all(Option::is_none));
    }

    #[test]
    fn a_server_that_is_left_out_leaves_the_others_alone() {
        let check = check("one", false, |_| Ok(()));
        let checks = [&check; 5];
        let subjects = [&subject(), &subject()];
        let reports =
            run(&subjects, &checks, &[batch(0..2, &checks, 1)], &AtomicBool::new(false), |event| match event {
                RunEvent::Finished(CheckJob { server: 0, .. }, _) => ControlFlow::Break(Halt::Server),
                _ => ControlFlow::Continue(()),
            });
        let run = |server: usize| reports[server].iter().flatten().count();
        assert_eq!((run(0), run(1)), (1, 5));
    }

    #[test]
    fn a_panic_in_a_check_is_a_failure_of_that_check_alone() {
        let (panics, passes) = (check("panics", false, |_| panic!("at once")), check("passes", false, |_| Ok(())));
        let checks = [&panics, &passes];
        let reports = run(&[&subject()], &checks, &[batch([0], &checks, 1)], &AtomicBool::new(false), |_| {
            ControlFlow::Continue(())
        });
        let Outcome::Fail(failure) = &reports[0][0].as_ref().unwrap().outcome else { panic!("it passed") };
        assert!(failure.what.contains("at once"), "{}", failure.what);
        assert!(matches!(reports[0][1].as_ref().unwrap().outcome, Outcome::Pass));
    }
}
