//! `cargo lab list` and `cargo lab` alone: where a student is.
//!
//! Invariant: no check is run. A result is shown only while the attempt that it belongs to is unchanged.

use std::fmt::Write;
use std::process::ExitCode;

use crate::course::{Course, Standing, any_check, decimal};
use crate::error::LabError;
use crate::terminal::{self, Palette};
use crate::workspace::shown;

/// List the exercises: which ones pass, and how many points you have
#[derive(Debug, clap::Args)]
pub struct ListArgs {}

/// Prints the table of exercises: `cargo lab list`.
pub fn run(_: &ListArgs) -> Result<ExitCode, LabError> {
    let course = Course::load(any_check)?;
    terminal::print(&(table(&course, None, Palette::stdout()) + "\n" + &bar(&course, Palette::stdout())));
    Ok(ExitCode::SUCCESS)
}

/// Prints the points and what to do next: `cargo lab` without a command.
pub fn status() -> Result<ExitCode, LabError> {
    let course = Course::load(any_check)?;
    let palette = Palette::stdout();
    let mut out = bar(&course, palette);
    match course.current() {
        None if course.exercises.is_empty() => out += "there are no exercises here\n",
        None => out += "every exercise passes; the points as an instructor sees them: cargo lab grade\n",
        Some(at) => {
            let exercise = &course.exercises[at];
            let number = exercise.number;
            let path = shown(&exercise.attempt());
            let next = match course.standing(at) {
                Standing::New => format!("next: cargo lab start {number:02}"),
                Standing::Failing(_) => format!("edit {path}, then: cargo lab check {number:02}"),
                _ => format!("check {path}: cargo lab check {number:02}"),
            };
            let head = format!("{number:02} {}", exercise.about.title);
            let _ = writeln!(out, "\n{}  {}\n{next}", palette.heading(&head), palette.faint(&exercise.about.chapter));
        }
    }
    out += "\nall exercises: cargo lab list    all servers against the contract: cargo lab check    \
            more: cargo lab --help\n";
    terminal::print(&out);
    Ok(ExitCode::SUCCESS)
}

/// A line for each exercise, by chapters; an arrow stands before the exercise that is `marked`.
pub fn table(course: &Course, marked: Option<usize>, palette: Palette) -> String {
    let mut out = String::new();
    let width = course.exercises.iter().map(|it| terminal::columns(&it.about.title)).max().unwrap_or(0);
    for (at, exercise) in course.exercises.iter().enumerate() {
        if at == 0 || course.exercises[at - 1].about.chapter != exercise.about.chapter {
            let _ = writeln!(out, "{}", palette.heading(&exercise.about.chapter));
        }
        let points = exercise.about.points;
        let of = |share: f64| decimal(share * f64::from(points));
        let (standing, won) = match course.standing(at) {
            Standing::New => (palette.faint("-       "), String::new()),
            Standing::Started => ("begun   ".into(), String::new()),
            Standing::Failing(share) => (palette.bad("not yet "), of(share)),
            Standing::Passed => (palette.good("passed  "), of(1.0)),
            Standing::PassedBefore => (palette.left_out("changed "), String::new()),
        };
        let hints = course.progress.hints(exercise);
        let hints = if hints > 0 { format!("  {}", terminal::count(hints, "hint")) } else { String::new() };
        let arrow = if marked == Some(at) { ">" } else { " " };
        let number = exercise.number;
        let title = terminal::padded(&exercise.about.title, width);
        let _ = writeln!(out, "{arrow} {number:02}  {title}  {standing}  {won:>4}/{points}{}", palette.faint(&hints));
    }
    out
}

/// `█████░░░░░░░  5 of 33 exercises, 9.5 of 77 points`.
pub fn bar(course: &Course, palette: Palette) -> String {
    const WIDTH: usize = 30;
    let all = course.exercises.len();
    let passed = (0..all).filter(|at| course.standing(*at) == Standing::Passed).count();
    let (reached, points) = course.points();
    let full = (WIDTH * passed).checked_div(all).unwrap_or(0);
    let (done, open) = ("█".repeat(full), "░".repeat(WIDTH - full));
    let counts = format!(
        "{passed} of {}, {} of {}",
        terminal::count(all, "exercise"),
        decimal(reached),
        terminal::count(points as usize, "point")
    );
    format!("{}{}  {counts}\n", palette.good(&done), palette.faint(&open))
}
