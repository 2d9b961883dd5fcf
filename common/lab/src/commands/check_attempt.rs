//! `cargo lab check NN`: a student's attempt against its exercise's checks.
//!
//! Invariant: exit code 0 means that every attempt that was named passes.

use std::process::ExitCode;
use std::sync::Mutex;

use serde::Serialize;

use crate::checking::bars;
use crate::course::feedback::CheckedAttempt;
use crate::course::{Course, Exercise, Judgement};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::terminal::{self, Palette};

/// One attempt in `--json`.
#[derive(Serialize)]
struct AttemptJson<'a> {
    exercise: &'a str,
    compiles: bool,
    passed: bool,
    points: f64,
    of: u32,
    reports: Vec<&'a harness::Report>,
}

/// Checks them, one after the other.
pub fn run(mut course: Course, places: &[usize], json: bool) -> Result<ExitCode, LabError> {
    let interrupt = Interrupt::watch()?;
    let palette = if json { Palette::plain() } else { Palette::stdout() };
    let mut all_passed = true;
    let mut verdicts: Vec<(usize, Option<Judgement>)> = Vec::new();
    for at in places {
        let exercise = &course.exercises[*at];
        let what = format!("building and checking {}", exercise.name);
        let lines = Mutex::new(Vec::new());
        let checked = bars::waiting(what, || {
            course.check(*at, palette, interrupt.flag(), |line| {
                lines.lock().expect("no panic here").push(line.to_owned())
            })
        });
        interrupt.check()?;
        let (verdict, told) = match checked? {
            CheckedAttempt::Judged(verdict, told) => (Some(verdict), told),
            CheckedAttempt::Refused(why) => (None, why),
            CheckedAttempt::Stopped => continue,
        };
        all_passed &= verdict.as_ref().is_some_and(Judgement::passed);
        if !json {
            let mut lines = lines.into_inner().expect("no panic here");
            lines.push(String::new());
            terminal::print(&(lines.join("\n") + "\n" + &told));
        }
        verdicts.push((*at, verdict));
    }
    if json {
        let list: Vec<AttemptJson<'_>> =
            verdicts.iter().map(|(at, verdict)| describe(&course.exercises[*at], verdict)).collect();
        terminal::print(&(serde_json::to_string_pretty(&list).expect("strings and numbers only") + "\n"));
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe<'a>(exercise: &'a Exercise, verdict: &'a Option<Judgement>) -> AttemptJson<'a> {
    let of = exercise.about.points;
    AttemptJson {
        exercise: &exercise.name,
        compiles: verdict.is_some(),
        passed: verdict.as_ref().is_some_and(Judgement::passed),
        points: verdict.as_ref().map_or(0.0, |verdict| verdict.share() * f64::from(of)),
        of,
        reports: verdict.iter().flat_map(Judgement::all).collect(),
    }
}
