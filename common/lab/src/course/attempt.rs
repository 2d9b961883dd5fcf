//! A student's file: where it is, what it was made from, and the program that it becomes.
//!
//! Invariant: a starter is never written to, and an attempt is overwritten only by `reset`.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;

use super::exercise::Exercise;
use crate::cargo;
use crate::error::LabError;
use crate::workspace::{self, shown};

/// What became of a build.
#[derive(Debug)]
pub enum AttemptBuild {
    /// The program, and the compiler's warnings.
    Program(PathBuf, String),
    /// It does not compile; the compiler's errors.
    Refused(String),
    /// The build was stopped.
    Stopped,
}

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
        .map_err(|error| LabError::failed(format!("keep {} as {}: {error}", shown(&attempt), shown(&kept))))?;
    copy_starter(exercise)?;
    Ok(Some(kept))
}

fn copy_starter(exercise: &Exercise) -> Result<(), LabError> {
    let (from, to) = (exercise.file("starter.rs"), exercise.attempt());
    fs::copy(&from, &to)
        .map_err(|error| LabError::failed(format!("copy {} to {}: {error}", shown(&from), shown(&to))))?;
    Ok(())
}

/// Cargo finds an attempt through two files beside it. Without them its errors would be about something else.
fn require_package(exercise: &Exercise) -> Result<(), LabError> {
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

/// Builds the attempt, until `stop` is set.
pub fn build(exercise: &Exercise, colours: bool, stop: &AtomicBool) -> Result<AttemptBuild, LabError> {
    let path = shown(&exercise.attempt());
    if !exercise.attempt().exists() {
        let number = exercise.number;
        return Err(LabError::usage(format!("{path} does not exist; make it by: cargo lab start {number:02}")));
    }
    require_package(exercise)?;
    let root = workspace::root()?;
    let format = if colours { "json-diagnostic-rendered-ansi" } else { "json" };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut command = cargo::cargo();
    command
        .args(["build", "--message-format", format, "--example", &exercise.name, "--manifest-path"])
        .arg(exercise.attempt().with_file_name("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .stderr(Stdio::piped())
        // The cargo that runs this program has set it, for another package.
        .env_remove("CARGO_MANIFEST_DIR");
    let Some(build) = cargo::run(&mut command, &path, stop)? else { return Ok(AttemptBuild::Stopped) };
    // Cargo finds the file through a link to its folder; a student knows the file by its own path.
    let said = build.messages.rendered().replace(&format!("examples/{}.rs", exercise.name), &path);
    if !build.success {
        return Ok(AttemptBuild::Refused(if said.is_empty() { build.stderr } else { said }));
    }
    match build.messages.executable_called(&exercise.name) {
        Some(program) => Ok(AttemptBuild::Program(program, said)),
        None => Err(LabError::failed(format!("cargo built {} and did not say where its program is", exercise.name))),
    }
}
