//! One exercise, from the student's file to what it is told: built, checked, noted, explained.
//!
//! Invariant: every way out of here says what to do next.

use std::fmt::Write;
use std::sync::atomic::AtomicBool;

use harness::{Check, Outcome, Report};

use super::attempt::{self, AttemptBuild};
use super::exercise::Exercise;
use super::judging::{Judgement, judge_until};
use super::progress::{self, Standing, StudentProgress};
use crate::checking::results::{Results, duration};
use crate::checking::servers::TestedServer;
use crate::error::LabError;
use crate::selection;
use crate::terminal::{self, Palette};
use crate::workspace;

/// All exercises, and how far the student is.
#[derive(Debug)]
pub struct Course {
    /// In their order.
    pub exercises: Vec<Exercise>,
    /// The student's.
    pub progress: StudentProgress,
}

/// What a check of an attempt came to.
#[derive(Debug)]
pub enum CheckedAttempt {
    /// It was judged; what to tell.
    Judged(Judgement, String),
    /// It does not compile; what to tell.
    Refused(String),
    /// It was told to stop.
    Stopped,
}

impl Course {
    /// Loads both, from the workspace's `exercises` or the folder that LAB_EXERCISES names.
    pub fn load() -> Result<Self, LabError> {
        let folder = match std::env::var_os("LAB_EXERCISES") {
            Some(folder) => folder.into(),
            None => workspace::root()?.join("exercises"),
        };
        let exercises = super::load(&folder)?;
        let progress = StudentProgress::load(&exercises)?;
        Ok(Self { exercises, progress })
    }

    /// The place of the exercise that a word names: `8`, `08`, `08_nfds` or `nfds`.
    pub fn find(&self, word: &str) -> Result<usize, LabError> {
        self.exercises.iter().position(|exercise| exercise.is_called(word)).ok_or_else(|| {
            let names = self.exercises.iter().map(|exercise| exercise.name.as_str());
            let hint = match selection::nearest(word, names) {
                Some(name) => format!(" Did you mean {name}?"),
                None => String::new(),
            };
            LabError::usage(format!("there is no exercise '{word}'.{hint}\n  {}", self.numbers()))
        })
    }

    /// `exercises are 07 to 39: cargo lab list`.
    pub fn numbers(&self) -> String {
        let number = |exercise: Option<&Exercise>| exercise.map_or(0, |exercise| exercise.number);
        let (first, last) = (number(self.exercises.first()), number(self.exercises.last()));
        format!("exercises are {first:02} to {last:02}: cargo lab list")
    }

    /// The state of one.
    pub fn state(&self, at: usize) -> Standing {
        self.progress.state(&self.exercises[at])
    }

    /// The first that is begun and does not pass, or else the first that was not begun.
    pub fn current(&self) -> Option<usize> {
        let first = |wanted: &dyn Fn(Standing) -> bool| (0..self.exercises.len()).find(|at| wanted(self.state(*at)));
        first(&|state| matches!(state, Standing::Started | Standing::Failing(_)))
            .or_else(|| first(&|state| state == Standing::New))
    }

    /// The next one after `at` that does not pass, round to the beginning.
    pub fn next_after(&self, at: usize) -> Option<usize> {
        let all = self.exercises.len();
        (1..=all).map(|step| (at + step) % all).find(|at| self.state(*at) != Standing::Passed)
    }

    /// Points reached and points there are.
    pub fn points(&self) -> (f64, u32) {
        let won = |at: usize| match self.state(at) {
            Standing::Passed => 1.0,
            Standing::Failing(share) => share,
            _ => 0.0,
        };
        let reached = self.exercises.iter().enumerate().map(|(at, it)| won(at) * f64::from(it.about.points)).sum();
        (reached, self.exercises.iter().map(|exercise| exercise.about.points).sum())
    }

    /// Writes the student's progress.
    pub fn save(&self) -> Result<(), LabError> {
        self.progress.save(&self.exercises)
    }

    /// Builds and checks an attempt, notes the result, and says how it went. `line` gets what can be said on the way.
    pub fn check(
        &mut self,
        at: usize,
        palette: Palette,
        stop: &AtomicBool,
        mut line: impl FnMut(&str) + Send,
    ) -> Result<CheckedAttempt, LabError> {
        let exercise = &self.exercises[at];
        // Before the build: what is saved while the checks run is another text.
        let digest = progress::digest(exercise);
        let (program, warnings) = match attempt::build(exercise, palette.is_on(), stop)? {
            AttemptBuild::Program(program, warnings) => (program, warnings),
            AttemptBuild::Refused(why) => {
                let path = attempt::shown(&exercise.attempt());
                return Ok(CheckedAttempt::Refused(format!(
                    "{why}\n{} {path} does not compile\n",
                    palette.bad("FAIL")
                )));
            }
            AttemptBuild::Stopped => return Ok(CheckedAttempt::Stopped),
        };
        if !warnings.is_empty() {
            line(warnings.trim_end());
        }
        let subject = exercise.subject(vec![program.to_string_lossy().into_owned()]);
        let judged = judge_until(exercise, &subject, stop, |report| line(&short(report, palette)));
        let Some(verdict) = judged else { return Ok(CheckedAttempt::Stopped) };
        // A hint may have been shown meanwhile.
        self.progress = StudentProgress::load(&self.exercises)?;
        self.progress.note(exercise, digest.unwrap_or_default(), &verdict);
        self.save()?;
        let told = self.tell(at, &verdict, palette);
        Ok(CheckedAttempt::Judged(verdict, told))
    }

    /// The first failure's story, what else failed, and what to do next.
    fn tell(&self, at: usize, verdict: &Judgement, palette: Palette) -> String {
        let exercise = &self.exercises[at];
        let number = exercise.number;
        let mut out = String::new();
        let failed: Vec<&Report> = verdict.all().filter(|report| matches!(report.outcome, Outcome::Fail(_))).collect();
        if let Some(first) = failed.first() {
            out += &story(exercise, first, palette);
        }
        if failed.len() > 1 {
            let others = failed.len() - 1;
            let fail = if others == 1 { "fails" } else { "fail" };
            let _ = writeln!(out, "{} {fail} besides, perhaps for the same reason:", terminal::count(others, "check"));
            failed[1..].iter().for_each(|report| out += &format!("  {}\n", report.check));
        }
        for report in verdict.all() {
            if let Outcome::Skip { reason } = &report.outcome {
                let _ = writeln!(out, "{} {}: {reason}", palette.left_out("skipped"), report.check);
            }
        }
        let seconds: f64 = verdict.all().map(|report| report.seconds).sum();
        let points = f64::from(exercise.about.points) * verdict.share();
        let head = format!("{number:02} {}", exercise.about.title);
        let worth = format!("{} of {}", decimal(points), terminal::count(exercise.about.points as usize, "point"));
        let end = if verdict.passed() {
            let next = self.next_after(at).map_or_else(
                || "that was the last one: cargo lab list".into(),
                |next| format!("next: cargo lab start {:02}", self.exercises[next].number),
            );
            format!(
                "{} {}: {worth} ({} of checks)\n{next}; the solution: cargo lab diff {number:02}",
                palette.good("passed"),
                palette.heading(&head),
                duration(seconds)
            )
        } else if verdict.untried() {
            format!("{} {}: none of its own checks can run here", palette.left_out("skipped"), palette.heading(&head))
        } else {
            let untouched = if attempt::is_untouched(exercise) { " (it is the starter as it was)" } else { "" };
            format!(
                "{} {}: {worth}{untouched}\nedit {} and check again; a hint: cargo lab hint {number:02}",
                palette.bad("not yet"),
                palette.heading(&head),
                attempt::shown(&exercise.attempt())
            )
        };
        out + &end + "\n"
    }
}

/// A failure as it is told below the matrix, for a person.
fn story(exercise: &Exercise, report: &Report, palette: Palette) -> String {
    let check: Vec<&'static Check> = harness::checks().filter(|check| check.full_name() == report.check).collect();
    let servers = [TestedServer {
        subject: exercise.subject(Vec::new()),
        folder: None,
        words: format!("{:02}", exercise.number),
    }];
    let results =
        Results { checks: &check, servers: &servers, reports: vec![vec![Some(report.clone())]], seconds: 0.0 };
    results.failures(Some(terminal::width()), palette)
}

/// `ok`, `FAIL` or `skip`, and the check.
pub fn short(report: &Report, palette: Palette) -> String {
    let word = match report.outcome {
        Outcome::Pass => palette.good("  ok"),
        Outcome::Fail(_) => palette.bad("FAIL"),
        Outcome::Skip { .. } => palette.left_out("skip"),
    };
    format!("  {word}  {}", report.check)
}

/// `2`, `1.5`: points without a tail of zeros.
pub fn decimal(points: f64) -> String {
    let rounded = (points * 100.0).round() / 100.0;
    format!("{rounded}")
}
