//! `cargo lab list` and `cargo lab` alone: where a student is.
//!
//! Invariant: no check is run. A result is shown only while the attempt that it belongs to is unchanged.

use std::fmt::Write;
use std::process::ExitCode;

use crate::course::settings::CourseSettings;
use crate::course::{Course, Standing, any_check, decimal};
use crate::error::LabError;
use crate::terminal::{self, Palette};
use crate::workspace::{self, shown};

/// List the exercises: which ones pass, and how many points you have
#[derive(Debug, clap::Args)]
pub struct ListArgs {}

/// Prints the table of exercises: `cargo lab list`.
pub fn run(_: &ListArgs) -> Result<ExitCode, LabError> {
    let course = Course::load(any_check)?;
    let (width, palette) = (terminal::width(), Palette::stdout());
    let deadline = CourseSettings::load(&workspace::root()?.join("exercises"))?.deadline;
    let deadline = deadline.map_or_else(String::new, |text| format!("{}\n", terminal::clean(&text, 500)));
    terminal::print(&(table(&course, None, width, palette) + "\n" + &bar(&course, width, palette) + &deadline));
    Ok(ExitCode::SUCCESS)
}

/// Prints the points and what to do next: `cargo lab` without a command.
pub fn status() -> Result<ExitCode, LabError> {
    let course = Course::load(any_check)?;
    let (width, palette) = (terminal::width(), Palette::stdout());
    let mut out = bar(&course, width, palette);
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
    let others = [
        "all exercises: cargo lab list",
        "all servers against the contract: cargo lab check",
        "more: cargo lab --help",
    ];
    let line = others.join("    ");
    out += &format!("\n{}\n", if terminal::columns(&line) <= width { line } else { others.join("\n") });
    terminal::print(&out);
    Ok(ExitCode::SUCCESS)
}

/// What stands before and behind a title in the table: the number; the standing and the points; the hints.
const BESIDE: [usize; 3] = [6, 18, 9];
/// A title is not made shorter.
const SHORTEST_TITLE: usize = 16;

/// A line for each exercise, by chapters; an arrow stands before the exercise that is `marked`. A title is cut where the
/// lines would be wider than `width`.
pub fn table(course: &Course, marked: Option<usize>, width: usize, palette: Palette) -> String {
    let mut out = String::new();
    let longest = course.exercises.iter().map(|it| terminal::columns(&it.about.title)).max().unwrap_or(0);
    let has_hints = course.exercises.iter().any(|exercise| course.progress.hints(exercise) > 0);
    let beside: usize = BESIDE[..if has_hints { 3 } else { 2 }].iter().sum();
    let titles = longest.min(width.saturating_sub(beside).max(SHORTEST_TITLE));
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
        let title = terminal::padded(&terminal::cut(&exercise.about.title, titles), titles);
        let _ = writeln!(out, "{arrow} {number:02}  {title}  {standing}  {won:>4}/{points}{}", palette.faint(&hints));
    }
    out
}

/// `█████░░░░░░░  5 of 33 exercises, 9.5 of 77 points`; without the bar where the terminal is too narrow for both.
pub fn bar(course: &Course, width: usize, palette: Palette) -> String {
    const WIDTH: usize = 30;
    let all = course.exercises.len();
    let passed = (0..all).filter(|at| course.standing(*at) == Standing::Passed).count();
    let (reached, points) = course.points();
    let counts = format!(
        "{passed} of {}, {} of {}",
        terminal::count(all, "exercise"),
        decimal(reached),
        terminal::count(points as usize, "point")
    );
    if WIDTH + 2 + terminal::columns(&counts) > width {
        return counts + "\n";
    }
    let full = (WIDTH * passed).checked_div(all).unwrap_or(0);
    let (done, open) = ("█".repeat(full), "░".repeat(WIDTH - full));
    format!("{}{}  {counts}\n", palette.good(&done), palette.faint(&open))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::StudentProgress;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let exercises = crate::course::load(&workspace::root().unwrap().join("exercises"), any_check).unwrap();
        let mut progress = StudentProgress::default();
        for hints in [0, 1] {
            if hints > 0 {
                progress.one_more_hint(&exercises[3], 3);
                progress.one_more_hint(&exercises[3], 3);
            }
            let exercises = exercises.clone();
            let course = Course { exercises, progress: std::mem::take(&mut progress) };
            for width in [40 + 9 * hints, 60, 80] {
                let shown = table(&course, Some(3), width, Palette::plain()) + &bar(&course, width, Palette::plain());
                let widest = shown.lines().map(terminal::columns).max();
                assert!(widest <= Some(width), "{widest:?} on {width}: {shown}");
            }
            assert!(table(&course, None, 200, Palette::plain()).contains("It did not hear the bell · the signal gap"));
        }
    }
}
