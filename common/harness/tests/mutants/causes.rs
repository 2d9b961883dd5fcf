//! The measure of causes: each mutant's cause beside its bug, to be judged by a person.
//!
//! Invariant: the judgements are of a person, in judged.toml; this prints what there is to judge, and counts.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Outcome, all_checks};

use super::catalogue::MUTANTS;
use super::mutant::Mutant;
use super::proof::{run_named, subject};

/// Prints a paragraph for each mutant: its bug, and what the harness says of the first check that catches it.
pub fn main() -> ExitCode {
    let judged: BTreeMap<String, String> = toml::from_str(include_str!("judged.toml")).expect("it is valid");
    let next = AtomicUsize::new(0);
    let said = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..harness::workers() {
            scope.spawn(|| {
                while let Some(mutant) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let cause = cause(mutant);
                    said.lock().expect("no panic while locked").insert(mutant.name(), (mutant, cause));
                }
            });
        }
    });
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, (mutant, cause)) in said.into_inner().expect("no panic while locked") {
        let verdict = judged.get(&name).map_or("not judged", String::as_str);
        *counts.entry(verdict.split(':').next().unwrap_or_default()).or_default() += 1;
        println!("{name}: {}\n  {verdict}\n  {cause}\n", mutant.what);
    }
    for (verdict, count) in counts {
        println!("{count} of {}: {verdict}", MUTANTS.len());
    }
    ExitCode::SUCCESS
}

fn cause(mutant: &Mutant) -> String {
    let subject = match subject(mutant.base, mutant.own, &mutant.name()) {
        Ok(subject) => subject,
        Err(reason) => return reason,
    };
    let Some(named) = mutant.caught.first() else { return "no check catches it".into() };
    let check = all_checks().find(|check| check.full_name() == named.check);
    let Some(check) = check else { return format!("there is no check {}", named.check) };
    if check.long && std::env::var_os("LONG").is_none() {
        return "caught by a long check, which runs with LONG=1".into();
    }
    match run_named(check, &subject, named).outcome {
        Outcome::Fail(failure) => {
            let calls: String = failure.calls.iter().map(|line| format!("\n    {line}")).collect();
            format!("{}: {}\n  cause: {}{calls}", failure.symptom, failure.what, failure.cause)
        }
        other => format!("{other:?}"),
    }
}
