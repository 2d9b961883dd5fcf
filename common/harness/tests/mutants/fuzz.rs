//! The fuzz against the mutants: how many does it find, how soon, and with how short a script?
//!
//! Invariant: what the README says of this was measured here, and a handful of mutants is found at every test.

use std::env;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use harness::fuzz::{self, Fuzzed, Plan};
use libtest_mimic::{Completion, Failed};

use super::catalogue::MUTANTS;
use super::mutant::Mutant;
use super::proof::subject_of;

/// Mutants of several kinds that are found soon, and as many steps as the shortest script may have.
pub const HANDFUL: &[(&str, usize)] = &[
    ("epoll_et_accept_once_per_edge", 6),
    ("epoll_et_eof_ignored", 3),
    ("epoll_lt_eintr_is_fatal", 3),
    ("epoll_lt_oneshot_not_rearmed", 6),
    ("select_set_not_rebuilt", 3),
    ("select_nfds_off_by_one", 3),
];

const SEED: u64 = 1;

fn plan(seed: u64, seconds: u64, shrinking: u64, servers: usize) -> Plan {
    let (time, shrinking) = (Duration::from_secs(seconds), Duration::from_secs(shrinking));
    Plan { seed, time, scripts: u64::MAX, servers, shrinking, part: (0, 1) }
}

/// The fuzz finds this mutant, and leaves no more than so many steps of the script that fails.
pub fn is_found(mutant: &str, most: usize) -> Result<Completion, Failed> {
    let mutant = MUTANTS.iter().find(|it| it.name() == mutant).ok_or(format!("there is no mutant {mutant}"))?;
    let subject = match subject_of(mutant) {
        Ok(subject) => subject,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    let mut by_luck = String::new();
    for seed in SEED..SEED + 4 {
        // Long enough on a machine with a load of 20. It ends as soon as a script fails, and shrinking when nothing can go.
        let fuzzed = fuzz::run(&subject, plan(seed, 60, 90, 2), &AtomicBool::new(false), &|_| ());
        let Some(finding) = &fuzzed.finding else {
            return Err(
                format!("not found by {} scripts of seed {seed}: {:?}", fuzzed.scripts, fuzzed.undecided).into()
            );
        };
        let steps = finding.script.split("; ").count();
        if steps <= most {
            return Ok(Completion::Completed);
        }
        by_luck = format!("{steps} steps and not {most}: {}", fuzzed.explain().unwrap_or_default());
        // What fails only now and then, as on a busy machine, cannot be shrunk, because a shorter script that passes says
        // nothing: the next seed.
    }
    Err(by_luck.into())
}

/// Prints a line for each mutant (those whose names contain `FUZZ`, if that is set), and the sum.
pub fn measure() -> ExitCode {
    let only = env::var("FUZZ").unwrap_or_default();
    let (mut found, mut tried) = (0, 0);
    println!("| mutant | found | by (symptom) | steps | fails | the shortest script |\n|---|---|---|---|---|---|");
    for mutant in MUTANTS.iter().filter(|mutant| mutant.name().contains(&only)) {
        let Ok(subject) = subject_of(mutant) else { continue };
        let start = Instant::now();
        let first = std::sync::Mutex::new(None);
        let fuzzed =
            fuzz::run(&subject, plan(SEED, 10, 10, harness::workers()), &AtomicBool::new(false), &|progress| {
                if matches!(progress, fuzz::Progress::Played { .. }) {
                    *first.lock().expect("no panic") = Some(start.elapsed());
                }
            });
        let after = first.into_inner().expect("no panic").unwrap_or_default();
        tried += 1;
        found += usize::from(fuzzed.finding.is_some());
        print!("{}", line(mutant, &fuzzed, after));
    }
    println!("\n{found} of {tried} mutants");
    ExitCode::SUCCESS
}

fn line(mutant: &Mutant, fuzzed: &Fuzzed, after: Duration) -> String {
    let mut line = format!("| `{}` | ", mutant.name());
    let _ = match &fuzzed.finding {
        Some(finding) => {
            let symptom = match &finding.report.outcome {
                harness::Outcome::Fail(failure) => failure.symptom.to_string(),
                _ => String::new(),
            };
            let (seconds, script) = (after.as_secs_f64(), &finding.script);
            let (steps, failed, runs) = (script.split("; ").count(), finding.failed, finding.runs);
            writeln!(
                line,
                "{seconds:.1} s, {} scripts | {symptom} | {steps} | {failed} of {runs} | `{script}` |",
                fuzzed.scripts
            )
        }
        None => writeln!(line, "no, {} scripts | | | | {:?} |", fuzzed.scripts, fuzzed.undecided),
    };
    line
}
