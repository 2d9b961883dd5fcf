//! The generated parts are up to date.
//!
//! Compared are the registry of the exercises, INSTRUCTORS.md, the kill matrix, the groups in the harness's README, the
//! tables and the pictures of the reference measurement, each whole. Of the chapters' matrix, which takes a run, the names and the number of checks in each group are compared. The
//! table of mutants is compared by the harness's own test. And no test is left out by a manifest that says there is none.

use std::fs;
use std::path::{Path, PathBuf};

use lab::{docs, workspace};

#[test]
fn every_generated_part_is_up_to_date() {
    let stale = docs::stale(&workspace::root().expect("the workspace")).expect("it can be generated");
    let stale: Vec<&str> = stale.iter().map(|file| file.path).collect();
    assert!(stale.is_empty(), "stale: {}; '{}' writes them", stale.join(", "), docs::COMMAND);
}

#[test]
fn the_matrices_are_about_the_checks_and_the_exercises_that_there_are() {
    let outdated = docs::outdated_matrices(&workspace::root().expect("the workspace")).expect("it can be read");
    assert!(outdated.is_empty(), "{}", outdated.join("\n"));
}

/// A question and its answer are written by hand.
#[test]
fn each_exercise_has_a_question_with_an_answer() {
    let root = workspace::root().expect("the workspace");
    let text = fs::read_to_string(root.join("exercises/INSTRUCTORS.md")).expect("it is there");
    let (_, questions) = text.split_once("## A question for each exercise").expect("the heading");
    let questions = questions.split("\n## ").next().unwrap_or_default();
    let rows = questions.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let number: u32 = cells[0].parse().ok()?;
        assert!(matches!(cells[..], [_, question, answer] if !question.is_empty() && !answer.is_empty()), "{line}");
        Some(number)
    });
    let exercises = lab::course::load(&root.join("exercises")).expect("they can be read");
    let numbers: Vec<u32> = exercises.iter().map(|exercise| exercise.number).collect();
    assert_eq!(rows.collect::<Vec<_>>(), numbers);
}

/// `test = false` and `doctest = false` save a build each, and would silence a test that comes later.
#[test]
fn a_manifest_that_says_there_are_no_tests_is_right() {
    const WITHOUT_DOCTESTS: &[&str] = &[
        "05-kqueue",
        "common/bench",
        "common/cargo-lab",
        "common/explorer",
        "common/figures",
        "common/frames",
        "common/harness",
        "common/harness/macros",
        "common/lab",
        "common/observe",
        "common/subject",
        "common/server",
        "exercises",
    ];
    let root = workspace::root().expect("the workspace");
    for folder in ["exercises", "exercises/fixes"] {
        for (path, text) in sources(&root.join(folder).join("src")) {
            assert!(!text.contains("#[test]"), "{} has a test, and {folder}/Cargo.toml says no", path.display());
        }
    }
    for folder in WITHOUT_DOCTESTS {
        for (path, text) in sources(&root.join(folder).join("src")) {
            let fences = text.lines().filter_map(|line| line.trim_start().strip_prefix("//")?.split_once("```"));
            // Every second one closes; one that names no language opens a test.
            let tests = fences.step_by(2).filter(|(_, kind)| matches!(*kind, "" | "rust" | "no_run" | "should_panic"));
            assert_eq!(tests.count(), 0, "{} has one, and {folder}/Cargo.toml says no", path.display());
        }
    }
}

/// The files below a folder, with their text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).expect("a folder").flatten().map(|it| it.path()).collect();
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    let files = files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("text")));
    folders.iter().flat_map(|folder| sources(folder)).chain(files).collect()
}
