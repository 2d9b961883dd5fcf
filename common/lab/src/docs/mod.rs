//! What is generated in this repository: tables in the Markdown files, pictures, and the registry of the exercises.
//!
//! Invariant: a generated part is a function of the checks, of the exercises' `exercise.toml`, of the reference
//! measurement and of the file itself. No server is run for it: what each starter fails is in a record of its own. Of the
//! chapters' matrix, which only a run can tell, the names of groups and servers and the number of checks in a group are
//! compared.

pub mod course;
pub mod harness;
pub mod matrix;
pub mod measured;
pub mod region;
pub mod registry;
pub mod starters;

use std::fs;
use std::path::Path;

use crate::course::{Exercise, StarterRecord, check_names, load};
use crate::error::LabError;

/// The command that brings everything up to date.
pub const COMMAND: &str = "cargo lab docs";

/// The file with the kill matrix.
pub const STARTERS: &str = "exercises/README.md";

/// A file with generated parts.
struct Document {
    /// From the workspace's root.
    path: &'static str,
    /// The text that the file has to have, from the text that it has.
    wanted: fn(&str, &[Exercise], &StarterRecord) -> Result<String, String>,
}

const DOCUMENTS: &[Document] = &[
    Document { path: "exercises/src/servers.rs", wanted: |_, exercises, _| Ok(registry::source(exercises)) },
    Document { path: "exercises/INSTRUCTORS.md", wanted: |text, exercises, _| course::instructors(text, exercises) },
    Document { path: "common/harness/README.md", wanted: |text, _, _| harness::readme(text) },
    Document { path: STARTERS, wanted: starters::readme },
    Document { path: "common/bench/MEASURED.md", wanted: |text, _, _| measured::text(text) },
    Document { path: "01-select/README.md", wanted: |text, _, _| measured::text(text) },
    Document { path: "02-poll/README.md", wanted: |text, _, _| measured::text(text) },
    Document { path: "03-epoll-lt/README.md", wanted: |text, _, _| measured::text(text) },
    Document { path: "04-epoll-et/README.md", wanted: |text, _, _| measured::text(text) },
    Document { path: "05-kqueue/README.md", wanted: |text, _, _| measured::text(text) },
    Document { path: "06-io-uring/README.md", wanted: |text, _, _| measured::text(text) },
    Document { path: "common/server/README.md", wanted: |text, _, _| measured::text(text) },
    Document { path: "common/bench/pictures/wait.svg", wanted: |_, _, _| measured::picture("wait", "wait") },
    Document { path: "common/bench/pictures/idle-tax.svg", wanted: |_, _, _| measured::picture("idle-tax", "busy-50") },
    Document { path: "common/bench/pictures/calls.svg", wanted: |_, _, _| measured::picture("syscalls", "calls") },
    Document { path: "common/bench/pictures/cpu.svg", wanted: |_, _, _| measured::picture("syscalls", "cpu") },
];

/// A file whose generated parts are not what they have to be.
#[derive(Debug)]
pub struct StaleFile {
    /// From the workspace's root.
    pub path: &'static str,
    /// The text that it has to have.
    pub wanted: String,
}

/// The files that `cargo lab docs` would change.
pub fn stale(root: &Path) -> Result<Vec<StaleFile>, LabError> {
    let folder = root.join("exercises");
    let (exercises, record) = (load(&folder)?, StarterRecord::load(&folder)?);
    let mut stale = Vec::new();
    for Document { path, wanted } in DOCUMENTS {
        // A file that is not there yet is empty.
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        let wanted =
            wanted(&text, &exercises, &record).map_err(|wrong| LabError::failed(format!("{path}: {wrong}")))?;
        if wanted != text {
            stale.push(StaleFile { path, wanted });
        }
    }
    Ok(stale)
}

/// What the two matrices lack, or have of checks, servers or exercises that are gone; with the command that runs them.
pub fn outdated_matrices(root: &Path) -> Result<Vec<String>, LabError> {
    let readme = fs::read_to_string(root.join(matrix::FILE));
    let readme = readme.map_err(|error| LabError::failed(format!("read {}: {error}", matrix::FILE)))?;
    let mut outdated = matrix::outdated(&readme);
    let folder = root.join("exercises");
    if !StarterRecord::load(&folder)?.is_current(&load(&folder)?, &check_names()) {
        outdated
            .push("exercises/starters.toml lacks a check or an exercise; 'cargo lab matrix --write' runs it".into());
    }
    Ok(outdated)
}

/// Writes a file's new text.
pub fn write(root: &Path, path: &str, text: &str) -> Result<(), LabError> {
    fs::write(root.join(path), text).map_err(|error| LabError::failed(format!("write {path}: {error}")))
}
