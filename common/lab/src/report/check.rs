//! What `cargo lab check` found: the counts, the failures, the matrix, the reasons of skips.
//!
//! Invariant: every report of the run is in the matrix once, and every failure is told once, in full. Failures come
//! before the matrix, and each cell of a failure leads to its story.

use explorer::Recording;
use harness::declared::lack_of;
use harness::{Outcome, Report};
use markup::Markup;

use super::matrix::{matrix, skipped};
use super::players::{Players, explored, recorded};
use super::{STYLE, document, failure, id_of, list, name, section};
use crate::checking::results::{OutcomeCounts, Results, duration, is_declared, kinds};
use crate::checking::servers::TestedServer;
use crate::grading::formats::Show;
use crate::interrupt::Interrupt;
use crate::terminal;

/// A run, and what is said of it besides its reports.
pub struct CheckReport<'a> {
    /// The run.
    pub results: &'a Results<'a>,
    /// What is said below the matrix of a terminal, a line each.
    pub notes: &'a [String],
    /// Attempts that could not be checked, with what the compiler said.
    pub refused: &'a [(String, String)],
    /// The servers are attempts at exercises, of which a single check cannot be chosen.
    pub attempts: bool,
    /// The command line, to be copied.
    pub command: &'a str,
    /// What makes players, and what can stop it.
    pub players: Option<(&'a dyn Players, &'a Interrupt)>,
}

/// The report.
pub fn page(report: &CheckReport<'_>) -> String {
    let results = report.results;
    let title = format!("{} against the contract", servers_in_words(report));
    let failures = all_failures(results, false);
    let lacks = all_failures(results, true);
    let told: Vec<Failed<'_>> = failures.iter().chain(&lacks).copied().collect();
    let runs = report.players.map(|(players, interrupt)| recorded(report, &told, players, interrupt));
    let runs = runs.unwrap_or_default();
    let inside = Inside { report, failures, lacks, title: &title, runs: &runs };
    match report.players.filter(|_| !runs.is_empty()) {
        None => document(&title, |page| inside.write(page)),
        Some((players, _)) => {
            let mut main = Markup::default();
            inside.write(&mut main);
            let recordings: Vec<Recording> = runs.iter().map(|(_, recording)| recording.clone()).collect();
            players.file(&title, STYLE, &main, &recordings)
        }
    }
}

/// What stands in the report.
struct Inside<'a> {
    report: &'a CheckReport<'a>,
    failures: Vec<Failed<'a>>,
    lacks: Vec<Failed<'a>>,
    title: &'a str,
    /// Recordings, each with the id of its failure.
    runs: &'a [(String, Recording)],
}

impl Inside<'_> {
    fn write(&self, page: &mut Markup) {
        let Self { report, failures, lacks, title, runs } = self;
        page.leaf("h1", &[], title);
        page.line();
        totals(page, report);
        list(page, "ul", "notes", report.notes);
        self.contents(page);
        if !report.refused.is_empty() {
            section(page, "refused", "Not checked", |it| refused(it, report.refused));
        }
        if !failures.is_empty() {
            section(page, "failures", "Failures", |it| self.told(it));
        }
        if !lacks.is_empty() {
            section(page, "lacks", "Failures that are declared", |it| self.declared(it));
        }
        if let (Some((players, _)), false) = (report.players, runs.is_empty()) {
            section(page, "runs", "Runs of the explorer, step by step", |it| {
                for (at, (_, recording)) in runs.iter().enumerate() {
                    players.write(it, at, recording, &run_id(at));
                }
            });
        }
        section(page, "matrix", "All checks", |it| matrix(it, report.results));
        if report.results.counts().skipped > 0 {
            section(page, "skipped", "Skipped, and why", |it| skipped(it, report.results));
        }
        page.element("footer", &[("class", "quiet")], |it| {
            it.element("p", &[], |it| {
                it.text("Made by: ");
                it.leaf("code", &[], report.command);
                it.text(". The contract is common/harness/CONTRACT.md.");
            });
        });
    }
}

impl Inside<'_> {
    fn contents(&self, page: &mut Markup) {
        let (report, failures, lacks) = (self.report, self.failures.len(), self.lacks.len());
        let parts = [
            ("refused", format!("{} not checked", report.refused.len()), !report.refused.is_empty()),
            ("failures", terminal::count(failures, "failure"), failures > 0),
            ("lacks", format!("{lacks} declared"), lacks > 0),
            ("runs", terminal::count(self.runs.len(), "run"), !self.runs.is_empty()),
            ("matrix", "All checks".to_owned(), true),
            ("skipped", "Skipped, and why".to_owned(), report.results.counts().skipped > 0),
        ];
        page.element("nav", &[("aria-label", "Parts")], |it| {
            it.element("ul", &[], |it| {
                for (id, text, _) in parts.iter().filter(|(_, _, is_there)| *is_there) {
                    it.element("li", &[], |it| it.leaf("a", &[("href", &format!("#{id}"))], text));
                }
            });
        });
    }

    /// Server by server, and of each the failures by their symptoms: the one that tells most, and below it the others.
    fn told(&self, page: &mut Markup) {
        let (report, failures) = (self.report, &self.failures);
        for (at, server) in report.results.servers.iter().enumerate() {
            let of_it: Vec<&Report> = failures.iter().filter(|it| it.server == at).map(|it| it.report).collect();
            for kind in kinds(&of_it) {
                let (first, others) = kind.split_first().expect("a kind has a failure");
                self.article(page, Failed { server: at, report: first });
                if others.is_empty() {
                    continue;
                }
                let symptom = first.symptom().map_or_else(String::new, |it| it.to_string());
                let fail = if others.len() == 1 { "fails" } else { "fail" };
                page.element("details", &[], |it| {
                    it.element("summary", &[], |it| {
                        it.text(&format!("{} of ", terminal::count(others.len(), "more check")));
                        name(it, &server.subject.name);
                        it.text(&format!(" {fail} in the same way ({symptom})"));
                    });
                    others.iter().for_each(|other| self.article(it, Failed { server: at, report: other }));
                });
                page.line();
            }
        }
    }

    /// What servers lack on purpose, each with the failures that show it.
    fn declared(&self, page: &mut Markup) {
        let (report, failures) = (self.report, &self.lacks);
        for (at, server) in report.results.servers.iter().enumerate() {
            for lack in server.subject.lacks {
                let shows = |it: &&Failed<'_>| {
                    it.server == at
                        && lack_of(server.subject.lacks, it.report).is_some_and(|shown| std::ptr::eq(shown, lack))
                };
                let mut of_it: Vec<&Failed<'_>> = failures.iter().filter(shows).collect();
                // One whose cause is known tells most.
                of_it.sort_by_key(|failed| is_unclear(failed.report));
                if of_it.is_empty() {
                    continue;
                }
                page.element("p", &[], |it| {
                    name(it, &server.subject.name);
                    it.text(&format!(" is broken on purpose: it lacks {}.", lack.what));
                });
                let (first, others) = of_it.split_first().expect("it is not empty");
                self.article(page, **first);
                if others.is_empty() {
                    continue;
                }
                page.element("details", &[], |it| {
                    let fail = if others.len() == 1 { "fails" } else { "fail" };
                    it.leaf(
                        "summary",
                        &[],
                        &format!("{} {fail} for the same lack", terminal::count(others.len(), "more check")),
                    );
                    others.iter().for_each(|failed| self.article(it, **failed));
                });
                page.line();
            }
        }
    }

    fn article(&self, page: &mut Markup, failed: Failed<'_>) {
        let report = self.report;
        let results = report.results;
        let server = &results.servers[failed.server];
        let Outcome::Fail(failure) = &failed.report.outcome else { return };
        let class = if is_declared(server, failed.report) { "lack" } else { "failure" };
        let attributes = [("id", failed.id()), ("class", class.to_owned())];
        page.element("article", &attributes.each_ref().map(|(name, value)| (*name, value.as_str())), |it| {
            it.element("h3", &[], |it| {
                name(it, &server.subject.name);
                it.text(&format!(": {}", in_words(&failed.report.check)));
            });
            it.element("p", &[("class", "quiet")], |it| {
                it.leaf("code", &[], &failed.report.check);
                it.text(&format!(", symptom {}, {}", failure.symptom, duration(failed.report.seconds)));
            });
            let reports = &results.reports[failed.server];
            let linked = |check: &str| {
                let is_it = |it: &&Report| it.check == check && it.symptom().is_some();
                let other = check != failed.report.check && reports.iter().flatten().any(|it| is_it(&it));
                other.then(|| id(failed.server, check))
            };
            failure::write(it, failed.report, failure, Show::All, &linked);
            self.again(it, server, failed);
        });
        page.line();
    }

    /// How to run the check again, and how to see the run.
    fn again(&self, page: &mut Markup, server: &TestedServer, failed: Failed<'_>) {
        let report = self.report;
        page.leaf("h4", &[], "Again");
        page.element("p", &[], |it| {
            let words = &server.words;
            let check = if report.attempts { String::new() } else { format!(" {}", failed.report.check) };
            it.leaf("code", &[], &format!("cargo lab check {words}{check}"));
        });
        if let Some(arguments) = explored(failed.report) {
            page.element("p", &[], |it| {
                if let Some(at) = self.runs.iter().position(|(id, _)| *id == failed.id()) {
                    it.leaf("a", &[("href", &format!("#{}", run_id(at)))], "This run, step by step");
                    it.text(". As a page of its own: ");
                } else {
                    it.text("Step by step, with every gap into which a packet may fall: ");
                }
                it.leaf("code", &[], &format!("cargo lab show {} {arguments} --open", server.words));
            });
            return;
        }
        // Not of this check, but of the same trouble.
        let reports = report.results.reports[failed.server].iter().flatten();
        let same = reports.filter(|it| it.symptom() == failed.report.symptom()).find(|it| explored(it).is_some());
        if let Some(other) = same {
            page.element("p", &[], |it| {
                it.text("The explorer has found a run with the same symptom: ");
                it.leaf("a", &[("href", &format!("#{}", id(failed.server, &other.check)))], &in_words(&other.check));
                it.text(".");
            });
        }
    }
}

fn run_id(at: usize) -> String {
    format!("run-{}", at + 1)
}

/// A failure's places in the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed<'a> {
    pub(super) server: usize,
    pub(super) report: &'a Report,
}

impl Failed<'_> {
    pub(super) fn id(&self) -> String {
        id(self.server, &self.report.check)
    }
}

/// The id of a failure's story.
pub(super) fn id(server: usize, check: &str) -> String {
    format!("s{server}-{}", id_of(check))
}

fn all_failures<'a>(results: &'a Results<'_>, declared: bool) -> Vec<Failed<'a>> {
    let all = results.servers.iter().zip(&results.reports).enumerate();
    let all = all.flat_map(|(at, (server, reports))| {
        let failed = reports.iter().flatten().filter(|report| report.symptom().is_some());
        failed
            .filter(move |report| is_declared(server, report) == declared)
            .map(move |report| Failed { server: at, report })
    });
    all.collect()
}

fn servers_in_words(report: &CheckReport<'_>) -> String {
    match (report.results.servers, report.refused) {
        ([server], []) => server.subject.name.clone(),
        (servers, refused) => {
            let what = if report.attempts { "attempt" } else { "server" };
            terminal::count(servers.len() + refused.len(), what)
        }
    }
}

fn totals(page: &mut Markup, report: &CheckReport<'_>) {
    let results = report.results;
    let all = results.counts();
    let mut text =
        format!("{}: {} passed, {} failed", terminal::count(results.checks.len(), "check"), all.passed, all.failed);
    if all.declared > 0 {
        text += &format!(", {} failed as declared", all.declared);
    }
    text += &format!(", {} skipped", all.skipped);
    if results.not_run() > 0 {
        text += &format!(", {} not run", results.not_run());
    }
    text += &format!(", in {}.", duration(results.seconds));
    page.leaf("p", &[("class", "totals")], &text);
    page.line();
    if results.servers.len() < 2 {
        return;
    }
    page.element("div", &[("class", "wide")], |it| {
        it.element("table", &[], |it| {
            it.leaf("caption", &[], "How many checks ended in which way");
            let declared = all.declared > 0;
            let heads = ["passed", "failed", "as declared", "skipped", "not run"];
            let is_there = |at: &usize| declared || *at != 2;
            it.element("thead", &[], |it| {
                it.element("tr", &[], |it| {
                    it.leaf("th", &[("scope", "col")], if report.attempts { "attempt" } else { "server" });
                    for at in (0..heads.len()).filter(is_there) {
                        it.leaf("th", &[("scope", "col"), ("class", "number")], heads[at]);
                    }
                });
            });
            it.element("tbody", &[], |it| {
                for (server, reports) in results.servers.iter().zip(&results.reports) {
                    let OutcomeCounts { passed, failed, declared, skipped } =
                        OutcomeCounts::of(reports, server.subject.lacks);
                    let not_run = reports.iter().filter(|report| report.is_none()).count();
                    let counts = [passed, failed, declared, skipped, not_run];
                    it.line();
                    it.element("tr", &[], |it| {
                        it.element("th", &[("scope", "row")], |it| name(it, &server.subject.name));
                        for at in (0..heads.len()).filter(is_there) {
                            let class = if at == 1 && counts[at] > 0 { "number fail" } else { "number" };
                            it.leaf("td", &[("class", class)], &counts[at].to_string());
                        }
                    });
                }
            });
        });
    });
    page.line();
}

fn refused(page: &mut Markup, refused: &[(String, String)]) {
    for (attempt, why) in refused {
        page.element("article", &[], |it| {
            it.element("h3", &[], |it| name(it, attempt));
            it.leaf("pre", &[], terminal::clean(why, 20_000).trim_end());
        });
    }
}

fn is_unclear(report: &Report) -> bool {
    matches!(&report.outcome, Outcome::Fail(failure) if failure.is_unclear())
}

/// `drain::bytes_and_fin` as a sentence.
pub(super) fn in_words(check: &str) -> String {
    check.split_once("::").map_or(check, |(_, name)| name).replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::super::players::FoundRun;
    use super::super::testing::{HOSTILE, stands_alone, well_formed};
    use super::*;
    use crate::checking::results::tests::{LACKS, fail, some_checks, some_reports, some_servers};

    fn report(change: impl FnOnce(&mut Vec<TestedServer>, &mut crate::checking::jobs::Reports)) -> String {
        let (checks, mut servers, mut reports) = (some_checks(), some_servers(), some_reports());
        change(&mut servers, &mut reports);
        let results = Results { checks: &checks, servers: &servers, reports, seconds: 62.7 };
        let notes = [HOSTILE.to_owned()];
        let report = CheckReport {
            results: &results,
            notes: &notes,
            refused: &[],
            attempts: false,
            command: "cargo lab check",
            players: None,
        };
        page(&report)
    }

    fn failure(report: &mut Option<Report>) -> &mut harness::Failure {
        match &mut report.as_mut().expect("it was run").outcome {
            Outcome::Fail(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn failures_come_first_and_the_matrix_leads_to_them() {
        let page = report(|_, _| {});
        stands_alone(&page);
        let failures = page.find("id=\"failures\"").expect("failures");
        assert!(failures < page.find("<table class=\"matrix\"").expect("a matrix"));
        let parts = [
            "sent 65536 bytes and got 16384 back",
            "What the kernel shows",
            "Likely cause",
            "Contract, clause 2",
            "The client&#39;s steps",
        ];
        let places: Vec<usize> = parts.iter().map(|part| page.find(part).expect(part)).collect();
        assert!(places.is_sorted(), "{places:?}");
        let link = "<td class=\"fail\"><a href=\"#s1-drain--a_burst_of_bytes_in_one_wakeup_is_all_read\">FAIL</a></td>";
        assert_eq!(page.matches(link).count(), 1);
        assert!(page.contains("4 checks: 2 passed, 1 failed, 4 skipped, 1 not run, in 63 s."), "{page}");
    }

    #[test]
    fn the_matrix_has_a_head_for_each_row_and_each_column() {
        let page = report(|_, _| {});
        let document = well_formed(&page);
        let matrix = document.descendants().find(|it| it.attribute("class") == Some("matrix")).expect("a matrix");
        let heads = |scope: &str| matrix.descendants().filter(|it| it.attribute("scope") == Some(scope)).count();
        assert_eq!((heads("col"), heads("row"), heads("rowgroup")), (3, 4, 3));
        assert_eq!(matrix.descendants().filter(|it| it.tag_name().name() == "td").count(), 8);
    }

    #[test]
    fn what_a_server_and_its_student_wrote_is_inert() {
        let page = report(|servers, reports| {
            servers[1].subject.name = HOSTILE.into();
            servers[1].words = format!("--cmd '{HOSTILE}'");
            let failure = failure(&mut reports[1][1]);
            let texts = [&mut failure.kernel, &mut failure.steps, &mut failure.calls, &mut failure.said];
            texts.into_iter().for_each(|it| *it = vec![HOSTILE.into()]);
            failure.what = HOSTILE.into();
            failure.cause = format!("{HOSTILE} drain::{HOSTILE}");
            for report in reports.iter_mut().flatten().flatten() {
                if let Outcome::Skip { reason } = &mut report.outcome {
                    *reason = HOSTILE.into();
                }
            }
        });
        stands_alone(&page);
    }

    #[test]
    fn the_check_whose_calls_were_seen_is_linked_from_those_with_the_same_symptom() {
        let page = report(|_, reports| {
            reports[1][2] = fail(2);
            failure(&mut reports[1][1]).calls = vec!["read(7) = 16384".into()];
            failure(&mut reports[1][2]).calls =
                vec!["not looked at; those of drain::a_burst_of_bytes_in_one_wakeup_is_all_read are".into()];
        });
        stands_alone(&page);
        assert!(page.contains("<li>read(7) = 16384</li>"), "{page}");
        let link = "those of <a href=\"#s1-drain--a_burst_of_bytes_in_one_wakeup_is_all_read\">";
        assert!(page.contains(link), "{page}");
        assert!(page.contains("1 more check of <bdi>epoll-et</bdi> fails in the same way (read-lost)"), "{page}");
    }

    #[test]
    fn a_run_of_the_explorer_has_the_command_that_shows_it() {
        let page = report(|_, reports| {
            let replay = "replay: cargo lab explore epoll-et --script 'close' --replay 0,0,1";
            failure(&mut reports[1][1]).steps.push(replay.into());
            reports[1][2] = fail(2);
        });
        stands_alone(&page);
        let show = "cargo lab show &#39;epoll-et&#39; --script &#39;close&#39; --replay 0,0,1 --open";
        assert_eq!(page.matches(show).count(), 1, "{page}");
        assert_eq!(page.matches("The explorer has found a run with the same symptom").count(), 1);
    }

    /// Its recordings are empty, and its players a word.
    struct Fake;

    impl Players for Fake {
        fn record(&self, server: &TestedServer, run: &FoundRun, _: &Interrupt) -> Option<Recording> {
            Some(Recording::of_runs(&server.subject.name, &run.script, run.faults, Vec::new()))
        }

        fn write(&self, page: &mut Markup, at: usize, recording: &Recording, id: &str) {
            page.leaf("section", &[("id", id)], &format!("player {at} of {}", recording.server));
        }

        fn file(&self, title: &str, _: &str, main: &Markup, recordings: &[Recording]) -> String {
            assert_eq!(recordings.len(), 1, "{title}");
            let mut page = Markup::default();
            page.element("main", &[], |it| it.append(main));
            page.finish()
        }
    }

    #[test]
    fn a_run_of_the_explorer_has_its_player_where_there_are_players() {
        let (checks, servers, mut reports) = (some_checks(), some_servers(), some_reports());
        let replay = "replay: cargo lab explore epoll-et --script 'close' --replay 0,0,1";
        failure(&mut reports[1][1]).steps.push(replay.into());
        let results = Results { checks: &checks, servers: &servers, reports, seconds: 1.0 };
        let interrupt = Interrupt::default();
        let players: Option<(&dyn Players, &Interrupt)> = Some((&Fake, &interrupt));
        let report = CheckReport { results: &results, notes: &[], refused: &[], attempts: false, command: "", players };
        let page = page(&report);
        stands_alone(&page);
        assert!(page.contains("<a href=\"#run-1\">This run, step by step</a>"), "{page}");
        assert!(page.contains("<section id=\"run-1\">player 0 of epoll-et</section>"), "{page}");
    }

    #[test]
    fn what_a_server_lacks_on_purpose_is_no_failure() {
        let page = report(|servers, _| servers[1].subject.lacks = LACKS);
        stands_alone(&page);
        assert!(!page.contains("id=\"failures\"") && page.contains("1 failed as declared"), "{page}");
        assert!(page.contains("is broken on purpose: it lacks a second read for an edge."), "{page}");
        assert!(page.contains(">lack</a>"));
    }
}
