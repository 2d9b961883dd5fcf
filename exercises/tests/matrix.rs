//! Every starter fails its exercise's checks for the stated reason, and every solution passes them.
//!
//! Invariant: a starter that passes, or that fails for another reason, fails here; so does a solution that fails anything.

use std::path::Path;
use std::process::ExitCode;

use harness::{Failure, Outcome, Report, Subject};
use lab::exercises::{self, Exercise};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// How often a starter's bug may slip through, and once more: some need a certain timing.
const TRIES: usize = 3;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert_with(harness::workers);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = match exercises::load(folder) {
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
    let mut wrong = String::new();
    for proof in &exercise.about.must_pass {
        let check = harness::checks().find(|check| check.full_name() == proof.check).expect("the catalogue knows it");
        let mut report = harness::run(check, &subject);
        for _ in 1..TRIES {
            if matches!(report.outcome, Outcome::Pass) {
                report = harness::run(check, &subject);
            }
        }
        match &report.outcome {
            Outcome::Fail(failure) => {
                if format!("{:?}", failure.symptom) != proof.symptom || !says(failure, &proof.says) {
                    wrong += &format!("not for its reason ({}, '{}'): {}\n", proof.symptom, proof.says, story(&report));
                }
            }
            Outcome::Skip { reason } => return Ok(Completion::ignored_with(reason)),
            Outcome::Pass => wrong += &format!("the starter passes {}\n", proof.check),
        }
    }
    for name in exercise.kept() {
        if exercise.about.also_fails.iter().any(|also| name.starts_with(also)) {
            continue;
        }
        let check = harness::checks().find(|check| check.full_name() == name).expect("the catalogue knows it");
        let report = harness::run(check, &subject);
        if matches!(report.outcome, Outcome::Fail(_)) {
            wrong += &format!("a surprise: {}\n", story(&report));
        }
    }
    if wrong.is_empty() { Ok(Completion::Completed) } else { Err(wrong.into()) }
}

fn solution(exercise: &Exercise) -> Result<Completion, Failed> {
    if let Some(absent) = absent(exercise) {
        return Ok(absent);
    }
    let mut wrong = String::new();
    let subject = subject(exercise, "solution");
    let verdict = exercises::judge(exercise, &subject, |report| {
        if matches!(report.outcome, Outcome::Fail(_)) {
            wrong += &format!("the solution fails: {}\n", story(report));
        }
    });
    match verdict.own.iter().all(|report| matches!(report.outcome, Outcome::Skip { .. })) {
        _ if !wrong.is_empty() => Err(wrong.into()),
        true => Ok(Completion::ignored_with("all of its checks were skipped here")),
        false => Ok(Completion::Completed),
    }
}

fn says(failure: &Failure, words: &str) -> bool {
    failure.cause.contains(words) || failure.what.contains(words)
}

fn story(report: &Report) -> String {
    let symptom = match &report.outcome {
        Outcome::Fail(failure) => format!("{:?}", failure.symptom),
        other => format!("{other:?}"),
    };
    format!("{symptom} in {}", report.explain().unwrap_or_default())
}
