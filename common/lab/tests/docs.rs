//! The generated parts are up to date.
//!
//! Compared are the registry of the exercises, INSTRUCTORS.md, the kill matrix and the groups in the harness's README, each
//! whole. Of the chapters' matrix, which takes a run, the names and the number of checks in each group are compared. The
//! table of mutants is compared by the harness's own test.

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
