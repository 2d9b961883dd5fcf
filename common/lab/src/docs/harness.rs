//! common/harness/README.md: the groups of checks, and the changes of servers that no check notices.
//!
//! Invariant: a group's line is the first paragraph of its file, so that it stands once. What survives is in
//! measured.toml, and each survivor has its reason in survivors.toml, or there is no README.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use harness::CHAPTERS;
use harness::checks::GROUPS;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::region;
use crate::workspace;

/// `common/harness/measured.toml`, as mutate.py writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    server: Vec<Score>,
}

/// What came of the changes of one server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Score {
    name: String,
    /// How many changes compile.
    compile: usize,
    /// How many of these make the same program as the original.
    same: usize,
    /// How many a check notices.
    caught: usize,
    /// The others: each change, and its line.
    survivors: Vec<(String, String)>,
}

/// `common/harness/survivors.toml`, written by hand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanations {
    survivor: Vec<Explanation>,
}

/// A change that no check notices, and why that is right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanation {
    servers: Vec<String>,
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
    let measured: Measured = parsed("common/harness/measured.toml")?;
    let explained: Explanations = parsed("common/harness/survivors.toml")?;
    for Explanation { servers, change, line, why } in &explained.survivor {
        for server in servers {
            is_current(server, change, line, &measured)?;
        }
        if why.is_empty() {
            return Err(format!("survivors.toml: '{change}' has no reason: {line}"));
        }
    }
    let mut table = String::from(
        "| server | changes that compile | make the same program | caught | survive, each with its reason |\n\
         |---|---|---|---|---|\n",
    );
    for Score { name, compile, same, caught, survivors } in &measured.server {
        for (change, line) in survivors {
            let is_this = |it: &&Explanation| it.servers.contains(name) && it.change == *change && it.line == *line;
            if explained.survivor.iter().find(is_this).is_none() {
                return Err(format!("no check notices '{change}' of {name}, and survivors.toml has no reason: {line}"));
            }
        }
        let _ = writeln!(table, "| {name} | {compile} | {same} | {caught} | {} |", compile - same - caught);
    }
    table += "\n| where | the line | the change | why no check can notice |\n|---|---|---|---|\n";
    let cell = |text: &str| text.replace('|', "\\|");
    for Explanation { servers, change, line, why } in &explained.survivor {
        let servers = servers.join(", ");
        let _ = writeln!(table, "| {servers} | `{}` | {} | {} |", cell(line), cell(change), cell(why));
    }
    Ok(table)
}

/// A line that is edited is another change, which nobody has explained; and what is caught needs no reason.
fn is_current(server: &str, change: &str, line: &str, measured: &Measured) -> Result<(), String> {
    let is_chapter = CHAPTERS.iter().any(|chapter| chapter.folder == server);
    let file = if is_chapter { format!("{server}/src/server.rs") } else { format!("exercises/{server}/solution.rs") };
    if !read(&file)?.contains(line) {
        return Err(format!("survivors.toml: {file} has no such line any more: {line}"));
    }
    let survives = |score: &Score| score.survivors.iter().any(|(what, whose)| what == change && whose == line);
    match measured.server.iter().find(|score| score.name == server).is_some_and(survives) {
        true => Ok(()),
        false => Err(format!("survivors.toml: '{change}' does not survive in {server}: {line}")),
    }
}

fn parsed<T: DeserializeOwned>(path: &str) -> Result<T, String> {
    toml::from_str(&read(path)?).map_err(|error| format!("{path}: {error}"))
}

fn read(path: &str) -> Result<String, String> {
    let root = workspace::root().map_err(|error| error.message)?;
    fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))
}

fn groups() -> Result<String, String> {
    let folder = workspace::root().map_err(|error| error.message)?.join("common/harness/src/checks");
    let mut table = String::from("| group | checks | clauses | what its checks are about |\n|---|---|---|---|\n");
    for group in GROUPS {
        let source =
            fs::read_to_string(folder.join(format!("{group}.rs"))).map_err(|error| format!("{group}.rs: {error}"))?;
        let first: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//! ")).collect();
        if first.is_empty() {
            return Err(format!("{group}.rs does not begin with a paragraph about the group"));
        }
        let about = first.join(" ");
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
