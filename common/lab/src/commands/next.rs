//! `cargo lab next`: the next exercise that does not pass.
//!
//! Invariant: it begins what it names.

use std::process::ExitCode;

use super::start;
use crate::course::Course;
use crate::course::Standing;
use crate::error::LabError;

/// Begin the next exercise
#[derive(Debug, clap::Args)]
pub struct NextArgs {}

/// Runs the command.
pub fn run(_: &NextArgs) -> Result<ExitCode, LabError> {
    let course = Course::load()?;
    // After the last one that was begun: whoever skips one does not want it offered again at once.
    let last = (0..course.exercises.len()).rev().find(|at| course.standing(*at) != Standing::New);
    let at = match last {
        Some(last) => course.next_after(last),
        None => course.current(),
    };
    let at = at.ok_or_else(|| LabError::failed("all exercises pass; there is no next one"))?;
    start::run(&start::StartArgs::of(&course.exercises[at].name))
}
