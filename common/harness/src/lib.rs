//! Black-box conformance checks for TCP echo servers: which classic multiplexing bug does this one have, and how does
//! the kernel show it?
//!
//! A server is a child process and a port, or only an address. The same [`checks()`] run on a chapter of this
//! workspace, on a broken variant, and on somebody's own server in any language. `CONTRACT.md` is what they check.
//!
//! # As a dev-dependency
//!
//! A test without libtest's `main` (`harness = false` in Cargo.toml) checks a server of your own:
//!
//! ```ignore
//! use harness::Subject;
//!
//! fn main() -> std::process::ExitCode {
//!     // In a test: env!("CARGO_BIN_EXE_my-server")
//!     let command = vec!["./my-server".to_owned(), "{port}".to_owned()];
//!     harness::conformance(Subject::command("my-server", command))
//! }
//! ```
//!
//! What stands on this page is stable: another name here is a change that the test of `outside/` shows. What is hidden is
//! for the programs of this workspace.
//!
//! Invariant: this crate depends on no server, and a check waits for states (in /proc, on a socket) and never for a
//! time; deadlines are backstops.

mod accepts;
mod before_wait;
mod causes;
pub mod check;
pub mod checks;
mod client;
#[doc(hidden)]
pub mod declared;
mod diagnose;
mod ending;
mod facts;
pub mod failure;
pub mod fuzz;
mod kevent;
mod limit;
mod moments;
#[doc(hidden)]
pub mod notes;
mod output;
mod overdue;
#[doc(hidden)]
pub mod rerun;
mod said;
#[doc(hidden)]
pub mod server;
mod steps;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod traced;
#[doc(hidden)]
pub mod trial;
mod turns;
mod waits;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

pub use check::{Check, Outcome, Report, clause, run, run_with};
pub use checks::{all_checks, checks};
#[doc(hidden)]
pub use ending::end_orphans;
pub use failure::{Failure, Step, Stop, Symptom};
pub use subject;
pub use subject::{
    BATCH, BROKEN, Batch, CHAPTERS, Chapter, Lack, Launch, Model, Source, Subject, VARIANTS, Variant, all_variants,
};

/// The `main` of a chapter's `tests/conformance.rs`: every check is one test under libtest's command line, so that
/// `cargo test -p epoll-et drain` and cargo-nextest do what one expects.
///
/// MUTATED_SERVER in the environment is another program to check in its place, as mutate.py makes many.
pub fn conformance(mut subject: Subject) -> ExitCode {
    if let Ok(mutated) = std::env::var("MUTATED_SERVER") {
        subject.launch = Launch::Command(vec![mutated]);
    }
    let here = CHAPTERS.iter().find(|chapter| chapter.package == subject.name).is_none_or(|chapter| chapter.here);
    run_as_tests(vec![(subject, here)], true)
}

/// The `main` of an example's test: as `conformance`, with each variant of `VARIANTS` that this example is. There are
/// many variants, so only the checks marked `quick` are run, unless VARIANTS=all is in the environment.
///
/// # Panics
/// If it is none, or cannot be built.
#[doc(hidden)]
pub fn conformance_of_example(package: &str, example: &str) -> ExitCode {
    let variants: Vec<&Variant> = VARIANTS.iter().filter(|it| it.package == package && it.example == example).collect();
    assert!(!variants.is_empty(), "VARIANTS has no example '{example}' of the package '{package}'");
    let built = Subject::example(package, example, variants[0].model);
    let Launch::Command(argv) = built.launch else { unreachable!("an example is a command") };
    run_as_tests(variants.into_iter().map(|it| (Subject::variant(it, &argv[0]), it.here)).collect(), is_all_asked_for())
}

fn is_all_asked_for() -> bool {
    std::env::var("VARIANTS").is_ok_and(|which| which == "all")
}

/// The `main` of the test of an example that is broken on purpose: a check is a test, and passes if the server does what
/// `BROKEN` declares. So the server fails exactly the declared checks, each for the declared reason. Of the others, only
/// those marked `quick` are run, unless VARIANTS=all is in the environment. It takes some ten seconds.
///
/// # Panics
/// If it is none, or cannot be built.
#[doc(hidden)]
pub fn broken_example(package: &str, example: &str) -> ExitCode {
    let broken = BROKEN.iter().find(|it| it.package == package && it.example == example);
    let broken = broken.unwrap_or_else(|| panic!("BROKEN has no example '{example}' of the package '{package}'"));
    let Launch::Command(argv) = Subject::example(package, example, broken.model).launch else {
        unreachable!("an example is a command")
    };
    if cfg!(not(target_os = "linux")) {
        eprintln!("skipped: why a check fails is seen in /proc");
        return ExitCode::SUCCESS;
    }
    // The declared reasons are those of the first run. The calls of so many failures would take minutes.
    rerun::forbid();
    run_as_tests(vec![(Subject::variant(broken, &argv[0]), broken.here)], is_all_asked_for())
}

/// With more than one subject, a test's name begins with the subject's.
fn run_as_tests(subjects: Vec<(Subject, bool)>, all: bool) -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Most checks wait most of the time, so more of them than cores are under way at once.
    arguments.test_threads.get_or_insert_with(workers);
    // Whoever changes a server line by line (mutate.py) asks only whether anything fails, and may know what is likely to.
    let fail_fast = std::env::var("FAIL_FAST").ok();
    let first_alone = fail_fast.is_some();
    let likely = fail_fast.unwrap_or_default();
    if first_alone {
        rerun::forbid();
    }
    let over: &'static AtomicBool = Box::leak(Box::default());
    let several = subjects.len() > 1;
    let subjects: &'static [(Subject, bool)] = subjects.leak();
    let tests = subjects.iter().flat_map(|(subject, here)| all_checks().map(move |check| (subject, here, check)));
    let tests = tests.map(|(subject, here, check)| {
        let name = check.full_name();
        let name = if several { format!("{}::{name}", subject.name) } else { name };
        libtest_mimic::Trial::ignorable_test(name, move || {
            if !here {
                return Ok(libtest_mimic::Completion::ignored_with("its API is not on this platform"));
            }
            if check.long && std::env::var_os("LONG").is_none() {
                return Ok(libtest_mimic::Completion::ignored_with(
                    "takes long: run by cargo lab check --long, or with LONG=1",
                ));
            }
            if !all && !is_of_the_selection(check, subject) {
                return Ok(libtest_mimic::Completion::ignored_with(
                    "run by cargo lab check --all, or with VARIANTS=all",
                ));
            }
            if over.load(Ordering::Relaxed) {
                return Ok(libtest_mimic::Completion::ignored_with("another check has failed, and FAIL_FAST is set"));
            }
            let report = run(check, subject);
            match (declared::surprise(subject.lacks, &report), &report.outcome) {
                (Some(surprise), _) => {
                    over.store(first_alone, Ordering::Relaxed);
                    Err(surprise.into())
                }
                (None, Outcome::Skip { reason }) => Ok(libtest_mimic::Completion::ignored_with(reason)),
                (None, _) => Ok(libtest_mimic::Completion::Completed),
            }
        })
    });
    let mut tests: Vec<_> = tests.collect();
    // The fuzz knows of no declared failure.
    let fuzzed = subjects.iter().filter(|(subject, _)| subject.lacks.is_empty());
    tests.extend(fuzzed.map(|(subject, here)| {
        let name = "fuzz::whatever_clients_do_the_contract_is_kept";
        let name = if several { format!("{}::{name}", subject.name) } else { name.to_owned() };
        libtest_mimic::Trial::ignorable_test(name, move || fuzz_briefly(subject, *here, all))
    }));
    tests.sort_by_key(|test| likely.split(' ').position(|name| name == test.name()).unwrap_or(usize::MAX));
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Whether a check is run although not all are asked for: if it is quick, or declared to fail. One that may fail, or
/// not, tells nothing.
fn is_of_the_selection(check: &Check, subject: &Subject) -> bool {
    let name = check.full_name();
    let is_in = |list: fn(&Lack) -> &'static [&'static str]| {
        subject.lacks.iter().any(|lack| list(lack).contains(&name.as_str()))
    };
    is_in(|lack| lack.fails) || check.quick && !is_in(|lack| lack.may_fail)
}

/// As `cargo lab check --fuzz`, for a second and a half and always from the same seed; FUZZ_SEED and FUZZ_SECONDS in the
/// environment ask for others.
fn fuzz_briefly(subject: &Subject, here: bool, all: bool) -> Result<libtest_mimic::Completion, libtest_mimic::Failed> {
    use libtest_mimic::Completion;
    if !here {
        return Ok(Completion::ignored_with("its API is not on this platform"));
    }
    let asked = |name: &str| std::env::var(name).ok()?.parse::<f64>().ok();
    let seconds = asked("FUZZ_SECONDS");
    if !all && seconds.is_none() {
        return Ok(Completion::ignored_with("run by cargo lab check --fuzz, or with VARIANTS=all"));
    }
    let time = std::time::Duration::from_secs_f64(seconds.unwrap_or(1.5));
    let seed = asked("FUZZ_SEED").unwrap_or(1.0) as u64;
    let shrinking = std::time::Duration::from_secs(20);
    let plan = fuzz::Plan { seed, part: (0, 1), time, scripts: u64::MAX, servers: 2, shrinking };
    let fuzzed = fuzz::run(subject, plan, &AtomicBool::new(false), &|_| ());
    let fuzz::Fuzzed { scripts, steps, .. } = fuzzed;
    eprintln!(
        "fuzz of {}: seed {seed}, {scripts} scripts, {steps} steps, {} without a verdict",
        subject.name,
        fuzzed.undecided.len()
    );
    match (fuzzed.explain(), fuzzed.skipped) {
        (Some(story), _) => Err(story.into()),
        (None, Some(reason)) => Ok(Completion::ignored_with(reason)),
        (None, None) => Ok(Completion::Completed),
    }
}

/// How many checks to run at once: three for each processor, since most of their time they wait.
#[doc(hidden)]
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get) * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_about_a_check_is_text_and_not_a_literal_of_rust() {
        for check in all_checks() {
            assert!(!check.about.contains(['\\', '\n']), "{}: {}", check.full_name(), check.about);
        }
    }

    #[test]
    fn a_declared_difference_is_about_a_check_or_a_group_and_is_shown_as_a_skip() {
        for (what, _) in VARIANTS.iter().flat_map(|variant| variant.differs) {
            assert!(all_checks().any(|check| check.group == *what || check.full_name() == *what), "{what}");
        }
        let check = checks().next().expect("there are checks");
        let subject = Subject { differs: &[("echo", "it does not")], ..Subject::command("never started", vec![]) };
        let outcome = run(check, &subject).outcome;
        let Outcome::Skip { reason } = outcome else { panic!("{outcome:?}") };
        assert_eq!(reason, "declared difference: it does not");
    }
}
