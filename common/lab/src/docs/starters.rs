//! The kill matrix in exercises/README.md: how many checks of each group a starter fails.
//!
//! Invariant: the table is a function of the record of the starters and of the exercises' own checks.

use harness::checks::GROUPS;

use super::region;
use crate::course::{Exercise, StarterRecord};
use crate::terminal;

/// One group of checks on one starter.
#[derive(Debug, Clone, Copy)]
pub struct GroupCell {
    /// The group.
    pub group: &'static str,
    /// How many of its checks were run.
    pub run: usize,
    /// How many of them failed.
    pub failed: usize,
    /// How many of the failed checks are the exercise's own.
    pub own: usize,
}

/// A cell for each group, in the groups' order.
pub fn cells<'a>(
    exercise: &Exercise,
    run: impl Iterator<Item = &'a str> + Clone,
    failed: impl Iterator<Item = &'a str> + Clone,
) -> Vec<GroupCell> {
    let is_own = |name: &&str| exercise.about.must_pass.iter().any(|own| own.check == *name);
    let cell = |group: &&'static str| {
        let in_group = |name: &&str| name.split_once("::").is_some_and(|(it, _)| it == *group);
        GroupCell {
            group,
            run: run.clone().filter(in_group).count(),
            failed: failed.clone().filter(in_group).count(),
            own: failed.clone().filter(in_group).filter(is_own).count(),
        }
    };
    GROUPS.iter().map(cell).collect()
}

/// exercises/README.md with the matrix of this record.
pub fn readme(text: &str, exercises: &[Exercise], record: &StarterRecord) -> Result<String, String> {
    region::replaced(text, "starters", &table(exercises, record))
}

/// How many checks of each group a starter fails, in bold if the exercise's own checks are among them. A group that no
/// starter fails has no column.
fn table(exercises: &[Exercise], record: &StarterRecord) -> String {
    let row = |exercise: &Exercise| {
        let failed = record.fails.get(&exercise.name).map_or(&[][..], Vec::as_slice);
        cells(exercise, record.checks.iter().map(String::as_str), failed.iter().map(String::as_str))
    };
    let rows: Vec<Vec<GroupCell>> = exercises.iter().map(row).collect();
    let fails = |group: &usize| rows.iter().any(|row| row[*group].failed > 0);
    let groups: Vec<usize> = (0..GROUPS.len()).filter(fails).collect();
    let mut table = vec![vec!["exercise".to_owned()]];
    table[0].extend(groups.iter().map(|group| GROUPS[*group].to_owned()));
    table.push(table[0].iter().map(|_| "---".to_owned()).collect());
    for (exercise, row) in exercises.iter().zip(&rows) {
        let cell = |group: &usize| match row[*group] {
            GroupCell { failed: 0, .. } => String::new(),
            GroupCell { run, failed, own: 0, .. } => format!("{failed}/{run}"),
            GroupCell { run, failed, .. } => format!("**{failed}/{run}**"),
        };
        table.push(std::iter::once(exercise.name.clone()).chain(groups.iter().map(cell)).collect());
    }
    let width = |column: usize| table.iter().map(|row| terminal::columns(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| terminal::padded(cell, *width)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    table.iter().map(line).collect()
}
