//! The matrix in the harness's README: a row for each group of checks, a column for each chapter.
//!
//! Invariant: a cell says how many checks passed and how many were skipped, and these are all checks of the group. A
//! matrix with a failure is not written.

use std::fmt::Write;

use harness::checks::GROUPS;
use harness::{CHAPTERS, Outcome, Report};
use serde::Deserialize;

use super::region;

/// The file with the matrix.
pub const FILE: &str = "common/harness/README.md";

const MEASURES: &str = "'cargo lab docs --measure' runs all checks on all chapters (about a minute) and writes it";

/// One server of `cargo lab check --json`.
#[derive(Debug, Deserialize)]
pub struct Measured {
    name: String,
    reports: Vec<Report>,
}

/// The README with this matrix.
pub fn readme(text: &str, json: &str) -> Result<String, String> {
    let servers: Vec<Measured> = serde_json::from_str(json).map_err(|error| format!("the results: {error}"))?;
    region::replaced(text, "matrix", &table(&servers)?)
}

fn table(servers: &[Measured]) -> Result<String, String> {
    let mut table = format!("| group |{}\n", servers.iter().map(|it| format!(" {} |", it.name)).collect::<String>());
    table += &format!("|---|{}\n", "---|".repeat(servers.len()));
    for group in GROUPS {
        let _ = write!(table, "| {group} |");
        for server in servers {
            let in_group = |report: &&Report| report.check.split_once("::").is_some_and(|(it, _)| it == *group);
            let reports: Vec<&Report> = server.reports.iter().filter(in_group).collect();
            if let Some(failed) = reports.iter().find(|report| matches!(report.outcome, Outcome::Fail(_))) {
                return Err(format!("{} failed {}, so the matrix was not written", server.name, failed.check));
            }
            let _ = write!(table, " {} |", cell(&reports));
        }
        table.push('\n');
    }
    let all = servers.iter().flat_map(|server| &server.reports);
    let passed = all.clone().filter(|report| matches!(report.outcome, Outcome::Pass)).count();
    let (servers, checks, skipped) = (servers.len(), harness::checks().count(), all.count() - passed);
    let total = format!("{servers} servers, {checks} checks: {passed} passed, 0 failed, {skipped} skipped");
    Ok(format!("{table}\n```text\n{total}\n```"))
}

/// `9`, or `4 + 1 skipped`.
fn cell(reports: &[&Report]) -> String {
    let skipped = reports.iter().filter(|report| matches!(report.outcome, Outcome::Skip { .. })).count();
    let passed = reports.len() - skipped;
    if skipped == 0 { passed.to_string() } else { format!("{passed} + {skipped} skipped") }
}

/// What the matrix says that is no longer so.
pub fn outdated(readme: &str) -> Vec<String> {
    let content = match region::content(readme, "matrix") {
        Ok(content) => content,
        Err(wrong) => return vec![format!("{FILE}: {wrong}\n{MEASURES}")],
    };
    let rows: Vec<Vec<&str>> = content.lines().filter(|line| line.starts_with("| ")).map(region::cells).collect();
    let mut outdated = Vec::new();
    let heads = rows.first().cloned().unwrap_or_default();
    if !heads.iter().skip(1).copied().eq(CHAPTERS.iter().map(|chapter| chapter.package)) {
        outdated.push(format!("{FILE}: the matrix has other servers; {MEASURES}"));
    }
    if !rows.iter().skip(1).map(|row| row[0]).eq(GROUPS.iter().copied()) {
        outdated.push(format!("{FILE}: the matrix has other groups; {MEASURES}"));
    }
    for row in rows.iter().skip(1) {
        let checks = harness::checks().filter(|check| check.group == row[0]).count();
        let tried = |cell: &str| cell.split(' ').filter_map(|word| word.parse::<usize>().ok()).sum::<usize>();
        if row.iter().skip(1).any(|cell| tried(cell) != checks) {
            outdated.push(format!("{FILE}: '{}' has {checks} checks, and the matrix other; {MEASURES}", row[0]));
        }
    }
    outdated
}
