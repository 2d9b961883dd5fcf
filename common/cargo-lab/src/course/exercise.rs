//! The exercises, as their folders describe them.
//!
//! Invariant: an exercise that is loaded is complete: every check that it names exists, and every file is there. For an
//! incomplete folder there is an error, which names the file and what to change; the exercise is never just missing.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use subject::{CHAPTERS, Model, Source, Subject, Symptom};

use super::handout;
use super::starters::StarterRecord;
use crate::error::LabError;
use crate::names;
use crate::workspace::shown;

/// An exercise.
#[derive(Debug, Clone)]
pub struct Exercise {
    /// Its number, as in the folder's name.
    pub number: u32,
    /// The folder's name, `19_accept_queue`.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// The folder with the student's files.
    pub attempts: PathBuf,
    /// What `exercise.toml` says.
    pub about: ExerciseManifest,
    /// All checks that its starter fails, as `starters.toml` has recorded them.
    pub starter_fails: Vec<String>,
}

/// `exercise.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExerciseManifest {
    /// A few words of wit, and the subject.
    pub title: String,
    /// The folder of the chapter that it belongs to.
    pub chapter: String,
    /// How many minutes a student needs who has read the chapter.
    pub minutes: u32,
    /// How many points it is worth.
    pub points: u32,
    /// The sentence to take home, for the instructor's table.
    pub lesson: String,
    /// What its server waits for.
    pub model: Model,
    /// Its server serves only file descriptors below this number.
    #[serde(default)]
    pub fd_limit: Option<u64>,
    /// Its server has so many workers, which share the clients.
    #[serde(default)]
    pub workers: Option<u32>,
    /// Its server says which client came last when it has no descriptor left.
    #[serde(default)]
    pub names_newest: bool,
    /// Three hints, from a nudge to nearly the answer.
    pub hints: [String; 3],
    /// The public bug that it is modelled on.
    pub modelled_on: ModelledOn,
    /// The exercise's own checks: the starter fails them, for this reason, and the solution passes them.
    pub must_pass: Vec<ExpectedFailure>,
    /// Checks that do not apply, each with its reason: `[["scale::x", "why"]]`.
    #[serde(default)]
    pub differs: Vec<(String, String)>,
}

/// How a word names an exercise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExerciseWord {
    /// `8` or `08`.
    Number,
    /// `08_nfds`.
    Name,
    /// `nfds`, which may be a variant's name too.
    ShortName,
}

/// Where a bug comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelledOn {
    /// What happened there.
    pub what: String,
    /// Where to read it.
    pub url: String,
}

/// A check, and how the starter fails it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFailure {
    /// `group::name`.
    pub check: String,
    /// How the starter fails it.
    #[serde(deserialize_with = "symptom")]
    pub symptom: Symptom,
    /// Words that its explanation has to have.
    pub says: String,
}

/// A symptom by its name; of a word that is none, the error has the line, what was meant and what there is.
fn symptom<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Symptom, D::Error> {
    let word = String::deserialize(deserializer)?;
    Symptom::named(&word).ok_or_else(|| {
        let meant = match names::nearest(&word, Symptom::NAMES.iter().copied()) {
            Some(name) => format!("; did you mean '{name}'?"),
            None => ".".to_owned(),
        };
        D::Error::custom(format!("there is no symptom '{word}'{meant} Symptoms: {}", Symptom::NAMES.join(" ")))
    })
}

impl Exercise {
    /// How a word names this exercise, if it does. The word may be the path of its folder or of the attempt.
    pub fn named_by(&self, word: &str) -> Option<ExerciseWord> {
        let word = word.trim_end_matches('/').trim_end_matches(".rs").rsplit('/').next().unwrap_or_default();
        let short = self.name.split_once('_').map_or("", |(_, short)| short);
        if word == self.name {
            Some(ExerciseWord::Name)
        } else if word.parse() == Ok(self.number) {
            Some(ExerciseWord::Number)
        } else if word == short {
            Some(ExerciseWord::ShortName)
        } else {
            None
        }
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of the solution; nothing in a handout.
    pub fn solution(&self) -> Option<PathBuf> {
        Some(self.file("solution.rs")).filter(|path| path.is_file())
    }

    /// The path of the attempt, whether it exists or not.
    pub fn attempt(&self) -> PathBuf {
        self.attempts.join(format!("{}.rs", self.name))
    }

    /// A server for this exercise, from the command that starts it.
    pub fn subject(&self, argv: Vec<String>) -> Subject {
        let model = self.about.model;
        // The harness wants texts that live for ever. These are a few words for each exercise, leaked once.
        let leak = |text: &String| -> &'static str { Box::leak(text.clone().into_boxed_str()) };
        let differs: Vec<_> = self.about.differs.iter().map(|(check, reason)| (leak(check), leak(reason))).collect();
        let (fd_limit, workers) = (self.about.fd_limit, self.about.workers);
        let file = self.attempt();
        let source = Source { named: format!("examples/{}.rs", self.name), shown: shown(&file), file };
        Subject {
            own: true,
            model,
            fd_limit,
            workers,
            names_newest: self.about.names_newest,
            differs: differs.leak(),
            source: Some(source),
            kqueue: self.about.chapter == "05-kqueue",
            ..Subject::command(self.name.clone(), argv)
        }
    }
}

/// All exercises below `folder` (the workspace's `exercises`), in their order. `is_check` knows the names of the checks.
pub fn load(folder: &Path, is_check: impl Fn(&str) -> bool) -> Result<Vec<Exercise>, LabError> {
    let cannot = |error| LabError::failed(format!("read {}: {error}", folder.display()));
    let mut record = StarterRecord::load(folder)?;
    let mut exercises = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(number) = name.split_once('_').and_then(|(number, _)| number.parse().ok()) else { continue };
        let starter_fails = record.fails.remove(&name).unwrap_or_default();
        exercises.push(Exercise { starter_fails, ..load_one(number, name, path, &is_check)? });
    }
    exercises.sort_by_key(|exercise| exercise.number);
    for pair in exercises.windows(2) {
        if pair[0].number == pair[1].number {
            return Err(LabError::failed(format!("{} and {} have the same number", pair[0].name, pair[1].name)));
        }
    }
    Ok(exercises)
}

/// The exercises that these words name, by number or name; all exercises without words.
pub fn chosen(all: Vec<Exercise>, only: &[String]) -> Result<Vec<Exercise>, LabError> {
    if let Some(word) = only.iter().find(|word| !all.iter().any(|exercise| exercise.named_by(word).is_some())) {
        let names: Vec<&str> = all.iter().map(|exercise| exercise.name.as_str()).collect();
        return Err(LabError::usage(format!(
            "--only {word}: there is no such exercise\n  exercises: {}",
            names.join(" ")
        )));
    }
    Ok(all.into_iter().filter(|it| only.is_empty() || only.iter().any(|word| it.named_by(word).is_some())).collect())
}

fn load_one(number: u32, name: String, folder: PathBuf, is_check: impl Fn(&str) -> bool) -> Result<Exercise, LabError> {
    let path = folder.join("exercise.toml");
    let wrong = |what: String| LabError::failed(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let about: ExerciseManifest = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let is_kept = |file: &str| file == "solution.rs" && folder.parent().is_some_and(handout::is_one);
    for file in ["starter.rs", "solution.rs", "README.md"] {
        if !folder.join(file).is_file() && !is_kept(file) {
            return Err(wrong(format!("{file} is missing beside it")));
        }
    }
    if about.must_pass.is_empty() {
        return Err(wrong("must_pass is empty; name the checks that the starter fails".into()));
    }
    for name in about.must_pass.iter().map(|proof| &proof.check) {
        if !is_check(name) {
            return Err(wrong(format!("there is no check '{name}' (cargo lab check --list)")));
        }
    }
    if !CHAPTERS.iter().any(|chapter| chapter.folder == about.chapter) {
        return Err(wrong(format!("there is no chapter '{}'", about.chapter)));
    }
    let attempts = folder.with_file_name("attempts");
    Ok(Exercise { number, name, folder, attempts, about, starter_fails: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symptom_is_checked_with_its_line_and_what_was_meant() {
        let read = |symptom: &str| {
            toml::from_str::<ExpectedFailure>(&format!("check = \"a::b\"\nsays = \"\"\nsymptom = \"{symptom}\"\n"))
        };
        assert_eq!(read("read-lost").unwrap().symptom, Symptom::ReadLost);
        let refused = read("raed-lost").unwrap_err().to_string();
        for part in ["line 3", "there is no symptom 'raed-lost'; did you mean 'read-lost'?", "wrong-bytes"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        // How it was spelt before.
        assert!(read("ReadLost").unwrap_err().to_string().contains("did you mean 'read-lost'?"));
    }
}
