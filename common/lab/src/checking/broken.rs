//! What a run found of servers that are broken on purpose: what they lack, and how that shows.
//!
//! Invariant: a declared failure is told here, and nowhere as a failure of the run. What does not agree with the
//! declaration makes the run fail.

use std::fmt::Write as _;

use harness::declared::{Judged, judge, lack_of};
use harness::{Lack, Report};

use crate::checking::results::{self, Results};
use crate::checking::servers::TestedServer;
use crate::terminal::{self, Palette};

/// For each server and each thing that it lacks: the story of the first declared failure, and the names of the others.
/// `all` tells each story.
pub fn stories(results: &Results<'_>, width: Option<usize>, palette: Palette, all: bool) -> String {
    let mut out = String::new();
    for (server, reports) in results.servers.iter().zip(&results.reports) {
        let reports: Vec<&Report> = reports.iter().flatten().collect();
        for lack in server.subject.lacks {
            out += &of_a_lack(server, lack, &reports, width, palette, all);
        }
    }
    out
}

fn of_a_lack(
    server: &TestedServer,
    lack: &'static Lack,
    reports: &[&Report],
    width: Option<usize>,
    palette: Palette,
    all: bool,
) -> String {
    let is_of_it =
        |report: &&&Report| lack_of(server.subject.lacks, report).is_some_and(|shown| std::ptr::eq(shown, lack));
    let failed: Vec<&Report> = reports.iter().filter(is_of_it).copied().collect();
    let Some(first) = failed.first() else { return String::new() };
    let wrapped = |text: &str| width.map_or_else(|| format!("{text}\n"), |width| terminal::wrap_lines(text, width));
    let sentence = format!("{} is broken on purpose: it lacks {}.", server.subject.name, lack.what);
    let mut out = palette.heading(wrapped(&sentence).trim_end()) + "\n";
    let told = if all { &failed[..] } else { std::slice::from_ref(first) };
    told.iter().for_each(|report| out += &results::story(server, report, width, palette));
    let others: Vec<&str> = failed[told.len()..].iter().map(|report| report.check.as_str()).collect();
    if !others.is_empty() {
        let _ = writeln!(out, "{}", wrapped(&format!("for the same lack: {}", others.join(", "))));
    }
    out
}

/// What of these reports does not agree with the declaration, a line each, but for the failures, which are told.
pub fn surprises(server: &TestedServer, reports: &[Option<Report>]) -> Vec<String> {
    let name = &server.subject.name;
    let line = |report: &Report| match judge(server.subject.lacks, report) {
        Judged::PassedAgainstDeclaration => {
            Some(format!("{name} passes {}, which it is declared to fail (common/subject/src/broken.rs)", report.check))
        }
        Judged::ForAnotherReason => {
            Some(format!("{name} is declared to fail {}, and fails it for another reason", report.check))
        }
        _ => None,
    };
    reports.iter().flatten().filter_map(line).collect()
}

/// How many checks passed that are declared to fail.
pub fn passed_against_declaration(results: &Results<'_>) -> usize {
    let all = results.servers.iter().zip(&results.reports);
    let of_one = |(server, reports): (&TestedServer, &Vec<Option<Report>>)| {
        let passed = |report: &&Report| judge(server.subject.lacks, report) == Judged::PassedAgainstDeclaration;
        reports.iter().flatten().filter(passed).count()
    };
    all.map(of_one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checking::results::tests::{LACKS, some_checks, some_reports, some_servers};

    #[test]
    fn what_a_server_lacks_is_told_before_the_failure_that_shows_it() {
        let (checks, mut servers) = (some_checks(), some_servers());
        servers[1].subject.lacks = LACKS;
        let results = Results { checks: &checks, servers: &servers, reports: some_reports(), seconds: 1.0 };
        let told = stories(&results, Some(60), Palette::plain(), false);
        let head =
            "epoll-et is broken on purpose: it lacks a second read for\n  an edge.\nlack epoll-et  drain::a_burst";
        assert!(told.starts_with(head), "{told}");
        assert!(told.contains("  symptom: read-lost\n"), "{told}");
        assert_eq!(passed_against_declaration(&results), 0);
        assert!(surprises(&servers[1], &results.reports[1]).is_empty());
    }

    #[test]
    fn a_check_that_passes_against_its_declaration_is_named() {
        let (checks, mut servers) = (some_checks(), some_servers());
        servers[1].subject.lacks = LACKS;
        let mut reports = some_reports();
        reports[1][1] = reports[1][0].clone().map(|report| Report { check: LACKS[0].fails[0].into(), ..report });
        let results = Results { checks: &checks, servers: &servers, reports, seconds: 1.0 };
        assert_eq!(passed_against_declaration(&results), 1);
        let said = surprises(&servers[1], &results.reports[1]);
        assert!(said[0].starts_with("epoll-et passes drain::a_burst"), "{said:?}");
    }
}
