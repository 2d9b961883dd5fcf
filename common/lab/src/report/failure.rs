//! One failure: what happened, what the kernel shows, the cause, the clause, the client's steps, the server's calls.
//!
//! Invariant: it has all that a terminal shows of a failure, or as much of it as a grader lets a student see.

use harness::{Failure, Report, clause};
use markup::Markup;

use super::list;
use crate::grading::formats::Show;

/// Another failure on the same page: its id, if this check's failure is there.
pub type Linked<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is known of a failure, as far as it is to be shown.
pub fn write(page: &mut Markup, report: &Report, failure: &Failure, show: Show, linked: Linked<'_>) {
    if show == Show::Names {
        return;
    }
    page.leaf("p", &[("class", "what")], &failure.what);
    page.line();
    if show == Show::All {
        part(page, "What the kernel shows", &failure.kernel, "ul");
    }
    if !failure.cause.is_empty() {
        page.leaf("h4", &[], "Likely cause");
        page.element("p", &[("class", "cause")], |it| with_link(it, &failure.cause, linked));
        page.line();
    }
    if show != Show::All {
        return;
    }
    page.leaf("h4", &[], &format!("Contract, clause {}", report.clause));
    page.element("p", &[], |it| with_code(it, &clause(report.clause).replace("**", "")));
    page.line();
    part(page, "The client's steps", &failure.steps, "ol");
    calls(page, &failure.calls, linked);
    part(page, "What the server wrote to stderr", &failure.said, "ul");
}

fn part(page: &mut Markup, heading: &str, lines: &[String], kind: &'static str) {
    if !lines.is_empty() {
        page.leaf("h4", &[], heading);
        list(page, kind, "lines", lines);
    }
}

/// The calls that were seen; or why none were.
fn calls(page: &mut Markup, calls: &[String], linked: Linked<'_>) {
    let Some(first) = calls.first() else { return };
    page.leaf("h4", &[], "The server's own last system calls");
    if first.starts_with("not ") {
        for line in calls {
            page.element("p", &[("class", "quiet")], |it| with_link(it, line, linked));
        }
        page.line();
    } else {
        list(page, "ul", "lines", calls);
    }
}

/// A text in which the name of another check that failed is a link to its failure.
fn with_link(page: &mut Markup, text: &str, linked: Linked<'_>) {
    for word in text.split_inclusive(' ') {
        let check = word.trim_end_matches([' ', ',', '.', ':', ';']);
        match linked(check).filter(|_| check.contains("::")) {
            Some(id) => {
                page.leaf("a", &[("href", &format!("#{id}"))], check);
                page.text(&word[check.len()..]);
            }
            None => page.text(word),
        }
    }
}

/// A text of our own, in which words between backticks are code.
fn with_code(page: &mut Markup, text: &str) {
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 0 { page.text(part) } else { page.leaf("code", &[], part) }
    }
}
