//! `cargo lab reset`: the starter in place of the attempt.
//!
//! Invariant: what the student wrote is kept under another name.

use std::process::ExitCode;

use crate::course::{Course, any_check, attempt};
use crate::error::LabError;
use crate::terminal;
use crate::workspace::shown;

/// Put the starter back; your attempt is kept beside it
#[derive(Debug, clap::Args)]
pub struct ResetArgs {
    /// The exercise (08, 08_nfds, nfds) [default: the one being watched, or last checked]
    exercise: Option<String>,
}

/// Resets one exercise.
pub fn run(args: &ResetArgs) -> Result<ExitCode, LabError> {
    let mut course = Course::load(any_check)?;
    let chosen = course.named_or_begun(args.exercise.as_deref())?;
    let said = chosen.said(&course);
    terminal::print(&(said + &reset(&mut course, chosen.at)?));
    Ok(ExitCode::SUCCESS)
}

/// Resets an exercise, and says where the attempt was kept.
pub fn reset(course: &mut Course, at: usize) -> Result<String, LabError> {
    let exercise = &course.exercises[at];
    let kept = attempt::reset(exercise)?;
    course.progress.forget(exercise);
    course.save();
    let kept = match kept {
        Some(path) => format!("; your attempt is kept as {}", shown(&path)),
        None => String::new(),
    };
    Ok(format!("{} is the starter again{kept}\n", shown(&exercise.attempt())))
}
