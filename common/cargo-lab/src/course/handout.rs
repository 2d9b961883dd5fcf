//! What a student has of the course: a handout, which `cargo lab handout` makes.
//!
//! Invariant: a folder is a handout if and only if its exercises have a `handout.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// The file, below `exercises`.
pub const FILE: &str = "handout.toml";
/// What is said where a solution would be.
pub const KEPT: &str = "the course keeps the solutions: they are not in this handout";

/// `exercises/handout.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handout {
    /// The commit of the course that it was made from.
    pub commit: String,
    /// The exercises that are in it.
    pub exercises: Vec<String>,
    /// Each file, and the digest of what was handed out.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

impl Handout {
    /// The handout that these exercises belong to, if they do.
    ///
    /// # Errors
    /// If the file is there, and is not what `cargo lab handout` writes.
    pub fn load(exercises: &Path) -> Result<Option<Self>, LabError> {
        let path = exercises.join(FILE);
        let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
        let handout =
            toml::from_str(&text).map_err(|error| LabError::failed(format!("{}: {error}", path.display())))?;
        Ok(Some(handout))
    }
}

/// Whether these exercises are a handout's.
pub fn is_one(exercises: &Path) -> bool {
    exercises.join(FILE).is_file()
}
