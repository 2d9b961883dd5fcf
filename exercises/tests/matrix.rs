//! Every starter fails its exercise's checks for the stated reason, and every solution passes them and the quick ones. What
//! else each starter fails and each solution passes is `cargo lab matrix`'s business, which runs all checks on all of them.
//!
//! Invariant: a starter that passes, or that fails for another reason, fails here; so does a solution that fails anything.

use std::path::Path;
use std::process::ExitCode;

use harness::{Outcome, Report, Subject};
use lab::course::{self, Exercise, Extent, proof};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert_with(harness::workers);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = match course::load(folder) {
        Ok(all) => all,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut tests = Vec::new();
    for exercise in all {
        let exercise: &'static Exercise = Box::leak(Box::new(exercise));
        tests
            .push(Trial::ignorable_test(format!("{}_starter_fails_as_it_should", exercise.name), || starter(exercise)));
        tests.push(Trial::ignorable_test(format!("{}_solution_passes", exercise.name), || solution(exercise)));
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn subject(exercise: &Exercise, which: &str) -> Subject {
    exercise.subject(vec![env!("CARGO_BIN_EXE_exercises").to_owned(), format!("{}/{which}", exercise.name)])
}

fn absent(exercise: &Exercise) -> Option<Completion> {
    let chapter = harness::CHAPTERS.iter().find(|chapter| chapter.folder == exercise.about.chapter);
    (!chapter?.here).then(|| Completion::ignored_with("its API is not on this platform"))
}

fn starter(exercise: &Exercise) -> Result<Completion, Failed> {
    if let Some(absent) = absent(exercise) {
        return Ok(absent);
    }
    let subject = subject(exercise, "starter");
    let find = |name: &str| harness::checks().find(|check| check.full_name() == name).expect("the catalogue knows it");
    let reports: Vec<Report> =
        exercise.about.must_pass.iter().map(|proof| proof::run_named(find(&proof.check), &subject)).collect();
    if let Some(Outcome::Skip { reason }) = reports.iter().map(|report| &report.outcome).find(|it| is_skip(it)) {
        return Ok(Completion::ignored_with(reason));
    }
    let mut surprises = proof::starter_surprises(exercise, &reports);
    surprises.extend(proof::not_run(exercise, &reports));
    completed(surprises)
}

fn solution(exercise: &Exercise) -> Result<Completion, Failed> {
    if let Some(absent) = absent(exercise) {
        return Ok(absent);
    }
    let verdict = course::judge(exercise, &subject(exercise, "solution"), Extent::Quick, |_, _| {});
    let reports: Vec<Report> = verdict.all().cloned().collect();
    match proof::solution_surprises(&reports) {
        surprises if surprises.is_empty() && verdict.untried() => {
            Ok(Completion::ignored_with("all of its checks were skipped here"))
        }
        surprises => completed(surprises),
    }
}

fn is_skip(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Skip { .. })
}

fn completed(surprises: Vec<String>) -> Result<Completion, Failed> {
    if surprises.is_empty() { Ok(Completion::Completed) } else { Err(surprises.join("\n").into()) }
}
