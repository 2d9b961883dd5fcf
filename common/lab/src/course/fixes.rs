//! Fixes of the exercises as students write them: `fixes.toml` in an exercise's folder.
//!
//! Invariant: a wrong fix names the checks that catch it, and these checks exist. Their kind bounds its points.

use std::fs;

use serde::Deserialize;

use super::Exercise;
use super::judging::{BREAKS_ANOTHER, STILL_THERE};
use crate::error::LabError;

/// The fixes of one exercise.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Fixes {
    /// Fixes that do not mend the bug, or that break something else.
    #[serde(default)]
    pub wrong: Vec<WrongFix>,
    /// Fixes that are right in another way than the solution.
    #[serde(default)]
    pub right: Vec<RightFix>,
}

/// A fix that must not get all points.
#[derive(Debug, Clone, Deserialize)]
pub struct WrongFix {
    /// A word or a few, as in the name of its test.
    pub name: String,
    /// What it does, in a sentence.
    pub idea: String,
    /// The input under which it misbehaves.
    pub misbehaves: String,
    /// The checks that catch it.
    pub caught_by: Vec<String>,
}

/// A fix that must get all points.
#[derive(Debug, Clone, Deserialize)]
pub struct RightFix {
    /// A word or a few, as in the name of its test.
    pub name: String,
    /// What it does, in a sentence.
    pub idea: String,
}

impl WrongFix {
    /// The largest share of the points that it may get.
    pub fn most(&self, exercise: &Exercise) -> f64 {
        let is_own = |name: &String| exercise.about.must_pass.iter().any(|own| own.check == *name);
        let is_still_there = |name: &String| is_own(name) || exercise.starter_fails.contains(name);
        if self.caught_by.iter().any(is_still_there) { STILL_THERE } else { BREAKS_ANOTHER }
    }
}

/// The fixes of these exercises; of an exercise without `fixes.toml`, none.
pub fn load(exercises: &[Exercise]) -> Result<Vec<(&Exercise, Fixes)>, LabError> {
    exercises.iter().map(|exercise| Ok((exercise, load_one(exercise)?))).collect()
}

fn load_one(exercise: &Exercise) -> Result<Fixes, LabError> {
    let path = exercise.file("fixes.toml");
    let wrong = |what: String| LabError::failed(format!("{}: {what}", path.display()));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Fixes::default()),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let fixes: Fixes = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    for fix in &fixes.wrong {
        if fix.caught_by.is_empty() {
            return Err(wrong(format!("'{}' names no check that catches it", fix.name)));
        }
        for name in &fix.caught_by {
            if !harness::checks().any(|check| check.full_name() == *name) {
                return Err(wrong(format!("there is no check '{name}' (cargo lab check --list)")));
            }
        }
    }
    Ok(fixes)
}
