//! `cargo lab check NN`: a student's attempt against its exercise's checks.
//!
//! Invariant: exit code 0 means that every attempt that was named passes.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::checking::bars;
use crate::checking::results::Results;
use crate::checking::servers::TestedServer;
use crate::course::feedback::{self, CheckNews, CheckedAttempt};
use crate::course::{Course, Exercise, Judgement};
use crate::error::LabError;
use crate::interrupt::{self, Interrupt};
use crate::report::{self, CheckReport, Players};
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

/// How far the check is that a signal would cut short.
#[derive(Clone, Default)]
struct SoFar(Arc<Mutex<Option<String>>>);

impl SoFar {
    fn is(&self, text: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// The thread that sees the signal and the one that checks both tell; the first of them does.
    fn tell(&self) {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        text.iter().for_each(|text| terminal::complain(&format!("not finished: {text}")));
    }
}

/// Checks the attempts at some exercises, one after the other.
pub fn run(
    mut course: Course,
    places: &[usize],
    json: bool,
    verbose: bool,
    html: Option<(&Path, Option<&dyn Players>)>,
) -> Result<ExitCode, LabError> {
    let start = Instant::now();
    let interrupt = Interrupt::watch()?;
    let palette = if json { Palette::plain() } else { Palette::stdout() };
    let mut all_passed = true;
    let mut judgements: Vec<(usize, Option<Judgement>)> = Vec::new();
    let mut refused = Vec::new();
    let so_far = SoFar::default();
    let seen = so_far.clone();
    interrupt::at_exit(move || seen.tell());
    for at in places {
        let name = course.exercises[*at].name.clone();
        let what = format!("building and checking {name}");
        let checked = bars::waiting(what, |waiting| {
            feedback::check(&mut course, *at, palette, verbose, interrupt.flag(), |news| match news {
                CheckNews::Line(line) if !json => waiting.print(&format!("{line}\n")),
                CheckNews::Line(_) => {}
                CheckNews::Progress(text) => {
                    waiting.so_far(&text);
                    so_far.is(Some(format!("{name}: {text}")));
                }
            })
        });
        interrupt.check().inspect_err(|_| so_far.tell())?;
        so_far.is(None);
        let (judgement, told) = match checked? {
            CheckedAttempt::Judged(judgement, told) => (Some(judgement), told),
            CheckedAttempt::Refused(why) => {
                refused.push((name, why.clone()));
                (None, why)
            }
            CheckedAttempt::Stopped => continue,
        };
        all_passed &= judgement.as_ref().is_some_and(Judgement::passed);
        if !json {
            terminal::print(&format!("\n{told}"));
        }
        judgements.push((*at, judgement));
    }
    if let Some((path, players)) = html {
        let players = players.map(|it| (it, &interrupt));
        report::write(path, &page(&course, &judgements, &refused, start.elapsed().as_secs_f64(), players))?;
    }
    if json {
        let list: Vec<AttemptJson<'_>> =
            judgements.iter().map(|(at, judgement)| describe(&course.exercises[*at], judgement)).collect();
        terminal::print(&(serde_json::to_string_pretty(&list).expect("strings and numbers only") + "\n"));
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe<'a>(exercise: &'a Exercise, judgement: &'a Option<Judgement>) -> AttemptJson<'a> {
    let of = exercise.about.points;
    AttemptJson {
        exercise: &exercise.name,
        compiles: judgement.is_some(),
        passed: judgement.as_ref().is_some_and(Judgement::passed),
        points: judgement.as_ref().map_or(0.0, |judgement| judgement.share() * f64::from(of)),
        of,
        reports: judgement.iter().flat_map(Judgement::all).collect(),
    }
}

/// The attempts as a report: a column for each, a row for each check of the suite.
fn page(
    course: &Course,
    judgements: &[(usize, Option<Judgement>)],
    refused: &[(String, String)],
    seconds: f64,
    players: Option<(&dyn Players, &Interrupt)>,
) -> String {
    let (mut servers, mut reports, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    let checks: Vec<&'static harness::Check> = harness::checks().collect();
    for (at, judgement) in judgements {
        let (exercise, Some(judgement)) = (&course.exercises[*at], judgement) else { continue };
        let words = format!("{:02}", exercise.number);
        let subject = harness::Subject { name: exercise.name.clone(), ..exercise.subject(Vec::new()) };
        servers.push(TestedServer { subject, folder: None, words });
        let report = |name: String| judgement.all().find(|report| report.check == name).cloned();
        reports.push(checks.iter().map(|check| report(check.full_name())).collect());
        notes.push(feedback::in_a_line(exercise, judgement));
    }
    let results = Results { checks: &checks, servers: &servers, reports, seconds };
    let command = report::command_line();
    report::check(&CheckReport {
        results: &results,
        notes: &notes,
        refused,
        attempts: true,
        command: &command,
        players,
    })
}
