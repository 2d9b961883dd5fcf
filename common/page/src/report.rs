//! Players in somebody else's report.
//!
//! Invariant: as for every page: only the players' own script runs, and nothing is loaded.

use explorer::Recording;

use crate::document::{Content, file, section};
use crate::markup::{Markup, Trusted};
use crate::web;

/// The player of the recording at this place, under this id. The recording goes into the file too.
pub fn player(page: &mut Markup, at: usize, recording: &Recording, id: &str) {
    section(page, at, recording, id);
}

/// A file with what a report has in its `main`, in which the players begin by themselves. `style` is the report's own.
pub fn with_players(title: &str, style: &str, main: &Markup, recordings: &[Recording]) -> String {
    let style = Trusted::embedded(web::style().as_str().to_owned() + style);
    let recordings: Vec<&Recording> = recordings.iter().collect();
    let content = Content { title, style, module: web::book_module(), recordings: &recordings };
    file(content, |page| page.element("main", &[("class", "book")], |it| it.append(main)))
}
