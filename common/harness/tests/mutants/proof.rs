//! The tests: what the harness says of each mutant, against the catalogue.
//!
//! Invariant: a mutant's named checks fail for the named reason, and a check that is neither named nor listed as a
//! consequence does not fail.

use std::collections::BTreeSet;
use std::env;
use std::process::ExitCode;

use harness::{Check, Failure, Launch, Model, Outcome, Report, Subject, all_checks, checks};
use io_uring::IoUring;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::catalogue::MUTANTS;
use super::causes;
use super::consequences;
use super::fuzz;
use super::mutant::{CORRECT, Caught, Mutant};
use super::serve::Base;
use super::table;

/// This group has a proof of its own, with mutants that other groups do not see: common/explorer/tests.
const ELSEWHERE: &str = "interleaving";
/// The check that root skips: for root, no port needs root.
const NEEDS_A_USER: &str = "start::a_port_that_needs_root_is_said_in_one_line";
/// How often a named check may miss its mutant, and once more.
const TRIES: usize = 3;

/// Run on every mutant, because they are quick; one or two of each group.
const FAST: &[&str] = &[
    "echo::one_byte_comes_back",
    "echo::single_bytes_come_back_one_by_one_in_order",
    "drain::a_burst_of_connects_in_one_wakeup_is_all_accepted",
    "drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
    "wakeup::the_newest_connection_is_heard_first",
    "close::fin_alone_is_answered_with_fin",
    "close::connections_that_were_reset_are_freed",
    "faults::a_stop_and_a_continue_are_survived",
    "idle::a_server_without_clients_sleeps",
    "start::bad_arguments_are_refused_with_the_usage",
];

type Verdict = Result<Completion, Failed>;

/// How much is run, and what a check that is not listed means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The named checks and the fast ones.
    Quick,
    /// Every check on every mutant.
    All,
    /// Every check, and what fails is listed from now on.
    Record,
}

/// Runs the tests, or prints the table.
pub fn main() -> ExitCode {
    let mode = match env::var("MUTANTS").unwrap_or_default().as_str() {
        "table" => {
            print!("{}", table::markdown());
            return ExitCode::SUCCESS;
        }
        "causes" => return causes::main(),
        "fuzz" => return fuzz::measure(),
        "all" => Mode::All,
        "record" => Mode::Record,
        _ => Mode::Quick,
    };
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert_with(harness::workers);
    let mut tests = vec![
        Trial::test("every_check_catches_a_mutant", every_check),
        Trial::test("every_consequence_is_of_a_mutant_and_a_check", no_stale_consequence),
        Trial::test("the_readme_shows_this_table", table::is_in_the_readme),
    ];
    for base in CORRECT {
        let name = format!("the_correct_{}_server_passes", base.name());
        tests.push(Trial::ignorable_test(name, move || correct(*base, mode)));
    }
    for mutant in MUTANTS {
        tests.push(Trial::ignorable_test(format!("mutant_{}", mutant.name()), move || caught(mutant, mode)));
    }
    for (mutant, most) in fuzz::HANDFUL {
        tests.push(Trial::ignorable_test(format!("fuzz_finds_{mutant}"), move || fuzz::is_found(mutant, *most)));
    }
    let conclusion = libtest_mimic::run(&arguments, tests);
    if mode == Mode::Record
        && let Err(error) = consequences::write()
    {
        eprintln!("consequences.toml was not written: {error}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// No check fails on a server without a bug.
fn correct(base: Base, mode: Mode) -> Verdict {
    let subject = match subject(base, base.is_own(), base.name()) {
        Ok(subject) => subject,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    // A check that convicts a mutant of this base has to acquit the base.
    let named = MUTANTS.iter().filter(|mutant| mutant.base == base).flat_map(|mutant| mutant.caught);
    let named: BTreeSet<&str> = named.map(|caught| caught.check).chain(FAST.iter().copied()).collect();
    let mut wrong = String::new();
    for check in checks().filter(|check| mode != Mode::Quick || named.contains(check.full_name().as_str())) {
        if let Some(story) = run(check, &subject).explain() {
            wrong += &format!("a correct server failed {story}\n");
        }
    }
    verdict(wrong)
}

/// The named checks fail as the catalogue says, and no other check does that is not listed.
fn caught(mutant: &Mutant, mode: Mode) -> Verdict {
    let subject = match subject(mutant.base, mutant.own, &mutant.name()) {
        Ok(subject) => subject,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    let mut wrong = String::new();
    for Caught { check, .. } in mutant.caught {
        if !all_checks().any(|it| it.full_name() == *check) {
            wrong += &format!("there is no check {check}\n");
        }
    }
    let mut quiet: BTreeSet<&str> = consequences::listed(mutant).collect();
    // To record what a few new checks find of all mutants, in minutes.
    let only = env::var("MUTANTS_CHECKS").unwrap_or_default();
    for check in all_checks().filter(|check| check.group != ELSEWHERE) {
        let name = check.full_name();
        if !only.split(',').any(|part| name.contains(part)) {
            continue;
        }
        // Of the long ones, those that are named, and only where there is time.
        let there_is_time = mode != Mode::Quick || env::var_os("LONG").is_some();
        if check.long && !(there_is_time && mutant.caught.iter().any(|caught| caught.check == name)) {
            continue;
        }
        let named = mutant.caught.iter().find(|caught| caught.check == name);
        let listed = consequences::listed(mutant).find(|entry| name.starts_with(entry));
        let fast = FAST.contains(&name.as_str()) && listed.is_none();
        if mode == Mode::Quick && named.is_none() && !fast {
            continue;
        }
        let report = match named {
            Some(named) => run_named(check, &subject, named),
            None => run(check, &subject),
        };
        match (named, listed, &report.outcome) {
            (Some(named), _, Outcome::Fail(failure)) if is_for_its_reason(named, failure) => {}
            (Some(Caught { symptom, says, .. }), _, Outcome::Fail(_)) => {
                wrong += &format!("not for its reason ({symptom}, '{says}'): {}\n", story(&report));
            }
            (Some(named), _, Outcome::Skip { .. }) if named.check == NEEDS_A_USER => {}
            (Some(_), _, outcome) => wrong += &format!("not caught by {name}: {outcome:?}\n"),
            (None, Some(entry), Outcome::Fail(_)) => drop(quiet.remove(entry)),
            (None, None, Outcome::Fail(_)) if mode == Mode::Record => consequences::record(mutant, &name),
            (None, None, Outcome::Fail(_)) => wrong += &format!("a surprise: {}\n", story(&report)),
            (None, ..) => {}
        }
    }
    if mode != Mode::Quick && !quiet.is_empty() {
        eprintln!("{}: listed, and did not fail this time: {quiet:?}", mutant.name());
    }
    verdict(wrong)
}

/// Some bugs need a certain timing, and a busy machine may withhold it, or the evidence of it: a check that has to fail has
/// three tries. (A check that has to pass has one.)
pub fn run_named(check: &Check, subject: &Subject, named: &Caught) -> Report {
    let caught =
        |report: &Report| matches!(&report.outcome, Outcome::Fail(failure) if is_for_its_reason(named, failure));
    let mut report = run(check, subject);
    for _ in 1..TRIES {
        if !caught(&report) {
            report = run(check, subject);
        }
    }
    report
}

fn run(check: &Check, subject: &Subject) -> Report {
    let report = harness::run(check, subject);
    // To choose the checks that a new mutant names: all that failed, as it comes.
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

fn is_for_its_reason(named: &Caught, failure: &Failure) -> bool {
    // Where what happened says it all, there is no cause.
    let said = if failure.cause.is_empty() { &failure.what } else { &failure.cause };
    failure.symptom == named.symptom && said.contains(named.says)
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

/// A mutant as the harness sees it.
pub fn subject_of(mutant: &Mutant) -> Result<Subject, String> {
    subject(mutant.base, mutant.own, &mutant.name())
}

/// The server as the harness sees it.
pub fn subject(base: Base, own: bool, name: &str) -> Result<Subject, String> {
    let binary = env::current_exe().map_err(|error| error.to_string())?;
    let mut argv = vec![binary.display().to_string(), "--serve".into(), name.to_owned()];
    let model = match base {
        Base::Select | Base::Poll | Base::EpollLt | Base::EpollEt => Model::Readiness,
        Base::Uring => Model::Completion,
        Base::Threads | Base::Fork | Base::Workers | Base::Pool | Base::OneByOne | Base::Limited => Model::Unknown,
    };
    if base == Base::Uring {
        IoUring::new(8).map_err(|error| format!("no io_uring here: {error}"))?;
    }
    if !own {
        argv.extend(["--addr".into(), "127.0.0.1:{port}".into()]);
    }
    let fd_limit = (base == Base::Select).then_some(1024);
    Ok(Subject {
        name: name.to_owned(),
        launch: Launch::Command(argv),
        own,
        model,
        fd_limit,
        max_clients: None,
        workers: if name.ends_with("one_of_four_listens") { Some(4) } else { None },
        names_newest: name.ends_with("newest_forgotten"),
        batch: Some(harness::BATCH),
        differs: &[],
        lacks: &[],
        source: None,
        kqueue: false,
    })
}

/// A check that no server fails proves nothing.
fn every_check() -> Result<(), Failed> {
    let named: BTreeSet<&str> = MUTANTS.iter().flat_map(|mutant| mutant.caught).map(|caught| caught.check).collect();
    let missing: Vec<String> = all_checks()
        .filter(|check| check.group != ELSEWHERE)
        .map(Check::full_name)
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no mutant is caught by {missing:?}").into()) }
}

fn no_stale_consequence() -> Result<(), Failed> {
    match consequences::stale() {
        stale if stale.is_empty() => Ok(()),
        stale => Err(format!("consequences.toml: {}", stale.join("\n")).into()),
    }
}
