//! What each starter fails of the whole suite, as it was recorded.
//!
//! Invariant: every starter in the record was run against every check in the record. A starter or a check that is not in
//! the record has to be run; the others need not be run again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::exercise::Exercise;
use crate::error::LabError;

const HEAD: &str = "\
# Which checks each starter fails. `cargo lab matrix --write` writes this file: it runs the checks that are new here.
# `cargo lab matrix --write --again` runs all of them.

";

/// `exercises/starters.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StarterRecord {
    /// The checks that were run on every starter, in the suite's order.
    pub checks: Vec<String>,
    /// An exercise's name, and the checks that its starter fails, in the suite's order.
    pub fails: BTreeMap<String, Vec<String>>,
}

impl StarterRecord {
    /// The record in this folder of exercises; an empty one if there is none.
    pub fn load(folder: &Path) -> Result<Self, LabError> {
        let file = file(folder);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(LabError::failed(format!("read {}: {error}", file.display()))),
        };
        toml::from_str(&text).map_err(|error| LabError::failed(format!("{}: {error}", file.display())))
    }

    /// Writes the record into a folder of exercises.
    pub fn save(&self, folder: &Path) -> Result<(), LabError> {
        let file = file(folder);
        let wrong = |error: &dyn std::fmt::Display| LabError::failed(format!("write {}: {error}", file.display()));
        let text = toml::to_string_pretty(self).map_err(|error| wrong(&error))?;
        fs::write(&file, format!("{HEAD}{text}")).map_err(|error| wrong(&error))
    }

    /// Whether this starter was run against this check.
    pub fn knows(&self, exercise: &Exercise, check: &str) -> bool {
        self.fails.contains_key(&exercise.name) && self.checks.iter().any(|known| known == check)
    }

    /// Whether the record lacks nothing, and has nothing that is gone. `checks` are all checks there are.
    pub fn is_current(&self, exercises: &[Exercise], checks: &[String]) -> bool {
        self.checks == checks && self.fails.keys().eq(exercises.iter().map(|exercise| &exercise.name))
    }

    /// Adds what was run, and drops checks and exercises that are gone. `checks` are all checks there are. Every exercise
    /// is in `ran`, with each check that `knows` denied, and whether its starter failed it.
    pub fn update(&mut self, checks: Vec<String>, ran: &[(&Exercise, Vec<(&str, bool)>)]) {
        self.checks = checks;
        self.fails.retain(|name, _| ran.iter().any(|(exercise, _)| exercise.name == *name));
        for (exercise, results) in ran {
            let fails = self.fails.entry(exercise.name.clone()).or_default();
            fails.retain(|name| !results.iter().any(|(check, _)| check == name));
            fails.extend(results.iter().filter(|(_, failed)| *failed).map(|(check, _)| (*check).to_owned()));
            let place = |name: &String| self.checks.iter().position(|check| check == name);
            fails.retain(|name| place(name).is_some());
            fails.sort_by_key(place);
        }
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("starters.toml")
}
