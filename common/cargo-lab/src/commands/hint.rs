//! `cargo lab hint`: one more hint at each call.
//!
//! Invariant: the hints that were shown are counted, and shown again above the new hint.

use std::process::ExitCode;

use crate::course::{Course, any_check};
use crate::error::LabError;
use crate::terminal::{self, Palette};

/// Show one more of an exercise's three hints
#[derive(Debug, clap::Args)]
pub struct HintArgs {
    /// The exercise (08, 08_nfds, nfds) [default: the one being watched, or last checked]
    exercise: Option<String>,
}

/// Shows the hints that were shown before, and the next hint.
pub fn run(args: &HintArgs) -> Result<ExitCode, LabError> {
    let mut course = Course::load(any_check)?;
    let chosen = course.named_or_current(args.exercise.as_deref())?;
    let said = chosen.said(&course);
    terminal::print(&(said + &next_hint(&mut course, chosen.at, Palette::stdout())?));
    Ok(ExitCode::SUCCESS)
}

/// One more hint, below those that were shown before.
pub fn next_hint(course: &mut Course, at: usize, palette: Palette) -> Result<String, LabError> {
    let exercise = &course.exercises[at];
    let all = exercise.about.hints.len();
    let shown = course.progress.one_more_hint(exercise, all);
    let mut out = String::new();
    for (i, hint) in exercise.about.hints.iter().take(shown).enumerate() {
        let head = format!("hint {} of {all}", i + 1);
        out +=
            &format!("{}\n{}", palette.heading(&head), terminal::wrap_lines(&format!("  {hint}"), terminal::width()));
    }
    if shown == all && exercise.solution().is_none() {
        out += "there are no more hints\n";
    } else if shown == all {
        out += &format!("there are no more hints; the answer: cargo lab solution {:02} --spoil\n", exercise.number);
    }
    course.save();
    Ok(out)
}
