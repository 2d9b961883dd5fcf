//! The course: the exercises, what the harness says of a server that was made for one, and how far a student is.
//!
//! Invariant: a verdict comes from the harness alone; nothing here looks into a student's source.

pub mod attempt;
pub mod exercise;
pub mod feedback;
pub mod fixes;
pub mod judging;
pub mod progress;
pub mod proof;
pub mod starters;
pub mod whereabouts;

pub use exercise::{Exercise, ExerciseWord, load};
pub use judging::{Extent, JudgedChecks, Judgement, judge};
pub use progress::{Standing, StudentProgress};
pub use starters::StarterRecord;
pub use whereabouts::{Chosen, WatchLock};

use crate::error::LabError;
use crate::selection;
use crate::workspace;

/// All exercises, and how far the student is.
#[derive(Debug)]
pub struct Course {
    /// In their order.
    pub exercises: Vec<Exercise>,
    /// The student's.
    pub progress: StudentProgress,
}

impl Course {
    /// Loads both, from the workspace's `exercises` or the folder that LAB_EXERCISES names.
    pub fn load() -> Result<Self, LabError> {
        let folder = match std::env::var_os("LAB_EXERCISES") {
            Some(folder) => folder.into(),
            None => workspace::root()?.join("exercises"),
        };
        let exercises = load(&folder)?;
        let progress = StudentProgress::load(&exercises)?;
        Ok(Self { exercises, progress })
    }

    /// The place of the exercise that a word names: `8`, `08`, `08_nfds` or `nfds`.
    pub fn find(&self, word: &str) -> Result<usize, LabError> {
        self.exercises.iter().position(|exercise| exercise.named_by(word).is_some()).ok_or_else(|| {
            let names = self.exercises.iter().map(|exercise| exercise.name.as_str());
            let hint = match selection::nearest(word, names) {
                Some(name) => format!(" Did you mean {name}?"),
                None => String::new(),
            };
            LabError::usage(format!("there is no exercise '{word}'.{hint}\n  {}", self.numbers()))
        })
    }

    /// The places of the exercises that words name; `None` if no word does. A short name that is a variant's too
    /// (`oneshot`) is the variant's.
    pub fn places(&self, words: &[String]) -> Result<Option<Vec<usize>>, LabError> {
        let names = |exercise: &Exercise, word: &str| match exercise.named_by(word) {
            Some(ExerciseWord::ShortName) => !selection::is_whole_name(word),
            other => other.is_some(),
        };
        let place = |word: &String| self.exercises.iter().position(|exercise| names(exercise, word));
        let places: Vec<Option<usize>> = words.iter().map(place).collect();
        if places.iter().all(Option::is_none) {
            return Ok(None);
        }
        if let Some(at) = places.iter().position(Option::is_none) {
            let word = &words[at];
            return Err(LabError::usage(format!(
                "'{word}' is no exercise; check exercises and servers by separate commands"
            )));
        }
        Ok(Some(places.into_iter().flatten().collect()))
    }

    /// The exercise that has this short name, which stands for something else where servers are named.
    pub fn hidden_behind(&self, word: &str) -> Option<&Exercise> {
        self.exercises.iter().find(|it| it.named_by(word) == Some(ExerciseWord::ShortName))
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

    /// Writes the student's progress.
    pub fn save(&self) -> Result<(), LabError> {
        self.progress.save(&self.exercises)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_an_exercise_unless_a_server_has_it() {
        let exercises = load(&workspace::root().unwrap().join("exercises")).unwrap();
        let course = Course { exercises, progress: StudentProgress::default() };
        let places = |words: &[&str]| course.places(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let number = |at: usize| course.exercises[at].number;
        for (word, named) in
            [("nfds", 8), ("slots", 12), ("8", 8), ("accept_queue", 19), ("exercises/attempts/08_nfds.rs", 8)]
        {
            assert_eq!(places(&[word]).unwrap().map(|places| number(places[0])), Some(named), "{word}");
        }
        for word in ["oneshot", "multishot", "drain", "echo", "epoll-et"] {
            assert_eq!(places(&[word]).unwrap(), None, "{word}");
        }
        assert_eq!(course.hidden_behind("oneshot").map(|exercise| exercise.number), Some(26));
        assert!(course.hidden_behind("drain").is_none());
        assert_eq!(places(&["nfds", "drain"]).unwrap_err().code, 2);
    }
}
