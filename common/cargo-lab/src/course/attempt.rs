//! A student's file: where it is, and what it was made from.
//!
//! Invariant: a starter is never written to, and an attempt is overwritten only by `reset`.

use std::fs;
use std::path::PathBuf;

use super::exercise::Exercise;
use crate::error::LabError;
use crate::workspace::shown;

/// Copies the starter to where the student works on it. Returns `false`, and copies nothing, if there is an attempt
/// already.
pub fn start(exercise: &Exercise) -> Result<bool, LabError> {
    if exercise.attempt().exists() {
        return Ok(false);
    }
    require_package(exercise)?;
    copy_starter(exercise)?;
    Ok(true)
}

/// Replaces the attempt by the starter. The attempt is kept beside it, under the name that is returned.
pub fn reset(exercise: &Exercise) -> Result<Option<PathBuf>, LabError> {
    require_package(exercise)?;
    let attempt = exercise.attempt();
    if !attempt.exists() || is_untouched(exercise) {
        copy_starter(exercise)?;
        return Ok(None);
    }
    let free = (1..).map(|n| attempt.with_extension(format!("rs.{n}"))).find(|path| !path.exists());
    let kept = free.expect("numbers do not end");
    fs::rename(&attempt, &kept)
        .map_err(|error| LabError::failed(format!("cannot keep {} as {}: {error}", shown(&attempt), shown(&kept))))?;
    copy_starter(exercise)?;
    Ok(Some(kept))
}

fn copy_starter(exercise: &Exercise) -> Result<(), LabError> {
    let (from, to) = (exercise.file("starter.rs"), exercise.attempt());
    fs::copy(&from, &to)
        .map_err(|error| LabError::failed(format!("cannot copy {} to {}: {error}", shown(&from), shown(&to))))?;
    Ok(())
}

/// Cargo finds an attempt through two files beside it. Without them its errors would be about something else.
pub fn require_package(exercise: &Exercise) -> Result<(), LabError> {
    for name in ["Cargo.toml", "examples"] {
        let path = exercise.attempt().with_file_name(name);
        if !path.exists() {
            let folder = path.parent().expect("a folder for attempts");
            return Err(LabError::failed(format!("{} is missing: git checkout {}", shown(&path), shown(folder))));
        }
    }
    Ok(())
}

/// The attempt is still the starter.
pub fn is_untouched(exercise: &Exercise) -> bool {
    match (fs::read(exercise.attempt()), fs::read(exercise.file("starter.rs"))) {
        (Ok(attempt), Ok(starter)) => attempt == starter,
        _ => false,
    }
}
