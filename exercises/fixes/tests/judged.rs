//! A wrong fix fails the checks that are named for it, and a right fix passes.
//!
//! Invariant: a wrong fix that passes one of its checks fails here. `cargo lab matrix --fixes` runs the whole suite on all
//! of them, and compares the points.

use std::path::Path;
use std::process::ExitCode;

use harness::{Outcome, Report, Subject};
use lab::course::fixes::{self, Fixes, WrongFix};
use lab::course::{self, Exercise, Extent, proof};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert_with(harness::workers);
    let exercises = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the exercises");
    let all = match course::load(exercises).and_then(|all| fixes::load(all.leak())) {
        Ok(all) => all,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut tests = Vec::new();
    if cfg!(target_os = "linux") {
        for (exercise, Fixes { wrong, right }) in all {
            let name = |kind: &str, fix: &str| format!("{}/{kind}/{fix}", exercise.name);
            for fix in wrong {
                let name = name("wrong", &fix.name);
                tests.push(Trial::ignorable_test(name.clone(), move || is_caught(exercise, &fix, &name)));
            }
            for fix in right {
                let name = name("right", &fix.name);
                tests.push(Trial::ignorable_test(name.clone(), move || passes(exercise, &name)));
            }
        }
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn subject(exercise: &Exercise, server: &str) -> Subject {
    exercise.subject(vec![env!("CARGO_BIN_EXE_fixes").to_owned(), server.to_owned()])
}

fn is_caught(exercise: &Exercise, fix: &WrongFix, server: &str) -> Result<Completion, Failed> {
    let subject = subject(exercise, server);
    for name in &fix.caught_by {
        let check = harness::checks().find(|check| check.full_name() == *name).expect("loading found it");
        match proof::run_named(check, &subject).outcome {
            Outcome::Fail(_) => {}
            Outcome::Skip { reason } => return Ok(Completion::ignored_with(reason)),
            Outcome::Pass => {
                let number = exercise.number;
                let next = format!("which checks it fails: cargo lab matrix --fixes --only {number:02}");
                return Err(format!("it passes {name}; {next}").into());
            }
        }
    }
    Ok(Completion::Completed)
}

fn passes(exercise: &Exercise, server: &str) -> Result<Completion, Failed> {
    let judgement = course::judge(exercise, &subject(exercise, server), Extent::Quick, |_, _| {});
    let reports: Vec<Report> = judgement.all().cloned().collect();
    match proof::solution_surprises(&reports) {
        surprises if surprises.is_empty() && judgement.untried() => {
            Ok(Completion::ignored_with("all of its checks were skipped here"))
        }
        surprises if surprises.is_empty() => Ok(Completion::Completed),
        surprises => Err(surprises.join("\n").into()),
    }
}
