//! The table of mutants in README.md.

use std::fmt::Write;

use libtest_mimic::Failed;

use super::catalogue::MUTANTS;
use super::consequences;

/// The table as README.md shows it.
pub fn markdown() -> String {
    let mut table =
        String::from("| mutant | what it does | caught by (symptom) | may fail besides |\n|---|---|---|---|\n");
    for mutant in MUTANTS {
        let caught: Vec<_> = mutant.caught.iter().map(|it| format!("`{}` ({})", it.check, it.symptom)).collect();
        let (name, what, besides) = (mutant.name(), mutant.what, consequences::in_short(mutant));
        let _ = writeln!(table, "| `{name}` | {what} | {} | {besides} |", caught.join("<br>"));
    }
    table
}

/// Whether README.md shows it.
pub fn is_in_the_readme() -> Result<(), Failed> {
    if include_str!("../../README.md").contains(&markdown()) {
        return Ok(());
    }
    Err("the table of mutants in common/harness/README.md is stale; 'cargo lab docs' writes it".into())
}
