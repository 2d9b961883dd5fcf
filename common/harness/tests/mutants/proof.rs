//! The tests: what the harness says of each mutant, against the table.

use std::collections::BTreeSet;
use std::env;
use std::process::ExitCode;

use harness::{Check, Failure, Launch, Model, Outcome, Report, Subject, checks};
use io_uring::IoUring;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::serve::Base;
use super::table::{self, CORRECT, FAST, MUTANTS, Mutant};

/// This group has a proof of its own, with mutants that other groups do not see: common/explorer/tests.
const ELSEWHERE: &str = "interleaving";
/// How often a named check may miss its mutant, and once more.
const TRIES: usize = 3;

type Verdict = Result<Completion, Failed>;

/// Runs the tests, or prints the table.
pub fn main() -> ExitCode {
    let mode = env::var("MUTANTS").unwrap_or_default();
    if mode == "table" {
        print!("{}", table::markdown());
        return ExitCode::SUCCESS;
    }
    let whole = mode == "all";
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert_with(harness::workers);
    let mut tests = vec![
        Trial::test("every_group_has_a_mutant_that_one_of_its_checks_catches", every_group),
        Trial::test("the_readme_shows_this_table", readme),
    ];
    for base in CORRECT {
        let name = format!("the_correct_{}_server_passes", table::snake(&format!("{base:?}")));
        tests.push(Trial::ignorable_test(name, move || correct(*base, whole)));
    }
    for mutant in MUTANTS {
        tests.push(Trial::ignorable_test(format!("mutant_{}", mutant.name()), move || caught(mutant, whole)));
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// No check fails on a server without a bug.
fn correct(base: Base, whole: bool) -> Verdict {
    let subject = match subject(base, table::own(base), &table::snake(&format!("{base:?}"))) {
        Ok(subject) => subject,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    // Those that convict its mutants have to acquit it.
    let named = MUTANTS.iter().filter(|mutant| mutant.base == base).flat_map(|mutant| mutant.caught);
    let named: BTreeSet<&str> = named.map(|caught| caught.0).chain(FAST.iter().copied()).collect();
    let mut wrong = String::new();
    for check in checks().filter(|check| whole || named.contains(check.full_name().as_str())) {
        if let Some(story) = run(check, &subject).explain() {
            wrong += &format!("a correct server failed {story}\n");
        }
    }
    verdict(wrong)
}

/// The named checks fail as the table says, and no other one that is not listed.
fn caught(mutant: &Mutant, whole: bool) -> Verdict {
    let subject = match subject(mutant.base, mutant.own(), &mutant.name()) {
        Ok(subject) => subject,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    let mut wrong = String::new();
    for (name, ..) in mutant.caught {
        if !checks().any(|check| check.full_name() == *name) {
            wrong += &format!("there is no check {name}\n");
        }
    }
    let mut quiet: BTreeSet<&str> = mutant.also.iter().copied().collect();
    for check in checks().filter(|check| check.group != ELSEWHERE) {
        let name = check.full_name();
        let named = mutant.caught.iter().find(|caught| caught.0 == name);
        let listed = mutant.also.iter().find(|also| name.starts_with(**also));
        let fast = FAST.contains(&name.as_str()) && listed.is_none();
        if !whole && named.is_none() && !fast {
            continue;
        }
        let mut report = run(check, &subject);
        // Some bugs need a certain timing, and a busy machine may withhold it: a named check has three tries. (Those that
        // must pass have one.)
        for _ in 1..TRIES {
            if named.is_some() && matches!(report.outcome, Outcome::Pass) {
                report = run(check, &subject);
            }
        }
        match (named, &report.outcome) {
            (Some((_, symptom, words)), Outcome::Fail(failure)) => {
                if failure.symptom != *symptom || !says(failure, words) {
                    wrong += &format!("not for its reason ({symptom}, '{words}'): {}\n", story(&report));
                }
            }
            (Some(_), outcome) => wrong += &format!("not caught by {name}: {outcome:?}\n"),
            (None, Outcome::Fail(_)) if listed.is_none() => wrong += &format!("a surprise: {}\n", story(&report)),
            (None, Outcome::Fail(_)) => drop(quiet.remove(*listed.expect("listed"))),
            (None, _) => {}
        }
    }
    if whole && !quiet.is_empty() {
        eprintln!("{}: listed, and did not fail this time: {quiet:?}", mutant.name());
    }
    verdict(wrong)
}

fn run(check: &Check, subject: &Subject) -> Report {
    let report = harness::run(check, subject);
    // For whoever makes the table: all that failed, as it comes.
    if env::var_os("MUTANTS_LOG").is_some() {
        if let Outcome::Fail(failure) = &report.outcome {
            eprintln!(
                "@ {} {} {:?} {:.1} | {} | {}",
                subject.name, report.check, failure.symptom, report.seconds, failure.what, failure.cause
            );
        } else if report.seconds > 0.5 {
            eprintln!("@ {} {} {:.1} {:?}", subject.name, report.check, report.seconds, report.outcome);
        }
    }
    report
}

fn says(failure: &Failure, words: &str) -> bool {
    // Where what happened says it all, there is no cause.
    let said = if failure.cause.is_empty() { &failure.what } else { &failure.cause };
    said.contains(words)
}

fn story(report: &Report) -> String {
    let symptom = match &report.outcome {
        Outcome::Fail(failure) => failure.symptom.to_string(),
        other => format!("{other:?}"),
    };
    format!("{symptom} in {}", report.explain().unwrap_or_default())
}

fn verdict(wrong: String) -> Verdict {
    if wrong.is_empty() { Ok(Completion::Completed) } else { Err(wrong.into()) }
}

/// The server as the harness sees it.
fn subject(base: Base, own: bool, name: &str) -> Result<Subject, String> {
    let binary = env::current_exe().map_err(|error| error.to_string())?;
    let mut argv = vec![binary.display().to_string(), "--serve".into(), name.to_owned()];
    let model = match base {
        Base::Select | Base::Poll | Base::EpollLt | Base::EpollEt => Model::Readiness,
        Base::Uring => Model::Completion,
        Base::Threads | Base::OneByOne => Model::Unknown,
    };
    if base == Base::Uring {
        IoUring::new(8).map_err(|error| format!("no io_uring here: {error}"))?;
    }
    if !own {
        argv.extend(["--addr".into(), "127.0.0.1:{port}".into()]);
    }
    let fd_limit = (base == Base::Select).then_some(1024);
    Ok(Subject { name: name.to_owned(), launch: Launch::Command(argv), own, model, fd_limit, differs: &[] })
}

fn every_group() -> Result<(), Failed> {
    let missing: Vec<&str> = harness::checks::GROUPS
        .iter()
        .copied()
        .filter(|group| *group != ELSEWHERE)
        .filter(|group| !MUTANTS.iter().flat_map(|m| m.caught).any(|caught| caught.0.split("::").next() == Some(group)))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no mutant is caught by {missing:?}").into()) }
}

fn readme() -> Result<(), Failed> {
    let shown = include_str!("../../README.md").contains(&table::markdown());
    if shown {
        Ok(())
    } else {
        Err("README.md has another table; MUTANTS=table cargo test -p harness --test mutants prints this one".into())
    }
}
