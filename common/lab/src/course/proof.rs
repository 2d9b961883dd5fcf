//! Whether an exercise is one: its starter fails what it names, for the reason it names, and its solution passes.
//!
//! Invariant: a starter that passes, or fails for another reason, is a surprise, and so is a solution that fails
//! anything; `tests/matrix.rs` and `cargo lab matrix` agree because both ask here.

use harness::{Check, Failure, Outcome, Report, Subject};

use super::exercise::Exercise;

/// How often a starter's bug may slip through, and once more: some need a certain timing.
pub const TRIES: usize = 3;

/// Runs a check that a starter has to fail; again, if it passes.
pub fn run_named(check: &Check, subject: &Subject) -> Report {
    let first = harness::run(check, subject);
    (1..TRIES).fold(first, |report, _| match report.outcome {
        Outcome::Pass => harness::run(check, subject),
        _ => report,
    })
}

/// What is wrong with a starter that has these reports; checks without one were not run.
pub fn starter_surprises(exercise: &Exercise, reports: &[Report]) -> Vec<String> {
    let of = |name: &str| reports.iter().find(|report| report.check == name);
    let mut wrong = Vec::new();
    for proof in &exercise.about.must_pass {
        match of(&proof.check).map(|report| (report, &report.outcome)) {
            None => wrong.push(format!("{} was not run on the starter", proof.check)),
            Some((_, Outcome::Pass)) => wrong.push(format!("the starter passes {}", proof.check)),
            Some((_, Outcome::Skip { .. })) => {}
            Some((report, Outcome::Fail(failure))) => {
                if failure.symptom != proof.symptom || !says(failure, &proof.says) {
                    wrong.push(format!(
                        "the starter fails, but not for its reason ({}, '{}'): {}",
                        proof.symptom,
                        proof.says,
                        story(report)
                    ));
                }
            }
        }
    }
    let may_fail = |name: &str| exercise.about.also_fails.iter().any(|also| name.starts_with(also));
    for report in exercise.kept().filter(|name| !may_fail(name)).filter_map(of) {
        if matches!(report.outcome, Outcome::Fail(_)) {
            wrong.push(format!("the starter fails what it need not: {}", story(report)));
        }
    }
    wrong
}

/// What is wrong with a solution that has these reports.
pub fn solution_surprises(reports: &[Report]) -> Vec<String> {
    let failed = reports.iter().filter(|report| matches!(report.outcome, Outcome::Fail(_)));
    failed.map(|report| format!("the solution fails: {}", story(report))).collect()
}

/// What a skeleton still has in place of a thought.
pub fn unfinished(exercise: &Exercise) -> Vec<String> {
    let about = &exercise.about;
    let mut texts = vec![&about.title, &about.modelled_on.what, &about.modelled_on.url];
    texts.extend(&about.hints);
    texts.extend(about.must_pass.iter().map(|proof| &proof.says));
    let left = texts.iter().filter(|text| text.contains("TODO")).count();
    if left == 0 { Vec::new() } else { vec![format!("exercise.toml still has {left} texts with TODO in them")] }
}

fn says(failure: &Failure, words: &str) -> bool {
    failure.cause.contains(words) || failure.what.contains(words)
}

fn story(report: &Report) -> String {
    let symptom = match &report.outcome {
        Outcome::Fail(failure) => failure.symptom.to_string(),
        other => format!("{other:?}"),
    };
    format!("{symptom} in {}", report.explain().unwrap_or_default())
}
