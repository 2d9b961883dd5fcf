//! The glossary, and where to read on.
//!
//! Invariant: it is `common/GLOSSARY.md`, which has headings, paragraphs, links and code, and nothing else; the manual pages are
//! those that it names.

use std::collections::BTreeSet;

use ::markup::Markup;

use super::{Inputs, Part};

const FILE: &str = "common/GLOSSARY.md";
const NOTES: &str = "No slide to read aloud: the place to look a word up when somebody asks.";

/// Documents and source of the kernel, by name.
const KERNEL: &[(&str, &str)] = &[
    ("fs/select.c", "select and poll: the loop over all descriptors"),
    ("fs/eventpoll.c", "epoll: interest list, ready list, wakeups; the comment at its head explains the locks"),
    ("io_uring/", "rings, requests and their cancellation"),
    ("Documentation/networking/msg_zerocopy.rst", "sending without a copy, and what it costs"),
    ("Documentation/networking/ip-sysctl.rst", "backlogs, buffers, and the limits that a server meets"),
    ("Documentation/admin-guide/sysctl/kernel.rst", "io_uring_disabled: who may use a ring"),
];

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let text = inputs.workspace.text(FILE)?;
    let mut body = Markup::default();
    let mut groups = groups(&text).into_iter();
    let Some((_, introduction)) = groups.next() else { return Err(format!("{FILE} is empty")) };
    if let Some(paragraph) = introduction.iter().find(|it| !it.starts_with('[') && !it.starts_with('#')) {
        // Its first sentence; the others are about links in the file.
        let first = paragraph.split_inclusive(". ").next().unwrap_or_default();
        body.leaf("p", &[], first.trim());
    }
    for (heading, lines) in groups {
        let mut inside = Markup::default();
        group(&mut inside, heading, &lines)?;
        body.element("div", &[("class", "slide"), ("id", &format!("glossary-{}", slug(heading)))], |it| {
            it.append(&inside)
        });
        body.line();
    }
    let mut inside = Markup::default();
    read_on(&mut inside, &text);
    body.element("div", &[("class", "slide"), ("id", "glossary-read-on")], |it| it.append(&inside));
    body.line();
    Ok(Part { id: "glossary", title: "Glossary, and where to read on", body, notes: NOTES })
}

/// The anchors of all entries, as the file's own.
pub(super) fn anchors(inputs: &Inputs) -> Result<Vec<String>, String> {
    let text = inputs.workspace.text(FILE)?;
    Ok(text.lines().filter_map(|line| Some(slug(line.strip_prefix("### ")?))).collect())
}

/// What stands before the first heading of the second level, and then each of those with its lines.
fn groups(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut groups = vec![("", Vec::new())];
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("## ") {
            Some(heading) => groups.push((heading, Vec::new())),
            None => groups.last_mut().expect("one stands there").1.push(line),
        }
    }
    groups
}

fn group(page: &mut Markup, heading: &str, lines: &[&str]) -> Result<(), String> {
    page.leaf("h3", &[], heading);
    page.line();
    let mut open = String::new();
    let mut entries: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        match (line.strip_prefix("### "), entries.last_mut()) {
            (Some(term), _) => entries.push((term, Vec::new())),
            (None, Some((_, paragraphs))) => paragraphs.push(line),
            (None, None) => open = (*line).to_owned(),
        }
    }
    if !open.is_empty() {
        page.leaf("p", &[], &open);
    }
    let mut inside = Markup::default();
    for (term, paragraphs) in entries {
        inside.leaf("dt", &[("id", &format!("glossary-{}", slug(term)))], term);
        for paragraph in paragraphs {
            let mut text = Markup::default();
            inline(&mut text, paragraph)?;
            inside.element("dd", &[], |it| it.append(&text));
        }
        inside.line();
    }
    page.element("dl", &[("class", "terms")], |it| it.append(&inside));
    page.line();
    Ok(())
}

/// A paragraph's code and links to other entries.
fn inline(page: &mut Markup, text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find(['`', '[']) {
        page.text(&rest[..at]);
        let (sign, behind) = (&rest[at..=at], &rest[at + 1..]);
        let end = if sign == "`" { "`" } else { ")" };
        let (inside, behind) = behind.split_once(end).ok_or_else(|| format!("{FILE}: not closed: '{text}'"))?;
        rest = behind;
        match (sign, inside.split_once("](#")) {
            ("`", _) => page.leaf("code", &[], inside),
            (_, Some((shown, anchor))) => page.leaf("a", &[("href", &format!("#glossary-{anchor}"))], shown),
            _ => return Err(format!("{FILE}: a link that does not lead to an entry: '{text}'")),
        }
    }
    page.text(rest);
    Ok(())
}

fn read_on(page: &mut Markup, glossary: &str) {
    page.leaf("h3", &[], "Where to read on");
    page.leaf("p", &[], "Manual pages, which 'man' shows; those of io_uring come with liburing:");
    page.element("p", &[], |it| {
        for (at, name) in manual_pages(glossary).iter().enumerate() {
            if at > 0 {
                it.text(", ");
            }
            it.leaf("code", &[], name);
        }
        it.text(".");
    });
    page.leaf("p", &[], "In the kernel's source:");
    page.element("ul", &[], |it| {
        for (file, what) in KERNEL {
            it.element("li", &[], |it| {
                it.leaf("code", &[], file);
                it.text(&format!(": {what}"));
            });
        }
    });
    page.line();
}

/// `epoll(7)` and the like.
fn manual_pages(text: &str) -> Vec<String> {
    let words = text.split(|it: char| !(it.is_alphanumeric() || ['_', '(', ')'].contains(&it)));
    let is_page = |word: &&str| {
        let Some((name, section)) = word.split_once('(') else { return false };
        let section = section.trim_end_matches(')');
        !name.is_empty() && section.len() == 1 && section.starts_with(|it: char| ('2'..='8').contains(&it))
    };
    let pages: BTreeSet<String> = words.filter(is_page).map(str::to_owned).collect();
    pages.into_iter().collect()
}

/// A heading's anchor, as Markdown makes it.
pub(super) fn slug(heading: &str) -> String {
    let kept = |it: char| match it {
        ' ' => Some('-'),
        it if it.is_alphanumeric() || it == '-' || it == '_' => Some(it.to_ascii_lowercase()),
        _ => None,
    };
    heading.chars().filter_map(kept).collect()
}
