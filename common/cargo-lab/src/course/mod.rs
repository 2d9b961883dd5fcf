//! The course: the exercises, a student's files, and how far the student is.
//!
//! Invariant: nothing here knows a check, and nothing here looks into a student's source.

pub mod attempt;
pub mod exercise;
pub mod handout;
pub mod progress;
pub mod settings;
pub mod starters;
pub mod whereabouts;

pub use exercise::{Exercise, ExerciseWord, load};
pub use progress::{Standing, StudentProgress};
pub use starters::StarterRecord;
pub use whereabouts::{Chosen, WatchLock};

use crate::error::LabError;
use crate::names;
use crate::{terminal, workspace};

/// All exercises, and how far the student is.
#[derive(Debug)]
pub struct Course {
    /// In their order.
    pub exercises: Vec<Exercise>,
    /// The student's.
    pub progress: StudentProgress,
}

impl Course {
    /// Loads both, from the workspace's `exercises` or the folder that LAB_EXERCISES names. `is_check` knows the names of
    /// the checks.
    pub fn load(is_check: impl Fn(&str) -> bool) -> Result<Self, LabError> {
        let folder = match std::env::var_os("LAB_EXERCISES") {
            Some(folder) => folder.into(),
            None => workspace::root()?.join("exercises"),
        };
        let exercises = settings::exercises(&folder, is_check)?;
        let progress = StudentProgress::load(&exercises)?;
        Ok(Self { exercises, progress })
    }

    /// The place of the exercise that a word names: `8`, `08`, `08_nfds` or `nfds`.
    pub fn find(&self, word: &str) -> Result<usize, LabError> {
        self.exercises.iter().position(|exercise| exercise.named_by(word).is_some()).ok_or_else(|| {
            let names = self.exercises.iter().map(|exercise| exercise.name.as_str());
            let hint = match names::nearest(word, names) {
                Some(name) => format!(" Did you mean {name}?"),
                None => String::new(),
            };
            LabError::usage(format!("there is no exercise '{word}'.{hint}\n  {}", self.numbers()))
        })
    }

    /// `exercises are 07 to 39: cargo lab list`.
    pub fn numbers(&self) -> String {
        let number = |exercise: Option<&Exercise>| exercise.map_or(0, |exercise| exercise.number);
        let (first, last) = (number(self.exercises.first()), number(self.exercises.last()));
        format!("exercises are {first:02} to {last:02}: cargo lab list")
    }

    /// Where one exercise stands.
    pub fn standing(&self, at: usize) -> Standing {
        self.progress.standing(&self.exercises[at])
    }

    /// The first exercise that is begun and does not pass, or else the first that was not begun.
    pub fn current(&self) -> Option<usize> {
        let begun = |at: &usize| matches!(self.standing(*at), Standing::Started | Standing::Failing(_));
        let new = |at: &usize| self.standing(*at) == Standing::New;
        let mut all = 0..self.exercises.len();
        all.clone().find(begun).or_else(|| all.find(new))
    }

    /// The next exercise after `at` that does not pass; after the last comes the first.
    pub fn next_after(&self, at: usize) -> Option<usize> {
        let all = self.exercises.len();
        (1..=all).map(|step| (at + step) % all).find(|at| self.standing(*at) != Standing::Passed)
    }

    /// Points reached and points there are.
    pub fn points(&self) -> (f64, u32) {
        let won = |at: usize| match self.standing(at) {
            Standing::Passed => 1.0,
            Standing::Failing(share) => share,
            _ => 0.0,
        };
        let reached = self.exercises.iter().enumerate().map(|(at, it)| won(at) * f64::from(it.about.points)).sum();
        (reached, self.exercises.iter().map(|exercise| exercise.about.points).sum())
    }

    /// Writes the student's progress. Where it cannot be written, that is said, and what the student asked for goes on.
    pub fn save(&self) {
        if let Err(error) = self.progress.save(&self.exercises) {
            terminal::complain(&format!("your progress is not noted: {}", error.message));
        }
    }
}

/// For commands that run no check: what exercise.toml says of checks is taken as it is.
pub fn any_check(_: &str) -> bool {
    true
}

/// `2`, `1.5`: points without a tail of zeros.
pub fn decimal(points: f64) -> String {
    let rounded = (points * 100.0).round() / 100.0;
    format!("{rounded}")
}
