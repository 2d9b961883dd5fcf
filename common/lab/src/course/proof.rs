//! Whether an exercise is one: its starter fails what it names, for the reason it names, and its solution passes.
//!
//! Invariant: a starter that passes, or that fails for another reason, is a surprise; so is a solution that fails
//! anything. `exercises/tests/matrix.rs` and `cargo lab matrix` agree, because both ask here.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use harness::{Check, Failure, Outcome, Report, Subject};

use super::{Exercise, StarterRecord};
use crate::checking::jobs::{self, RunEvent};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::terminal;

/// A starter's bug may need a certain timing, so a check that it must fail is tried this often.
pub const TRIES: usize = 3;

/// One exercise's servers, tried.
#[derive(Debug)]
pub struct ExerciseProof<'a> {
    /// The exercise.
    pub exercise: &'a Exercise,
    /// The reports of its starter.
    pub starter: Vec<Report>,
    /// The reports of its solution.
    pub solution: Vec<Report>,
    /// What is not as it should be.
    pub surprises: Vec<String>,
    /// Why nothing was run.
    pub skipped: Option<&'static str>,
    /// How long it took.
    pub seconds: f64,
}

impl ExerciseProof<'_> {
    /// Each check that the starter was run against, and whether it failed.
    pub fn starter_results(&self) -> Vec<(&str, bool)> {
        self.starter.iter().map(|it| (it.check.as_str(), matches!(it.outcome, Outcome::Fail(_)))).collect()
    }
}

/// How exercises are proved.
#[derive(Debug)]
pub struct Prover<'a> {
    /// The program that is every starter and every solution.
    pub program: &'a Path,
    /// The checks to run.
    pub wanted: WantedChecks,
    /// How many checks run at once.
    pub workers: usize,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
}

/// The checks to run on a starter and its solution.
#[derive(Debug, Clone)]
pub enum WantedChecks {
    /// The whole suite.
    All,
    /// The exercise's own checks, and those that are quick.
    Quick,
    /// The checks that this record lacks.
    New(StarterRecord),
}

impl Prover<'_> {
    /// Tries an exercise's starter and solution. `tell` gets how many checks have ended, and how many there are.
    pub fn prove<'a>(
        &self,
        exercise: &'a Exercise,
        tell: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<ExerciseProof<'a>, LabError> {
        let start = Instant::now();
        let (starter, solution) = (Vec::new(), Vec::new());
        let mut proof =
            ExerciseProof { exercise, starter, solution, surprises: Vec::new(), skipped: None, seconds: 0.0 };
        let chapter = harness::CHAPTERS.iter().find(|chapter| chapter.folder == exercise.about.chapter);
        if chapter.is_some_and(|chapter| !chapter.here) {
            proof.skipped = Some("its API is not on this platform");
            return Ok(proof);
        }
        let checks = self.checks(exercise);
        let subject = |which: &str| {
            let server = format!("{}/{which}", exercise.name);
            exercise.subject(vec![self.program.to_string_lossy().into_owned(), server])
        };
        let [starter, solution] = [subject("starter"), subject("solution")];
        let all = 2 * checks.len();
        let mut done = 0;
        let batch = jobs::batch(0..2, &checks, self.workers);
        let mut reports = jobs::run(&[&starter, &solution], &checks, &[batch], self.interrupt.flag(), |event| {
            if matches!(event, RunEvent::Finished(..)) {
                done += 1;
                tell(done, all);
            }
            ControlFlow::Continue(())
        });
        self.interrupt.check()?;
        proof.solution = reports.remove(1).into_iter().flatten().collect();
        proof.starter = reports.remove(0).into_iter().flatten().collect();
        self.retry_passed(&mut proof, &checks, &starter)?;
        proof.surprises = starter_surprises(exercise, &proof.starter);
        if !matches!(self.wanted, WantedChecks::New(_)) {
            proof.surprises.extend(not_run(exercise, &proof.starter));
        }
        proof.surprises.extend(solution_surprises(&proof.solution));
        proof.seconds = start.elapsed().as_secs_f64();
        Ok(proof)
    }

    fn checks(&self, exercise: &Exercise) -> Vec<&'static Check> {
        let is_named = |check: &Check| {
            let name = check.full_name();
            check.quick || exercise.about.must_pass.iter().any(|own| own.check == name)
        };
        let wanted = |check: &&Check| match &self.wanted {
            WantedChecks::All => true,
            WantedChecks::Quick => is_named(check),
            WantedChecks::New(record) => !record.knows(exercise, &check.full_name()),
        };
        harness::checks().filter(wanted).collect()
    }

    /// Tries the exercise's own checks again that the starter has passed.
    fn retry_passed(
        &self,
        proof: &mut ExerciseProof<'_>,
        checks: &[&'static Check],
        starter: &Subject,
    ) -> Result<(), LabError> {
        for own in &proof.exercise.about.must_pass {
            let report = proof.starter.iter_mut().find(|report| report.check == own.check);
            let check = checks.iter().find(|check| check.full_name() == own.check);
            if let (Some(report), Some(check)) = (report, check)
                && matches!(report.outcome, Outcome::Pass)
            {
                *report = run_named(check, starter);
            }
            self.interrupt.check()?;
        }
        Ok(())
    }
}

/// Runs a check that a starter has to fail; again, if it passes.
pub fn run_named(check: &Check, subject: &Subject) -> Report {
    let mut report = harness::run(check, subject);
    for _ in 1..TRIES {
        if !matches!(report.outcome, Outcome::Pass) {
            break;
        }
        report = harness::run(check, subject);
    }
    report
}

/// What is wrong with a starter that has these reports. A check without a report was not run.
pub fn starter_surprises(exercise: &Exercise, reports: &[Report]) -> Vec<String> {
    let of = |name: &str| reports.iter().find(|report| report.check == name);
    let mut wrong = Vec::new();
    for expected in &exercise.about.must_pass {
        let Some(report) = of(&expected.check) else { continue };
        match &report.outcome {
            Outcome::Pass => wrong.push(format!("the starter passes {}", expected.check)),
            Outcome::Skip { .. } => {}
            Outcome::Fail(failure) if failure.symptom == expected.symptom && says(failure, &expected.says) => {}
            Outcome::Fail(_) => wrong.push(format!(
                "the starter fails, but not for its reason ({}, '{}'): {}",
                expected.symptom,
                expected.says,
                story(report)
            )),
        }
    }
    wrong
}

/// The exercise's own checks that have no report.
pub fn not_run(exercise: &Exercise, reports: &[Report]) -> Vec<String> {
    let has_report = |name: &str| reports.iter().any(|report| report.check == name);
    let missing = exercise.about.must_pass.iter().filter(|own| !has_report(&own.check));
    missing.map(|own| format!("{} was not run on the starter", own.check)).collect()
}

/// What is wrong with a solution that has these reports.
pub fn solution_surprises(reports: &[Report]) -> Vec<String> {
    let failed = reports.iter().filter(|report| matches!(report.outcome, Outcome::Fail(_)));
    failed.map(|report| format!("the solution fails: {}", story(report))).collect()
}

/// The TODOs that are left of the skeleton.
pub fn unfinished(exercise: &Exercise) -> Vec<String> {
    let mut unfinished = Vec::new();
    for name in ["exercise.toml", "README.md", "fixes.toml"] {
        let left = std::fs::read_to_string(exercise.file(name)).unwrap_or_default().matches("TODO").count();
        if left > 0 {
            unfinished.push(format!("{name} still has {}", terminal::count(left, "TODO")));
        }
    }
    let source = |name: &str| std::fs::read_to_string(exercise.file(name)).unwrap_or_default();
    if !todo_is_at_the_head(&source("starter.rs")) {
        unfinished.push(
            "starter.rs needs one '// TODO: ' with the symptom, under the invariant and above the first item; at the \
             faulty line it would give the place away"
                .into(),
        );
    }
    if source("solution.rs").contains("TODO") {
        unfinished.push("solution.rs still has a TODO".into());
    }
    unfinished
}

/// Whether the one TODO of a starter stands by itself, right under the comment of the file.
fn todo_is_at_the_head(starter: &str) -> bool {
    let head = starter.lines().take_while(|line| line.is_empty() || line.starts_with("//")).collect::<Vec<_>>();
    let under = head.iter().skip_while(|line| line.starts_with("//!")).find(|line| !line.is_empty());
    let invariant = head.iter().any(|line| line.starts_with("//! Invariant: "));
    invariant && under.is_some_and(|line| line.starts_with("// TODO: ")) && starter.matches("TODO").count() == 1
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_todo_stands_under_the_invariant_and_nowhere_else() {
        let head = "//! An echo server.\n//!\n//! Invariant: it holds.\n";
        assert!(todo_is_at_the_head(&format!("{head}\n// TODO: a client waits.\n// And waits.\n\nuse std::io;\n")));
        for wrong in [
            format!("{head}\nuse std::io;\n"),
            format!("{head}\nuse std::io;\n\n// TODO: a client waits.\n"),
            format!("{head}\n// TODO: a client waits.\n\nfn f() {{\n    // TODO: here.\n}}\n"),
            "// TODO: a client waits.\n\nuse std::io;\n".to_owned(),
            "//! An echo server.\n\n// TODO: a client waits.\n".to_owned(),
        ] {
            assert!(!todo_is_at_the_head(&wrong), "{wrong}");
        }
    }
}
