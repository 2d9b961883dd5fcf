//! A student's file: where it is, what it was made from, and the program that it becomes.
//!
//! Invariant: a starter is never written to, and an attempt is overwritten only by the command whose purpose that is.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::exercise::Exercise;
use crate::error::LabError;
use crate::workspace;

/// What became of a build.
#[derive(Debug)]
pub enum AttemptBuild {
    /// The program, and the compiler's warnings.
    Program(PathBuf, String),
    /// What the compiler says against it.
    Refused(String),
    /// It was told to stop.
    Stopped,
}

/// How a path is shown: from the workspace's root.
pub fn shown(path: &Path) -> String {
    let root = workspace::root().unwrap_or_default();
    path.strip_prefix(&root).unwrap_or(path).display().to_string()
}

/// Copies the starter to where the student works on it. `false` if there is something already.
pub fn start(exercise: &Exercise) -> Result<bool, LabError> {
    if exercise.attempt().exists() {
        return Ok(false);
    }
    whole(exercise)?;
    copy(exercise).map(|()| true)
}

/// Puts the starter in the place of the attempt; what was there is kept beside it, under the name that is returned.
pub fn reset(exercise: &Exercise) -> Result<Option<PathBuf>, LabError> {
    whole(exercise)?;
    let attempt = exercise.attempt();
    let kept = if attempt.exists() && !is_untouched(exercise) {
        let free = (1..).map(|n| attempt.with_extension(format!("rs.{n}"))).find(|path| !path.exists());
        let kept = free.expect("numbers do not end");
        let cannot = |error| LabError::failed(format!("keep {} as {}: {error}", shown(&attempt), shown(&kept)));
        fs::rename(&attempt, &kept).map_err(cannot)?;
        Some(kept)
    } else {
        None
    };
    copy(exercise).map(|()| kept)
}

fn copy(exercise: &Exercise) -> Result<(), LabError> {
    let (from, to) = (exercise.file("starter.rs"), exercise.attempt());
    let cannot = |error| LabError::failed(format!("copy {} to {}: {error}", shown(&from), shown(&to)));
    fs::copy(&from, &to).map(drop).map_err(cannot)
}

/// Cargo finds an attempt by what stands beside it; if that is gone, its words are about something else.
fn whole(exercise: &Exercise) -> Result<(), LabError> {
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
    if !exercise.attempt().exists() {
        let (number, path) = (exercise.number, shown(&exercise.attempt()));
        return Err(LabError::usage(format!("{path} does not exist; make it by: cargo lab start {number:02}")));
    }
    whole(exercise)?;
    let root = workspace::root()?;
    let format = if colours { "json-diagnostic-rendered-ansi" } else { "json" };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--message-format", format, "--example", &exercise.name, "--manifest-path"])
        .arg(exercise.attempt().with_file_name("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        // Set by the cargo that runs this program, and wrong for another package.
        .env_remove("CARGO_MANIFEST_DIR");
    let cannot = |error| LabError::failed(format!("cannot run cargo to build {}: {error}", shown(&exercise.attempt())));
    let child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(cannot)?;
    let (out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = err.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let messages = std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect()
    });
    let status = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break status;
        }
        if stop.load(Ordering::Relaxed) {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(AttemptBuild::Stopped);
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let messages: Vec<Value> = messages.join().unwrap_or_default();
    let said = said.join().unwrap_or_default();
    let of_this = |message: &&Value| message["target"]["name"] == exercise.name.as_str();
    let rendered = messages.iter().filter(|message| message["reason"] == "compiler-message");
    let rendered: String = rendered.filter_map(|message| message["message"]["rendered"].as_str()).collect();
    // Cargo finds the file by its link to the folder; a student knows it by its own path.
    let rendered = rendered.replace(&format!("examples/{}.rs", exercise.name), &shown(&exercise.attempt()));
    if !status.success() {
        return Ok(AttemptBuild::Refused(if rendered.is_empty() { said } else { rendered }));
    }
    let program = messages.iter().filter(of_this).find_map(|message| message["executable"].as_str());
    let program =
        program.ok_or_else(|| LabError::failed(format!("cargo built {} and did not say where", exercise.name)))?;
    Ok(AttemptBuild::Program(program.into(), rendered))
}
