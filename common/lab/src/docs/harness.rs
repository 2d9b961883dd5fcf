//! common/harness/README.md: the groups of checks, and the changes of servers that no check notices.
//!
//! Invariant: a group's line is the first line of its file, so that it stands once. What survives is in survivors.toml alone.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use harness::checks::GROUPS;
use serde::Deserialize;

use super::region;
use crate::workspace;

/// `common/harness/survivors.toml`, of what mutate.py has found.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Survivors {
    score: Vec<Score>,
    survivor: Vec<Survivor>,
}

/// How many changes of a chapter's server compile, and how many of these a check notices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Score {
    chapter: String,
    viable: usize,
    caught: usize,
}

/// A change that no check notices, and why that is right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Survivor {
    chapter: String,
    change: String,
    line: String,
    why: String,
}

/// The README with the groups and how many checks each has, and with the survivors.
pub fn readme(text: &str) -> Result<String, String> {
    let text = region::replaced(text, "checks", &groups()?)?;
    region::replaced(&text, "survivors", &survivors()?)
}

fn survivors() -> Result<String, String> {
    let root = workspace::root().map_err(|error| error.message)?;
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"));
    let found: Survivors =
        toml::from_str(&read("common/harness/survivors.toml")?).map_err(|error| format!("survivors.toml: {error}"))?;
    let mut table = String::from("| chapter | changes | caught | survive, each with its reason |\n|---|---|---|---|\n");
    for Score { chapter, viable, caught } in &found.score {
        let _ = writeln!(table, "| {chapter} | {viable} | {caught} | {} |", viable - caught);
    }
    table += "\n| where | the line | the change | why no check can notice |\n|---|---|---|---|\n";
    let cell = |text: &str| text.replace('|', "\\|");
    for Survivor { chapter, change, line, why } in &found.survivor {
        let file = format!("{chapter}/src/server.rs");
        // A line that is edited is another change, which nobody has explained.
        if !read(&file)?.contains(line.as_str()) || why.is_empty() {
            return Err(format!(
                "survivors.toml: '{change}' has no reason, or {file} has no such line any more: {line}"
            ));
        }
        let _ = writeln!(table, "| {chapter} | `{}` | {} | {} |", cell(line), cell(change), cell(why));
    }
    Ok(table)
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
