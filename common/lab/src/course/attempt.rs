//! A student's file, and the program that it becomes.
//!
//! Invariant: only cargo builds it, and a build that was told to stop leaves no compiler running.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;

use cargo_lab::course::attempt::require_package;
pub use cargo_lab::course::attempt::{is_untouched, reset, start};

use super::Exercise;
use crate::cargo;
use crate::error::LabError;
use crate::workspace::{self, shown};

/// What became of a build.
#[derive(Debug)]
pub enum AttemptBuild {
    /// The program, and the compiler's warnings.
    Program(PathBuf, String),
    /// There is no program.
    Refused(Refusal),
    /// The build was stopped.
    Stopped,
}

/// Why a build has no program.
#[derive(Debug)]
pub struct Refusal {
    /// What the compiler said, or else cargo.
    pub said: String,
    /// `does not compile`; or where the compiler found no error (a full disk, no network), `could not be built`.
    pub what: &'static str,
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
        let has_error = build.messages.errors().next().is_some();
        let what = if has_error { "does not compile" } else { "could not be built; cargo says why above" };
        return Ok(AttemptBuild::Refused(Refusal { said: if has_error { said } else { said + &build.stderr }, what }));
    }
    match build.messages.executable_called(&exercise.name) {
        Some(program) => Ok(AttemptBuild::Program(program, said)),
        None => Err(LabError::failed(format!("cargo built {} and did not say where its program is", exercise.name))),
    }
}
