//! The sources that a run's calls come from, with the lines that made calls marked.
//!
//! Invariant: a link from a row leads to a line that is on the page. Sources that no row leads to are left out.

use std::collections::BTreeSet;

use explorer::record::{RecordedRun, Recording};

use crate::markup::Markup;
use crate::words;

/// The sources of one recording, and the lines that its runs lead to.
pub struct Sources<'a> {
    recording: &'a Recording,
    id: &'a str,
    lines: BTreeSet<(usize, u32)>,
}

impl<'a> Sources<'a> {
    /// The lines of these runs. The ids of lines begin with `id`.
    pub fn of(recording: &'a Recording, runs: &[&RecordedRun], id: &'a str) -> Self {
        let frames = runs.iter().flat_map(|run| &run.events).filter_map(words::meaning);
        let lines = frames.filter_map(|frame| Some((frame.source?, frame.line?)));
        Self { recording, id, lines: lines.collect() }
    }

    /// Where a line is on the page.
    pub fn link(&self, source: usize, line: u32) -> Option<String> {
        self.lines.contains(&(source, line)).then(|| format!("#{}_s{source}_{line}", self.id))
    }

    /// The sources, each in a `details`.
    pub fn write(&self, page: &mut Markup) {
        for (at, source) in self.recording.sources.iter().enumerate() {
            let marked = |line: u32| self.lines.contains(&(at, line));
            if !self.lines.iter().any(|(source, _)| *source == at) {
                continue;
            }
            page.element("details", &[("class", "source")], |it| {
                it.leaf("summary", &[], &source.path);
                it.element("pre", &[("tabindex", "0"), ("aria-label", &source.path)], |it| {
                    for (number, line) in (1..).zip(source.text.lines()) {
                        let text = format!("{number:4}  {line}");
                        if marked(number) {
                            let id = format!("{}_s{at}_{number}", self.id);
                            it.leaf("mark", &[("id", &id)], &text);
                        } else {
                            it.text(&text);
                        }
                        it.line();
                    }
                });
            });
            page.line();
        }
    }
}
