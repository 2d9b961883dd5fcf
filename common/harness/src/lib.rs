//! Black-box conformance checks for TCP echo servers: which classic multiplexing bug does this one have, and how does
//! the kernel show it?
//!
//! A server is a child process and a port, or only an address. The same [`checks()`] run on a chapter of this workspace, on
//! a broken variant, and on somebody's own server in any language. `CONTRACT.md` is what they check.
//!
//! Invariant: this crate depends on no server, and a check waits for states (in /proc, on a socket) and never for a time;
//! deadlines are backstops.

pub mod check;
pub mod checks;
pub mod child;
pub mod client;
pub mod diagnose;
pub mod failure;
pub mod kernel;
pub mod pattern;
pub mod subject;
pub mod trace;
pub mod trial;

use std::process::ExitCode;

pub use check::{Check, Outcome, Report, clause, run};
pub use checks::checks;
pub use failure::{Failure, Step, Stop, Symptom};
pub use subject::{CHAPTERS, Chapter, Launch, Model, Subject};

/// The `main` of a chapter's `tests/conformance.rs`: every check is one test under libtest's command line, so that
/// `cargo test -p epoll-et drain` and cargo-nextest do what one expects.
pub fn conformance(subject: Subject) -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Most checks wait most of the time, so more of them than cores are under way at once.
    arguments.test_threads.get_or_insert_with(workers);
    let here = CHAPTERS.iter().find(|chapter| chapter.package == subject.name).is_none_or(|chapter| chapter.here);
    let subject: &'static Subject = Box::leak(Box::new(subject));
    let tests = checks().map(|check| {
        libtest_mimic::Trial::ignorable_test(check.full_name(), move || {
            if !here {
                return Ok(libtest_mimic::Completion::ignored_with("its API is not on this platform"));
            }
            let report = run(check, subject);
            match &report.outcome {
                Outcome::Pass => Ok(libtest_mimic::Completion::Completed),
                Outcome::Skip { reason } => Ok(libtest_mimic::Completion::ignored_with(reason)),
                Outcome::Fail(_) => Err(report.explain().unwrap_or_default().into()),
            }
        })
    });
    libtest_mimic::run(&arguments, tests.collect()).exit_code()
}

/// How many checks to run at once.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get) * 2
}
