//! The table of mutants in README.md.

use std::fmt::Write;

use super::catalogue::MUTANTS;

/// The table as README.md shows it.
pub fn markdown() -> String {
    let mut table = String::from("| mutant | what it does | verdict | script | placements |\n|---|---|---|---|---|\n");
    for it in MUTANTS {
        let row = format!("| `{}` | {} | {} | {} | {} |", it.name(), it.what, it.verdict, it.script, it.placements);
        let _ = writeln!(table, "{row}");
    }
    table
}

/// Whether README.md shows it.
pub fn is_in_the_readme() -> Result<(), String> {
    if include_str!("../../README.md").contains(&markdown()) {
        return Ok(());
    }
    Err(format!("the table of mutants in common/explorer/README.md is stale; it has to be\n{}", markdown()))
}
