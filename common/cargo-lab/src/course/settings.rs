//! What a teacher makes of the course: `course.toml` beside the workspace's `Cargo.toml`. Git ignores it, so a teacher changes
//! no file of the course and updates by pulling.
//!
//! Invariant: without the file the course is as its exercises say. A word in the file that names nothing is an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::exercise::{self, Exercise};
use crate::error::LabError;
use crate::names;

/// The file.
pub const FILE: &str = "course.toml";

/// `course.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CourseSettings {
    /// What `cargo lab list` says below the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Folders with exercises of the teacher's own, from the file's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<PathBuf>,
    /// Which exercises, in this order, by number or name; all by their numbers if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exercises: Vec<String>,
    /// Other points, by the exercise's name or number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub points: BTreeMap<String, u32>,
    /// Other titles, by the exercise's name or number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub titles: BTreeMap<String, String>,
}

impl CourseSettings {
    /// The settings of the course that has this folder of exercises.
    ///
    /// # Errors
    /// If the file is there, and cannot be read or has a word that is not known.
    pub fn load(exercises: &Path) -> Result<Self, LabError> {
        let path = path(exercises);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| LabError::usage(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(LabError::failed(format!("{}: {error}", path.display()))),
        }
    }

    /// The exercises as these settings have them.
    fn applied(&self, mut all: Vec<Exercise>) -> Result<Vec<Exercise>, LabError> {
        for (word, points) in &self.points {
            let at = place(&all, word, "points")?;
            all[at].about.points = *points;
        }
        for (word, title) in &self.titles {
            let at = place(&all, word, "titles")?;
            all[at].about.title.clone_from(title);
        }
        if self.exercises.is_empty() {
            return Ok(all);
        }
        let mut chosen: Vec<usize> = Vec::new();
        for word in &self.exercises {
            let at = place(&all, word, "exercises")?;
            if chosen.contains(&at) {
                return Err(LabError::usage(format!("{FILE}: exercises has {} twice", all[at].name)));
            }
            chosen.push(at);
        }
        Ok(chosen.into_iter().map(|at| all[at].clone()).collect())
    }
}

fn path(exercises: &Path) -> PathBuf {
    exercises.with_file_name(FILE)
}

fn place(all: &[Exercise], word: &str, key: &str) -> Result<usize, LabError> {
    all.iter().position(|exercise| exercise.named_by(word).is_some()).ok_or_else(|| {
        let meant = match names::nearest(word, all.iter().map(|exercise| exercise.name.as_str())) {
            Some(name) => format!("; did you mean {name}?"),
            None => String::new(),
        };
        LabError::usage(format!("{FILE}: {key}: there is no exercise '{word}'{meant}"))
    })
}

/// The exercises below `folder` and in the teacher's folders, as `course.toml` has them.
///
/// # Errors
/// If an exercise is incomplete, or the file is wrong.
pub fn exercises(folder: &Path, is_check: impl Fn(&str) -> bool) -> Result<Vec<Exercise>, LabError> {
    let settings = CourseSettings::load(folder)?;
    let mut all = exercise::load(folder, &is_check)?;
    for own in &settings.folders {
        let own = path(folder).with_file_name(own);
        if !own.is_dir() {
            return Err(LabError::usage(format!("{FILE}: folders: {} is no folder", own.display())));
        }
        for exercise in exercise::load(&own, &is_check)? {
            if let Some(other) = all.iter().find(|other| other.number == exercise.number) {
                return Err(LabError::usage(format!(
                    "{}: {} has this number too; give it another number, 100 and above are never the course's",
                    exercise.folder.display(),
                    other.name
                )));
            }
            all.push(Exercise { attempts: folder.join("attempts"), ..exercise });
        }
    }
    all.sort_by_key(|exercise| exercise.number);
    settings.applied(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::any_check;
    use crate::workspace;

    #[test]
    fn a_course_has_its_own_exercises_points_titles_and_order() {
        let top = std::env::temp_dir().join(format!("lab-course-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        let ours = workspace::root().unwrap().join("exercises");
        let copy = |from: &str, to: &str| {
            let folder = top.join(to);
            fs::create_dir_all(&folder).unwrap();
            for file in ["README.md", "exercise.toml", "starter.rs"] {
                fs::copy(ours.join(from).join(file), folder.join(file)).unwrap();
            }
            fs::write(folder.join("solution.rs"), "").unwrap();
        };
        copy("08_nfds", "course/exercises/08_nfds");
        copy("09_fd_1024", "course/exercises/09_fd_1024");
        copy("09_fd_1024", "own/100_mine");
        let settings = |text: &str| fs::write(top.join("course").join(FILE), text).unwrap();
        let loaded = || exercises(&top.join("course/exercises"), any_check);
        assert_eq!(loaded().unwrap().len(), 2);

        settings(
            "folders = [\"../own\"]\nexercises = [\"mine\", \"08\"]\n[points]\n08_nfds = 7\n[titles]\n100 = \"Mine\"\n",
        );
        let all = loaded().unwrap();
        let told: Vec<(&str, u32)> = all.iter().map(|it| (it.name.as_str(), it.about.points)).collect();
        assert_eq!(told, [("100_mine", all[0].about.points), ("08_nfds", 7)]);
        assert_eq!(all[0].about.title, "Mine");
        assert_eq!(all[0].attempt(), top.join("course/exercises/attempts/100_mine.rs"));

        for (wrong, words) in [
            ("exercises = [\"8\", \"08_nfds\"]", "exercises has 08_nfds twice"),
            ("exercises = [\"08_nfdz\"]", "did you mean 08_nfds?"),
            ("folders = [\"../nowhere\"]", "is no folder"),
            ("folders = [\"exercises\"]", "has this number too"),
            ("pionts = 3", "unknown field `pionts`"),
        ] {
            settings(wrong);
            let error = loaded().unwrap_err();
            assert!(error.message.contains(words) && error.code == 2, "{words}: {}", error.message);
        }
        fs::remove_dir_all(&top).unwrap();
    }
}
