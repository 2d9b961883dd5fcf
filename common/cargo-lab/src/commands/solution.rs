//! `cargo lab solution`: the course's own solution.
//!
//! Invariant: it is shown only after the attempt has passed, or with `--spoil`.

use std::process::ExitCode;

use crate::course::handout::KEPT;
use crate::course::{Course, Standing, any_check};
use crate::error::LabError;
use crate::terminal;
use crate::workspace::shown;

/// Show the solution, after your attempt has passed
#[derive(Debug, clap::Args)]
pub struct SolutionArgs {
    /// The exercise (08, 08_nfds, nfds) [default: the one being watched, or last checked]
    exercise: Option<String>,
    /// Show the solution even though your attempt does not pass
    #[arg(long)]
    spoil: bool,
}

/// Prints the solution's source.
pub fn run(args: &SolutionArgs) -> Result<ExitCode, LabError> {
    let mut course = Course::load(any_check)?;
    let chosen = course.named_or_current(args.exercise.as_deref())?;
    // Not on stdout, where only the source goes.
    let (at, said) = (chosen.at, chosen.said(&course));
    if !said.is_empty() {
        terminal::complain(said.trim_end());
    }
    let Some(path) = course.exercises[at].solution() else { return Err(LabError::failed(KEPT)) };
    require_shown(&mut course, at, args.spoil)?;
    let source = std::fs::read_to_string(&path);
    terminal::print(&source.map_err(|error| LabError::failed(format!("read {}: {error}", shown(&path))))?);
    Ok(ExitCode::SUCCESS)
}

/// An error unless the solution may be shown. Notes it if the solution is shown before the attempt passes.
pub fn require_shown(course: &mut Course, at: usize, spoil: bool) -> Result<(), LabError> {
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
    // Nobody sees it unnoted.
    course.progress.save(&course.exercises)
}
