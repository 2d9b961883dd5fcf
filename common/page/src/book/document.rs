//! The file: head, navigation, the parts, data and script.
//!
//! Invariant: each part is a section whose id leads to it, and all ids in the file are unique.

use ::markup::Markup;
use explorer::Recording;

use super::{Inputs, Part, parts};
use crate::document::{Content, file};
use crate::web;

const TITLE: &str = "I/O multiplexing, from the first picture to the last claim";

/// One HTML file with all parts.
///
/// # Errors
/// If a part lacks something: a recording, a measurement, a file.
pub fn make(inputs: &Inputs) -> Result<String, String> {
    let parts = parts(inputs)?;
    let recordings: Vec<&Recording> = inputs.recordings.iter().map(|(_, recording)| recording).collect();
    let content =
        Content { title: TITLE, style: web::book_style(), module: web::book_module(), recordings: &recordings };
    Ok(file(content, |page| body(page, &parts, inputs)))
}

fn body(page: &mut Markup, parts: &[Part], inputs: &Inputs) {
    page.element("header", &[("class", "book-head")], |it| {
        it.leaf("h1", &[], TITLE);
        it.element("nav", &[("aria-label", "Parts")], |it| {
            it.element("ol", &[], |it| {
                for part in parts {
                    it.element("li", &[], |it| it.leaf("a", &[("href", &format!("#{}", part.id))], part.title));
                }
            });
        });
    });
    page.line();
    page.element("main", &[("class", "book")], |it| {
        it.line();
        for part in parts {
            section(it, part);
        }
    });
    page.line();
    page.element("footer", &[], |it| {
        it.element("p", &[], |it| {
            it.text("This page was made by: ");
            it.leaf("code", &[], &inputs.command);
            it.text(". With ?talk behind its name it becomes slides.");
        });
    });
    page.line();
}

fn section(page: &mut Markup, part: &Part) {
    let heading = format!("{}-heading", part.id);
    page.element("section", &[("class", "part"), ("id", part.id), ("aria-labelledby", &heading)], |it| {
        it.line();
        it.leaf("h2", &[("id", &heading)], part.title);
        it.line();
        it.append(&part.body);
        it.line();
        it.element("aside", &[("class", "notes"), ("aria-label", "Speaker's notes"), ("hidden", "")], |it| {
            for paragraph in part.notes.lines() {
                it.leaf("p", &[], paragraph);
            }
        });
        it.line();
    });
    page.line();
}
