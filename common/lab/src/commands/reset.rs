//! `cargo lab reset`: the starter again.
//!
//! Invariant: what was written is kept under another name.

use std::process::ExitCode;

use crate::course::Course;
use crate::course::attempt;
use crate::error::LabError;
use crate::terminal;
use crate::workspace;

/// Begin an exercise again; what you wrote is kept beside it
#[derive(Debug, clap::Args)]
pub struct ResetArgs {
    /// The exercise
    exercise: String,
}

/// Runs the command.
pub fn run(args: &ResetArgs) -> Result<ExitCode, LabError> {
    let mut course = Course::load()?;
    let at = course.find(&args.exercise)?;
    terminal::print(&reset(&mut course, at)?);
    Ok(ExitCode::SUCCESS)
}

/// Resets one, and says what became of it.
pub fn reset(course: &mut Course, at: usize) -> Result<String, LabError> {
    let exercise = &course.exercises[at];
    let kept = attempt::reset(exercise)?;
    course.progress.forget(exercise);
    course.save()?;
    let kept = kept.map_or_else(String::new, |path| format!("; what you wrote is {}", workspace::shown(&path)));
    Ok(format!("{} is the starter again{kept}\n", workspace::shown(&exercise.attempt())))
}
