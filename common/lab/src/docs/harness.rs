//! common/harness/README.md: the groups of checks.
//!
//! Invariant: a group's line is the first line of its file, so that it stands once.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use harness::checks::GROUPS;

use super::region;
use crate::workspace;

/// The README with the groups and how many checks each has.
pub fn readme(text: &str) -> Result<String, String> {
    region::replaced(text, "checks", &groups()?)
}

fn groups() -> Result<String, String> {
    let folder = workspace::root().map_err(|error| error.message)?.join("common/harness/src/checks");
    let mut table = String::from("| group | checks | clauses | what its checks are about |\n|---|---|---|---|\n");
    for group in GROUPS {
        let source =
            fs::read_to_string(folder.join(format!("{group}.rs"))).map_err(|error| format!("{group}.rs: {error}"))?;
        let line = source.lines().next().and_then(|line| line.strip_prefix("//! "));
        let about = line.ok_or_else(|| format!("{group}.rs does not begin with a line about the group"))?;
        let checks: Vec<_> = harness::all_checks().filter(|check| check.group == *group).collect();
        let clauses: BTreeSet<u8> = checks.iter().map(|check| check.clause).collect();
        let clauses: Vec<String> = clauses.iter().map(u8::to_string).collect();
        let long = checks.iter().filter(|check| check.long).count();
        let count =
            (checks.len() - long).to_string() + &if long > 0 { format!(" + {long} long") } else { String::new() };
        let clauses = clauses.join(", ");
        let _ = writeln!(table, "| [`{group}`](src/checks/{group}.rs) | {count} | {clauses} | {about} |");
    }
    Ok(table)
}
