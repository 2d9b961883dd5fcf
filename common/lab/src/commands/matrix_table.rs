//! The kill matrix as a table: which groups of checks each starter fails.
//!
//! Invariant: a README keeps all its text but what stands between the table's two marks.

use harness::checks::GROUPS;
use harness::{Outcome, Report};

use crate::course::proof::ExerciseProof;
use crate::terminal;

/// The lines of exercises/README.md between which the table stands.
pub const BEGIN: &str = "<!-- matrix: written by `cargo lab matrix --write` -->";
/// The second of the two lines.
pub const END: &str = "<!-- end of the matrix -->";

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
pub fn cells(proof: &ExerciseProof<'_>) -> Vec<GroupCell> {
    let is_own = |report: &Report| proof.exercise.about.must_pass.iter().any(|own| own.check == report.check);
    let mut cells: Vec<GroupCell> = GROUPS.iter().map(|group| GroupCell { group, run: 0, failed: 0, own: 0 }).collect();
    for report in &proof.starter {
        let group = report.check.split_once("::").map_or("", |(group, _)| group);
        let Some(cell) = cells.iter_mut().find(|cell| cell.group == group) else { continue };
        cell.run += 1;
        if matches!(report.outcome, Outcome::Fail(_)) {
            cell.failed += 1;
            cell.own += usize::from(is_own(report));
        }
    }
    cells
}

/// How many checks of each group a starter fails, in bold if the exercise's own checks are among them. A group that no
/// starter fails has no column.
pub fn markdown(proofs: &[ExerciseProof<'_>]) -> String {
    let rows: Vec<Vec<GroupCell>> = proofs.iter().map(cells).collect();
    let fails = |group: &usize| rows.iter().any(|row| row[*group].failed > 0);
    let groups: Vec<usize> = (0..GROUPS.len()).filter(fails).collect();
    let mut table = vec![vec!["exercise".to_owned()]];
    table[0].extend(groups.iter().map(|group| GROUPS[*group].to_owned()));
    table.push(table[0].iter().map(|_| "---".to_owned()).collect());
    for (proof, row) in proofs.iter().zip(&rows) {
        let cell = |group: &usize| match row[*group] {
            _ if proof.skipped.is_some() => "skip".to_owned(),
            GroupCell { failed: 0, .. } => String::new(),
            GroupCell { run, failed, own: 0, .. } => format!("{failed}/{run}"),
            GroupCell { run, failed, .. } => format!("**{failed}/{run}**"),
        };
        table.push(std::iter::once(proof.exercise.name.clone()).chain(groups.iter().map(cell)).collect());
    }
    let width = |column: usize| table.iter().map(|row| terminal::columns(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| terminal::padded(cell, *width)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    table.iter().map(line).collect()
}

/// A README with this table between its marks; nothing if it has no marks.
pub fn with_table(readme: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before_and_nothing_else() {
        let readme = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = with_table(&readme, "| a |\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\n| a |\n\n{END}\nafter\n"));
        assert_eq!(with_table(&new, "| a |\n").unwrap(), new);
        assert_eq!(with_table("no place", ""), None);
    }
}
