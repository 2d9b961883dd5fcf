//! What a student has reached: a small file beside the attempts, so that it is committed with them.
//!
//! Invariant: a result belongs to the text of the attempt that was checked. Once the text has changed, the result
//! counts no more.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::exercise::Exercise;
use crate::error::LabError;
use crate::workspace;

/// Where an exercise stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// There is no attempt yet.
    New,
    /// The attempt was not checked since it was changed.
    Started,
    /// The attempt fails; the share of the points.
    Failing(f64),
    /// The attempt passes.
    Passed,
    /// An attempt has passed, and was changed since.
    PassedBefore,
}

/// The file `progress.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StudentProgress {
    /// By the names of the exercises' folders.
    exercises: BTreeMap<String, ExerciseProgress>,
    /// The name of the exercise that was checked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_checked: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ExerciseProgress {
    /// How many hints were shown.
    #[serde(default)]
    hints: usize,
    #[serde(default)]
    result: Option<LastCheck>,
    /// The solution was shown before the attempt passed.
    #[serde(default)]
    spoiled: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LastCheck {
    /// The digest of the text that was checked.
    digest: u64,
    share: f64,
    passed: bool,
    /// This text or an earlier text has passed.
    passed_once: bool,
}

impl StudentProgress {
    fn path(exercises: &[Exercise]) -> Option<PathBuf> {
        Some(exercises.first()?.attempt().with_file_name("progress.json"))
    }

    /// Reads the file; without one, no progress is known.
    pub fn load(exercises: &[Exercise]) -> Result<Self, LabError> {
        let Some(path) = Self::path(exercises) else { return Ok(Self::default()) };
        let wrong =
            |why: String| LabError::failed(format!("{}: {why}; repair it or remove it", workspace::shown(&path)));
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| wrong(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// Writes the file, as a whole or not at all.
    pub fn save(&self, exercises: &[Exercise]) -> Result<(), LabError> {
        let Some(path) = Self::path(exercises) else { return Ok(()) };
        let text = serde_json::to_string_pretty(self).expect("strings and numbers only") + "\n";
        let new = path.with_extension("json.new");
        let cannot = |error| LabError::failed(format!("cannot write {}: {error}", workspace::shown(&path)));
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(cannot)
    }

    /// Where this exercise stands.
    pub fn standing(&self, exercise: &Exercise) -> Standing {
        let Some(digest) = digest(exercise) else { return Standing::New };
        match self.exercises.get(&exercise.name).and_then(|entry| entry.result.as_ref()) {
            Some(result) if result.digest == digest && result.passed => Standing::Passed,
            Some(result) if result.digest == digest => Standing::Failing(result.share),
            Some(result) if result.passed_once => Standing::PassedBefore,
            _ => Standing::Started,
        }
    }

    /// Notes what the attempt whose text had this digest is worth, from 0 to 1, and whether it has passed.
    pub fn note(&mut self, exercise: &Exercise, digest: u64, share: f64, passed: bool) {
        let entry = self.exercises.entry(exercise.name.clone()).or_default();
        let before = entry.result.as_ref().is_some_and(|result| result.passed_once);
        entry.result = Some(LastCheck { digest, share, passed, passed_once: before || passed });
    }

    /// Notes which exercise is checked.
    pub fn is_checked(&mut self, exercise: &Exercise) {
        self.last_checked = Some(exercise.name.clone());
    }

    /// The name of the exercise that was checked last.
    pub fn last_checked(&self) -> Option<&str> {
        self.last_checked.as_deref()
    }

    /// Forgets the result. The hints were seen, so their number stays.
    pub fn forget(&mut self, exercise: &Exercise) {
        if let Some(entry) = self.exercises.get_mut(&exercise.name) {
            entry.result = None;
        }
    }

    /// How many hints were shown.
    pub fn hints(&self, exercise: &Exercise) -> usize {
        self.exercises.get(&exercise.name).map_or(0, |entry| entry.hints)
    }

    /// Counts one more hint; returns how many are shown then, at most `most`.
    pub fn one_more_hint(&mut self, exercise: &Exercise, most: usize) -> usize {
        let entry = self.exercises.entry(exercise.name.clone()).or_default();
        entry.hints = (entry.hints + 1).min(most);
        entry.hints
    }

    /// Notes that the solution is shown although the attempt does not pass.
    pub fn spoil(&mut self, exercise: &Exercise) {
        self.exercises.entry(exercise.name.clone()).or_default().spoiled = true;
    }
}

/// The digest of the attempt's text; nothing without an attempt. It does not guard against forgery, and grading does
/// not read this file.
pub fn digest(exercise: &Exercise) -> Option<u64> {
    let text = fs::read(exercise.attempt()).ok()?;
    // FNV-1a is the same on every toolchain, so a result stays valid.
    Some(text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}
