//! `cargo lab next`: the next exercise that does not pass.
//!
//! Invariant: the exercise that it names is begun.

use std::process::ExitCode;

use super::start;
use crate::course::{Course, Standing, any_check};
use crate::error::LabError;

/// Begin the next exercise that does not pass yet
#[derive(Debug, clap::Args)]
pub struct NextArgs {}

/// Begins the first exercise that does not pass after the last exercise that was begun.
pub fn run(_: &NextArgs) -> Result<ExitCode, LabError> {
    let course = Course::load(any_check)?;
    // Not the first exercise that does not pass: a student who skips an exercise does not want it offered again at
    // once.
    let last = (0..course.exercises.len()).rev().find(|at| course.standing(*at) != Standing::New);
    let at = match last {
        Some(last) => course.next_after(last),
        None => course.current(),
    };
    let at = at.ok_or_else(|| LabError::failed("every exercise passes; there is no next one"))?;
    start::run(&start::StartArgs::of(&course.exercises[at].name))
}
