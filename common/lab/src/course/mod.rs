//! The course, as far as checks are run on it: what the harness says of a server that was made for an exercise.
//!
//! Invariant: a verdict comes from the harness alone; nothing here looks into a student's source. Every exercise was loaded
//! here, so the checks that it names exist.

pub mod attempt;
pub mod feedback;
pub mod fixes;
pub mod judging;
pub mod proof;

use std::path::Path;

pub use cargo_lab::course::{
    Chosen, Course, Exercise, ExerciseWord, Standing, StarterRecord, StudentProgress, WatchLock, decimal, exercise,
    handout, progress, settings,
};
use harness::Check;
pub use judging::{Extent, JudgedChecks, Judgement, judge};

use crate::error::LabError;
use crate::selection;

/// The names of all checks of the suite, in its order.
pub fn check_names() -> Vec<String> {
    harness::checks().map(Check::full_name).collect()
}

/// All exercises below `folder` (the workspace's `exercises`), in their order.
pub fn load(folder: &Path) -> Result<Vec<Exercise>, LabError> {
    let checks = check_names();
    exercise::load(folder, |name| checks.iter().any(|check| check == name))
}

/// The exercises of the course as its teacher has it: with the teacher's own, in the order and with the points of
/// `course.toml`.
pub fn of_teacher(root: &Path) -> Result<Vec<Exercise>, LabError> {
    let checks = check_names();
    settings::exercises(&root.join("exercises"), |name| checks.iter().any(|check| check == name))
}

/// All exercises, and how far the student is.
pub fn whole() -> Result<Course, LabError> {
    let checks = check_names();
    Course::load(|name| checks.iter().any(|check| check == name))
}

/// The places of the exercises that words name; `None` if no word does. A short name that is a variant's too
/// (`oneshot`) is the variant's.
pub fn places(course: &Course, words: &[String]) -> Result<Option<Vec<usize>>, LabError> {
    let names = |exercise: &Exercise, word: &str| match exercise.named_by(word) {
        Some(ExerciseWord::ShortName) => !selection::is_whole_name(word),
        other => other.is_some(),
    };
    let place = |word: &String| course.exercises.iter().position(|exercise| names(exercise, word));
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
pub fn hidden_behind<'a>(course: &'a Course, word: &str) -> Option<&'a Exercise> {
    course.exercises.iter().find(|it| it.named_by(word) == Some(ExerciseWord::ShortName))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn a_short_name_is_an_exercise_unless_a_server_has_it() {
        let exercises = load(&workspace::root().unwrap().join("exercises")).unwrap();
        let course = Course { exercises, progress: StudentProgress::default() };
        let places =
            |words: &[&str]| super::places(&course, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let number = |at: usize| course.exercises[at].number;
        for (word, named) in
            [("nfds", 8), ("slots", 12), ("8", 8), ("accept_queue", 19), ("exercises/attempts/08_nfds.rs", 8)]
        {
            assert_eq!(places(&[word]).unwrap().map(|places| number(places[0])), Some(named), "{word}");
        }
        for word in ["oneshot", "multishot", "drain", "echo", "epoll-et"] {
            assert_eq!(places(&[word]).unwrap(), None, "{word}");
        }
        assert_eq!(hidden_behind(&course, "oneshot").map(|exercise| exercise.number), Some(26));
        assert!(hidden_behind(&course, "drain").is_none());
        assert_eq!(places(&["nfds", "drain"]).unwrap_err().code, 2);
    }
}
