//! What a run found: the counts, the reasons of skips and the failures' stories, as text and as JSON.
//!
//! Invariant: a check that was not run counts neither as passed nor as skipped; the summary counts it apart. So it does
//! with a failure that is declared of a server that is broken on purpose.

use std::fmt::Write as _;

use harness::declared::{Judged, judge};
use harness::{Check, Lack, Outcome, Report, Symptom};
use serde::Serialize;

use crate::checking::jobs::Reports;
use crate::checking::servers::TestedServer;
use crate::checking::table::ResultColumn;
use crate::terminal::{self, Palette};

/// Of more checks in one group, only the number is given.
const NAMED_ONE_BY_ONE: usize = 3;

/// A run's reports, with the checks and servers that they are about.
#[derive(Debug)]
pub struct Results<'a> {
    /// The rows, in order.
    pub checks: &'a [&'static Check],
    /// The columns.
    pub servers: &'a [TestedServer],
    /// A list for each server, with a place for each check.
    pub reports: Reports,
    /// How long the run took.
    pub seconds: f64,
}

/// How many checks ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many failed as it is declared of a server that is broken on purpose.
    pub declared: usize,
    /// How many were not tried, for a reason that is told.
    pub skipped: usize,
}

/// Lists of servers to which the same applies, each with the checks to which it applies.
pub type AppliesTo = Vec<(Vec<usize>, Vec<usize>)>;

/// One server in the JSON output; see `cargo lab check --help`.
#[derive(Debug, Serialize)]
struct ServerJson<'a> {
    name: &'a str,
    folder: Option<&'a str>,
    passed: usize,
    failed: usize,
    skipped: usize,
    not_run: usize,
    failed_as_declared: Vec<&'a str>,
    reports: Vec<&'a Report>,
}

impl OutcomeCounts {
    /// Counts one more, of a server that lacks this on purpose.
    pub fn add(&mut self, report: &Report, lacks: &'static [Lack]) {
        match &report.outcome {
            Outcome::Pass => self.passed += 1,
            Outcome::Fail(_) if judge(lacks, report) == Judged::AsDeclared => self.declared += 1,
            Outcome::Fail(_) => self.failed += 1,
            Outcome::Skip { .. } => self.skipped += 1,
        }
    }

    /// Of one server's reports.
    pub fn of<'a>(reports: impl IntoIterator<Item = &'a Option<Report>>, lacks: &'static [Lack]) -> Self {
        let mut counts = Self::default();
        reports.into_iter().flatten().for_each(|report| counts.add(report, lacks));
        counts
    }

    /// `74 passed, 0 failed, 2 skipped`; failures have a colour. Those that are declared are told if there are any.
    pub fn show(&self, palette: Palette) -> String {
        let failed = format!("{} failed", self.failed);
        let failed = if self.failed > 0 { palette.bad(&failed) } else { failed };
        let declared = if self.declared > 0 { format!(", {} fail as declared", self.declared) } else { String::new() };
        format!("{} passed, {failed}{declared}, {} skipped", self.passed, self.skipped)
    }
}

/// `6 checks skipped here, 2 of them because the machine is busy`; `None` if none was skipped.
pub fn skipped_here<'a>(reports: impl Iterator<Item = &'a Report>) -> Option<String> {
    let (mut all, mut busy) = (0, 0);
    for report in reports {
        if let Outcome::Skip { reason } = &report.outcome {
            all += 1;
            busy += usize::from(BUSY.iter().any(|words| reason.contains(words)));
        }
    }
    let checks = terminal::count(all, "check");
    match (all, busy) {
        (0, _) => None,
        (_, 0) => Some(format!("{checks} skipped here")),
        (1, _) => Some(format!("{checks} skipped here, because the machine is busy")),
        (_, busy) => Some(format!("{checks} skipped here, {busy} of them because the machine is busy")),
    }
}

/// What the reason of a skip says if an idle machine could have run the check.
const BUSY: [&str; 2] = ["machine is busy", "busy machine"];

impl<'a> Results<'a> {
    /// All counts in one.
    pub fn counts(&self) -> OutcomeCounts {
        let mut all = OutcomeCounts::default();
        for (server, reports) in self.servers.iter().zip(&self.reports) {
            reports.iter().flatten().for_each(|report| all.add(report, server.subject.lacks));
        }
        all
    }

    /// How many checks were selected and not run.
    pub fn not_run(&self) -> usize {
        self.reports.iter().flatten().filter(|report| report.is_none()).count()
    }

    /// What the matrix shows.
    pub fn columns(&self) -> Vec<ResultColumn<'_>> {
        let columns = self.servers.iter().zip(&self.reports);
        let columns = columns.map(|(server, reports)| {
            let lacks = server.subject.lacks;
            ResultColumn { name: &server.subject.name, reports, lacks }
        });
        columns.collect()
    }

    /// Each reason for a skip, with the servers and checks to which it applies.
    pub fn skips(&self, width: usize, palette: Palette) -> String {
        let mut out = String::new();
        for (reason, applies_to) in self.skips_by_reason() {
            let _ = writeln!(out, "{} {reason}", palette.left_out("skipped:"));
            for (servers, checks) in applies_to {
                let names = servers.iter().map(|server| self.servers[*server].subject.name.as_str());
                let line = format!("{}: {}", names.collect::<Vec<_>>().join(", "), self.summed_up(&checks).join(", "));
                out.push_str(&terminal::wrap_lines(&format!("  {line}"), width));
            }
        }
        out
    }

    /// For each reason, the servers and checks to which it applies; all in order of appearance.
    pub fn skips_by_reason(&self) -> Vec<(&str, AppliesTo)> {
        let mut reasons: Vec<(&str, AppliesTo)> = Vec::new();
        for check in 0..self.checks.len() {
            let mut here: Vec<(&str, Vec<usize>)> = Vec::new();
            for (server, reports) in self.reports.iter().enumerate() {
                let Some(Report { outcome: Outcome::Skip { reason }, .. }) = &reports[check] else { continue };
                entry(&mut here, reason.as_str()).push(server);
            }
            for (reason, servers) in here {
                entry(entry(&mut reasons, reason), servers).push(check);
            }
        }
        reasons
    }

    /// The names of checks. A whole group becomes `drain (all 11)`, and a large part of a group `close (8 of 12)`: the
    /// table shows which ones.
    pub fn summed_up(&self, checks: &[usize]) -> Vec<String> {
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        checks.iter().for_each(|check| entry(&mut groups, self.checks[*check].group).push(*check));
        let mut names = Vec::new();
        for (group, members) in groups {
            let size = self.checks.iter().filter(|check| check.group == group).count();
            if members.len() == size && size > 1 {
                names.push(format!("{group} (all {size})"));
            } else if members.len() > NAMED_ONE_BY_ONE {
                names.push(format!("{group} ({} of {size})", members.len()));
            } else {
                names.extend(members.iter().map(|check| self.checks[*check].full_name()));
            }
        }
        names
    }

    /// The failures' stories, wrapped to the width if there is one. A log gets no width. Of each server's failures with
    /// the same symptom the first one is told, and the others are counted; `all` tells each.
    pub fn failures(&self, width: Option<usize>, palette: Palette, all: bool) -> String {
        let mut out = String::new();
        for (server, reports) in self.servers.iter().zip(&self.reports) {
            let is_told = |report: &&Report| report.symptom().is_some() && !is_declared(server, report);
            let failed: Vec<&Report> = reports.iter().flatten().filter(is_told).collect();
            for kind in kinds(&failed) {
                let told = if all { &kind[..] } else { &kind[..1] };
                told.iter().for_each(|report| out += &story(server, report, width, palette));
                let others = kind.len() - told.len();
                if let (1.., Some(symptom)) = (others, kind[0].symptom()) {
                    let fail = if others == 1 { "fails" } else { "fail" };
                    let more = terminal::count(others, "more check");
                    let _ = writeln!(out, "{more} {fail} in the same way ({symptom}); -v tells of each\n");
                }
            }
        }
        out
    }

    /// Server by server, each in the checks' order, without what is declared.
    fn failed(&self) -> impl Iterator<Item = (&'a TestedServer, &Report)> {
        let all = self.servers.iter().zip(&self.reports);
        let all = all.flat_map(|(server, reports)| reports.iter().flatten().map(move |report| (server, report)));
        all.filter(|(server, report)| matches!(report.outcome, Outcome::Fail(_)) && !is_declared(server, report))
    }

    /// The failure that is told first: of the first server that fails, the one that `kinds` puts first.
    fn told_first(&self) -> Option<(&'a TestedServer, &Report)> {
        let (server, _) = self.failed().next()?;
        let of_it: Vec<&Report> =
            self.failed().filter(|(it, _)| std::ptr::eq(*it, server)).map(|(_, report)| report).collect();
        Some((server, kinds(&of_it).first()?[0]))
    }

    /// `5 servers, 74 checks: 362 passed, 0 failed, 8 skipped in 63 s`, and how to try the first failure again. A
    /// single server is called by its name.
    pub fn summary(&self, palette: Palette) -> String {
        let servers = match self.servers {
            [server] => server.subject.name.clone(),
            _ => terminal::count(self.servers.len(), "server"),
        };
        let mut out =
            format!("{servers}, {}: {}", terminal::count(self.checks.len(), "check"), self.counts().show(palette));
        if self.not_run() > 0 {
            let _ = write!(out, ", {} not run", self.not_run());
        }
        let _ = writeln!(out, " in {}", duration(self.seconds));
        if let Some((server, report)) = self.told_first() {
            let _ = writeln!(out, "the first failure again: cargo lab check {} {}", server.words, report.check);
        }
        out
    }

    /// An array with an object for each server.
    pub fn json(&self) -> String {
        let servers: Vec<ServerJson<'_>> = self
            .servers
            .iter()
            .zip(&self.reports)
            .map(|(server, reports)| {
                let OutcomeCounts { passed, failed, skipped, .. } = OutcomeCounts::of(reports, server.subject.lacks);
                let declared = reports.iter().flatten().filter(|report| is_declared(server, report));
                let not_run = reports.iter().filter(|report| report.is_none()).count();
                let reports = reports.iter().flatten().collect();
                ServerJson {
                    name: &server.subject.name,
                    folder: server.folder,
                    passed,
                    failed,
                    skipped,
                    not_run,
                    failed_as_declared: declared.map(|report| report.check.as_str()).collect(),
                    reports,
                }
            })
            .collect();
        serde_json::to_string_pretty(&servers).expect("strings and numbers only") + "\n"
    }
}

/// Failures by their symptoms, both in order of appearance; but those come first in which the server ended or panicked.
pub fn kinds<'a>(failed: &[&'a Report]) -> Vec<Vec<&'a Report>> {
    let mut kinds: Vec<(Option<Symptom>, Vec<&Report>)> = Vec::new();
    failed.iter().for_each(|report| entry(&mut kinds, report.symptom()).push(report));
    let sorted = |(_, mut reports): (_, Vec<&'a Report>)| {
        // One of which the calls were seen tells most.
        reports.sort_by_key(|report| (!is_an_end(report), !was_looked_at(report)));
        reports
    };
    let mut kinds: Vec<Vec<&Report>> = kinds.into_iter().map(sorted).collect();
    kinds.sort_by_key(|kind| !kind.iter().any(|report| is_an_end(report)));
    kinds
}

/// Whether the server ended in this check, or panicked: that explains other failures.
pub fn is_an_end(report: &Report) -> bool {
    matches!(&report.outcome, Outcome::Fail(failure) if failure.is_an_end())
}

/// Of failures, the one that explains the others: the first in which the server ended or panicked, or else the first.
pub fn first_told<'a>(failed: impl Iterator<Item = &'a Report> + Clone) -> Option<&'a Report> {
    failed.clone().find(|report| is_an_end(report)).or_else(|| failed.clone().next())
}

fn was_looked_at(report: &Report) -> bool {
    let Outcome::Fail(failure) = &report.outcome else { return false };
    failure.calls.first().is_some_and(|line| !line.starts_with("not "))
}

/// Whether a server that is broken on purpose failed as it is declared.
pub fn is_declared(server: &TestedServer, report: &Report) -> bool {
    judge(server.subject.lacks, report) == Judged::AsDeclared
}

/// One failure's story.
pub fn story(server: &TestedServer, report: &Report, width: Option<usize>, palette: Palette) -> String {
    let story = report.explain().unwrap_or_default();
    let (check, story) = story.split_once('\n').unwrap_or((&story, ""));
    let story = width.map_or_else(|| story.to_owned(), |width| terminal::wrap_lines(story, width));
    let head = format!("{}  {check}", server.subject.name);
    let word = if is_declared(server, report) { palette.left_out("lack") } else { palette.bad("FAIL") };
    format!("{word} {}\n{story}\n", palette.heading(&head))
}

/// `0.3 s` for what is short, `63 s` for what is not.
pub fn duration(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{seconds:.2} s"),
        ..10.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// The value of a key in a list that keeps the order of appearance; a new key gets an empty value.
fn entry<K: PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let at = list.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        list.push((key, V::default()));
        list.len() - 1
    });
    &mut list[at].1
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use harness::{Failure, Subject};

    const fn check(group: &'static str, name: &'static str) -> Check {
        Check { group, name, clause: 2, about: "", alone: false, quick: false, long: false, line: 0, run: |_| Ok(()) }
    }

    static SOME: [Check; 4] = [
        check("echo", "a_byte_comes_back"),
        check("drain", "a_burst_of_bytes_in_one_wakeup_is_all_read"),
        check("drain", "bytes_and_fin_are_echoed"),
        check("scale", "10_000_idle_connections_are_served"),
    ];

    /// What makes the one failure of `some_reports` a declared one.
    pub(crate) const LACKS: &[Lack] = &[Lack {
        what: "a second read for an edge",
        symptoms: &[Symptom::ReadLost],
        fails: &["drain::a_burst_of_bytes_in_one_wakeup_is_all_read"],
        may_fail: &[],
    }];

    pub(crate) fn some_checks() -> Vec<&'static Check> {
        SOME.iter().collect()
    }

    pub(crate) fn some_servers() -> Vec<TestedServer> {
        ["select", "epoll-et"]
            .map(|name| TestedServer {
                subject: Subject::command(name, vec![]),
                folder: None,
                words: format!("'{name}'"),
            })
            .into()
    }

    fn report(check: usize, outcome: Outcome) -> Option<Report> {
        Some(Report { check: SOME[check].full_name(), clause: 2, seconds: 0.25, outcome })
    }

    pub(crate) fn fail(check: usize) -> Option<Report> {
        let failure = Failure {
            steps: vec!["c0 connects".into()],
            kernel: vec!["asleep in epoll_wait".into()],
            ..Failure::new(
                Symptom::ReadLost,
                "connection 0 sent 65536 bytes and got 16384 back",
                "It read once for an edge.",
            )
        };
        report(check, Outcome::Fail(failure))
    }

    fn skip(check: usize, reason: &str) -> Option<Report> {
        report(check, Outcome::Skip { reason: reason.into() })
    }

    pub(crate) fn some_reports() -> Reports {
        let pass = |check| report(check, Outcome::Pass);
        vec![
            vec![pass(0), skip(1, "no /proc"), skip(2, "no /proc"), skip(3, "only below 1024")],
            vec![pass(0), fail(1), skip(2, "no /proc"), None],
        ]
    }

    fn with_results(test: impl FnOnce(Results<'_>)) {
        let (checks, servers) = (some_checks(), some_servers());
        test(Results { checks: &checks, servers: &servers, reports: some_reports(), seconds: 62.7 });
    }

    #[test]
    fn the_summary_counts_everything_once_and_says_how_to_go_on() {
        with_results(|results| {
            assert_eq!(
                results.summary(Palette::plain()),
                "2 servers, 4 checks: 2 passed, 1 failed, 4 skipped, 1 not run in 63 s\nthe first failure again: \
                 cargo lab check 'epoll-et' drain::a_burst_of_bytes_in_one_wakeup_is_all_read\n"
            );
        });
    }

    #[test]
    fn the_failure_in_which_the_server_ended_is_told_first() {
        let (checks, servers) = (some_checks(), some_servers());
        let mut reports = some_reports();
        reports[1][2] = report(
            2,
            Outcome::Fail(Failure::new(Symptom::Exited, "the server ended with exit code 101", "It panicked.")),
        );
        let results = Results { checks: &checks, servers: &servers, reports, seconds: 1.0 };
        let summary = results.summary(Palette::plain());
        assert!(summary.ends_with("again: cargo lab check 'epoll-et' drain::bytes_and_fin_are_echoed\n"), "{summary}");
        let told = results.failures(None, Palette::plain(), false);
        assert!(told.starts_with("FAIL epoll-et  drain::bytes_and_fin_are_echoed\n"), "{told}");
        let failed: Vec<&Report> = results.failed().map(|(_, report)| report).collect();
        assert_eq!(failed[0].symptom(), Some(Symptom::ReadLost));
        assert_eq!(first_told(failed.into_iter()).and_then(Report::symptom), Some(Symptom::Exited));
    }

    #[test]
    fn a_failure_that_is_declared_is_counted_apart_and_is_not_the_first_failure() {
        let (checks, mut servers) = (some_checks(), some_servers());
        servers[1].subject.lacks = LACKS;
        let results = Results { checks: &checks, servers: &servers, reports: some_reports(), seconds: 62.7 };
        assert_eq!(
            results.summary(Palette::plain()),
            "2 servers, 4 checks: 2 passed, 0 failed, 1 fail as declared, 4 skipped, 1 not run in 63 s\n"
        );
        assert_eq!(results.failures(None, Palette::plain(), true), "");
        let json: serde_json::Value = serde_json::from_str(&results.json()).unwrap();
        assert_eq!(json[1]["failed"], 0);
        assert_eq!(json[1]["failed_as_declared"][0], "drain::a_burst_of_bytes_in_one_wakeup_is_all_read");
    }

    #[test]
    fn a_reason_is_told_once_with_those_it_concerns() {
        with_results(|mut results| {
            assert_eq!(
                results.skips(100, Palette::plain()),
                "skipped: no /proc\n  select: drain::a_burst_of_bytes_in_one_wakeup_is_all_read\n  \
                 select, epoll-et: drain::bytes_and_fin_are_echoed\nskipped: only below 1024\n  \
                 select: scale::10_000_idle_connections_are_served\n"
            );
            results.reports[1][1] = skip(1, "no /proc");
            let skips = results.skips(100, Palette::plain());
            assert!(skips.contains("  select, epoll-et: drain (all 2)\n"), "{skips}");
        });
    }

    #[test]
    fn skips_are_counted_and_those_of_a_busy_machine_are_told_apart() {
        let here =
            |reasons: &[&str]| skipped_here(reasons.iter().filter_map(|why| skip(0, why)).collect::<Vec<_>>().iter());
        assert_eq!(here(&[]), None);
        assert_eq!(here(&["no /proc"]).as_deref(), Some("1 check skipped here"));
        assert_eq!(
            here(&["no /proc", "the machine is busy, or the turns are long"]).as_deref(),
            Some("2 checks skipped here, 1 of them because the machine is busy")
        );
        assert_eq!(
            here(&["on this busy machine a pause cannot be seen"]).as_deref(),
            Some("1 check skipped here, because the machine is busy")
        );
    }

    #[test]
    fn a_failure_is_told_with_its_server_and_its_clause() {
        with_results(|results| {
            let told = results.failures(Some(60), Palette::plain(), false);
            assert!(told.starts_with("FAIL epoll-et  drain::a_burst_of_bytes_in_one_wakeup_is_all_read\n"), "{told}");
            assert!(told.contains("  kernel: asleep in epoll_wait\n"), "{told}");
            assert!(told.contains("  contract, clause 2: "), "{told}");
            assert!(told.lines().skip(1).all(|line| terminal::columns(line) <= 60), "{told}");
        });
    }

    #[test]
    fn the_json_has_the_documented_fields() {
        with_results(|results| {
            let json: serde_json::Value = serde_json::from_str(&results.json()).unwrap();
            let server = &json[1];
            assert_eq!(server["name"], "epoll-et");
            assert_eq!(
                (&server["passed"], &server["failed"], &server["skipped"], &server["not_run"]),
                (&1.into(), &1.into(), &1.into(), &1.into())
            );
            let report = &server["reports"][1];
            assert_eq!(report["check"], "drain::a_burst_of_bytes_in_one_wakeup_is_all_read");
            assert_eq!((&report["outcome"], &report["symptom"]), (&"fail".into(), &"read-lost".into()));
            assert_eq!(json[0]["reports"][3]["reason"], "only below 1024");
        });
    }
}
