//! What is generated in this repository: tables in the Markdown files, and the registry of the exercises.
//!
//! Invariant: a generated part is a function of the checks, of the exercises' `exercise.toml` and of the file itself. No
//! server is run for it. What only a long run can tell (the two matrices) is compared as far as it is known without one:
//! the names of groups, servers and exercises, and the number of checks in a group.

pub mod course;
pub mod harness;
pub mod matrix;
pub mod region;
pub mod registry;

use std::fs;
use std::path::Path;

use crate::course::{Exercise, load};
use crate::error::LabError;

/// The command that brings everything up to date.
pub const COMMAND: &str = "cargo lab docs";

/// A file with generated parts.
struct Document {
    /// From the workspace's root.
    path: &'static str,
    /// The text that the file has to have, from the text that it has.
    wanted: fn(&str, &[Exercise]) -> Result<String, String>,
}

const DOCUMENTS: &[Document] = &[
    Document { path: "exercises/src/servers.rs", wanted: |_, exercises| Ok(registry::source(exercises)) },
    Document { path: "exercises/INSTRUCTORS.md", wanted: course::instructors },
    Document { path: "common/harness/README.md", wanted: |text, _| harness::readme(text) },
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
    let exercises = load(&root.join("exercises"))?;
    let mut stale = Vec::new();
    for Document { path, wanted } in DOCUMENTS {
        // A file that is not there yet is empty.
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        let wanted = wanted(&text, &exercises).map_err(|wrong| LabError::failed(format!("{path}: {wrong}")))?;
        if wanted != text {
            stale.push(StaleFile { path, wanted });
        }
    }
    Ok(stale)
}

/// What the two matrices say of checks, servers or exercises that are no longer so, with the command that runs them anew.
pub fn outdated_matrices(root: &Path) -> Result<Vec<String>, LabError> {
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).map_err(|error| LabError::failed(format!("read {path}: {error}")))
    };
    let exercises = load(&root.join("exercises"))?;
    let mut outdated = matrix::outdated(&read("README.md")?);
    outdated.extend(course::outdated_matrix(&read("exercises/README.md")?, &exercises));
    Ok(outdated)
}

/// Writes a file's new text.
pub fn write(root: &Path, path: &str, text: &str) -> Result<(), LabError> {
    fs::write(root.join(path), text).map_err(|error| LabError::failed(format!("write {path}: {error}")))
}
