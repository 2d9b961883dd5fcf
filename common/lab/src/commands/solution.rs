//! `cargo lab solution`: ours, beside the student's.
//!
//! Invariant: it is shown after the attempt has passed, or to whoever asks for the spoiler by its name.

use std::process::ExitCode;

use crate::course::Course;
use crate::course::Standing;
use crate::error::LabError;
use crate::terminal;
use crate::workspace;

/// Show the solution, after your attempt has passed
#[derive(Debug, clap::Args)]
pub struct SolutionArgs {
    /// The exercise; the one you are at if none is given
    exercise: Option<String>,
    /// Show it in any case
    #[arg(long)]
    spoil: bool,
}

/// Runs the command.
pub fn run(args: &SolutionArgs) -> Result<ExitCode, LabError> {
    let mut course = Course::load()?;
    let at = super::this_or_current(&course, args.exercise.as_deref())?;
    allowed(&mut course, at, args.spoil)?;
    let path = course.exercises[at].file("solution.rs");
    let cannot = |error| LabError::failed(format!("read {}: {error}", workspace::shown(&path)));
    terminal::print(&std::fs::read_to_string(&path).map_err(cannot)?);
    Ok(ExitCode::SUCCESS)
}

/// Whether the solution may be shown; notes it if that is before it passes.
pub fn allowed(course: &mut Course, at: usize, spoil: bool) -> Result<(), LabError> {
    if matches!(course.standing(at), Standing::Passed | Standing::PassedBefore) {
        return Ok(());
    }
    let exercise = &course.exercises[at];
    if !spoil {
        let number = exercise.number;
        return Err(LabError::failed(format!(
            "your attempt at {number:02} does not pass yet, and the solution would spoil it\n  a hint: cargo lab hint \
             {number:02}; the solution all the same: add --spoil"
        )));
    }
    course.progress.spoil(exercise);
    course.save()
}
