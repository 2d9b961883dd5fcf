//! All results as a table, and the reasons of skips.
//!
//! Invariant: each cell is below its server's head and beside its check's, and says in words what it says by colour.

use harness::{Check, Outcome, Report};
use markup::Markup;

use super::check::{id, in_words};
use crate::checking::results::{Results, is_declared};
use crate::checking::servers::TestedServer;

/// More columns than this are scrolled, each other table stands as it is.
const FITS: usize = 8;

/// All results.
pub fn matrix(page: &mut Markup, results: &Results<'_>) {
    let columns = results.servers.len();
    let times = columns == 1;
    let class = if columns <= FITS { "wide fits" } else { "wide" };
    page.element(
        "div",
        &[("class", class), ("role", "region"), ("aria-labelledby", "matrix_heading"), ("tabindex", "0")],
        |it| {
            it.element("table", &[("class", "matrix")], |it| {
                it.leaf(
                    "caption",
                    &[],
                    "A row for each check, a column for each server. A failure leads to its story.",
                );
                it.element("thead", &[], |it| {
                    it.element("tr", &[], |it| {
                        it.leaf("th", &[("scope", "col")], "check");
                        for server in results.servers {
                            it.element("th", &[("scope", "col")], |it| breakable(it, &server.subject.name));
                        }
                        if times {
                            it.leaf("th", &[("scope", "col"), ("class", "number")], "time");
                        }
                    });
                });
                let places: Vec<usize> = (0..results.checks.len()).collect();
                for group in places.chunk_by(|a, b| results.checks[*a].group == results.checks[*b].group) {
                    it.line();
                    it.element("tbody", &[], |it| {
                        let span = (1 + columns + usize::from(times)).to_string();
                        it.element("tr", &[], |it| {
                            it.leaf("th", &[("scope", "rowgroup"), ("colspan", &span)], results.checks[group[0]].group);
                        });
                        group.iter().for_each(|at| row(it, results, *at, times));
                    });
                }
            });
        },
    );
}

fn row(page: &mut Markup, results: &Results<'_>, at: usize, times: bool) {
    let check: &Check = results.checks[at];
    page.line();
    page.element("tr", &[], |it| {
        it.leaf("th", &[("scope", "row"), ("title", check.about)], &in_words(&check.full_name()));
        for (column, server) in results.servers.iter().enumerate() {
            cell(it, server, column, results.reports[column][at].as_ref());
        }
        if times {
            let time = results.reports[0][at].as_ref().map_or_else(String::new, |it| format!("{:.2} s", it.seconds));
            it.leaf("td", &[("class", "number")], &time);
        }
    });
}

fn cell(page: &mut Markup, server: &TestedServer, column: usize, report: Option<&Report>) {
    let Some(report) = report else { return page.leaf("td", &[("class", "none")], "not run") };
    match &report.outcome {
        Outcome::Pass => page.leaf("td", &[("class", "pass")], "pass"),
        Outcome::Skip { reason } => page.leaf("td", &[("class", "skip"), ("title", reason)], "skip"),
        Outcome::Fail(_) => {
            let (class, word) = if is_declared(server, report) { ("lack", "lack") } else { ("fail", "FAIL") };
            page.element("td", &[("class", class)], |it| {
                it.leaf("a", &[("href", &format!("#{}", id(column, &report.check)))], word);
            });
        }
    }
}

/// A name that may be broken behind its hyphens, as the head of a narrow column.
fn breakable(page: &mut Markup, text: &str) {
    page.element("bdi", &[], |it| {
        for (at, part) in text.split_inclusive(['-', '_']).enumerate() {
            if at > 0 {
                it.empty("wbr", &[]);
            }
            it.text(part);
        }
    });
}

/// Each reason for a skip, with the servers and checks to which it applies.
pub fn skipped(page: &mut Markup, results: &Results<'_>) {
    page.element("ul", &[], |it| {
        for (reason, applies_to) in results.skips_by_reason() {
            it.line();
            it.element("li", &[], |it| {
                it.text(reason);
                it.element("ul", &[("class", "quiet")], |it| {
                    for (servers, checks) in applies_to {
                        let names = servers.iter().map(|server| results.servers[*server].subject.name.as_str());
                        let names = names.collect::<Vec<_>>().join(", ");
                        it.leaf("li", &[], &format!("{names}: {}", results.summed_up(&checks).join(", ")));
                    }
                });
            });
        }
    });
}
