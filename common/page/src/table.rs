//! A run as a table: a row for each event, with its sentence and its line of source.
//!
//! Invariant: every event stands in the table. Rows that repeat are inside `details`, which unfold without a script.

use explorer::record::{Event, RecordedRun};

use crate::fold::{Fold, folded};
use crate::markup::Markup;
use crate::sentences::{has_threads, sentences};
use crate::sequence::again;
use crate::source::Sources;
use crate::words;

/// The columns.
const HEADS: [&str; 4] = ["", "event", "in words", "line"];

/// The table. Its rows have ids that begin with `id`.
pub fn write(page: &mut Markup, run: &RecordedRun, id: &str, caption: &str, sources: &Sources<'_>) {
    let table = Table { run, id, sources, sentences: sentences(run), threads: has_threads(run) };
    page.element("div", &[("class", "wide"), ("role", "region"), ("aria-label", caption), ("tabindex", "0")], |it| {
        it.element("table", &[("class", "events")], |it| {
            it.leaf("caption", &[], caption);
            it.element("thead", &[], |it| {
                it.element("tr", &[], |it| {
                    for head in HEADS {
                        let name = if head.is_empty() { "number" } else { head };
                        it.leaf("th", &[("scope", "col")], name);
                    }
                });
            });
            it.element("tbody", &[], |it| {
                for fold in folded(&run.events) {
                    it.line();
                    match fold {
                        Fold::Row(at) => table.row(it, at),
                        Fold::Repeated { period, times, .. } => table.repeated(it, fold, &again(period, times)),
                    }
                }
            });
        });
    });
    page.line();
}

struct Table<'a> {
    run: &'a RecordedRun,
    id: &'a str,
    sources: &'a Sources<'a>,
    sentences: Vec<String>,
    threads: bool,
}

impl Table<'_> {
    fn row(&self, it: &mut Markup, at: usize) {
        let event = &self.run.events[at];
        let (id, number) = (format!("{}_r{at}", self.id), (at + 1).to_string());
        it.element("tr", &[("id", &id), ("class", class(event))], |it| {
            it.leaf("td", &[("class", "number")], &number);
            it.element("td", &[], |it| {
                if is_placed(event) {
                    it.leaf("span", &[("class", "mark"), ("title", "placed by the schedule")], "» ");
                }
                it.leaf("code", &[], &words::row(event, self.threads));
            });
            it.leaf("td", &[], &self.sentences[at]);
            it.element("td", &[("class", "place")], |it| self.place(it, event));
        });
    }

    fn repeated(&self, it: &mut Markup, fold: Fold, text: &str) {
        it.element("tr", &[("class", "again")], |it| {
            it.element("td", &[("colspan", "4")], |it| {
                it.element("details", &[], |it| {
                    it.leaf("summary", &[], text);
                    it.element("table", &[("class", "events")], |it| {
                        it.element("tbody", &[], |it| {
                            for at in fold.events() {
                                it.line();
                                self.row(it, at);
                            }
                        });
                    });
                });
            });
        });
    }

    fn place(&self, it: &mut Markup, event: &Event) {
        let Some(frame) = words::meaning(event) else { return };
        let Some(line) = frame.line else { return };
        let from = words::caller(event).and_then(|it| Some(format!(" ‹ {}:{}", words::function(it), it.line?)));
        let text = format!("{}:{line}{}", words::function(frame), from.unwrap_or_default());
        match frame.source.and_then(|source| self.sources.link(source, line)) {
            Some(link) => it.leaf("a", &[("href", &link)], &text),
            None => it.text(&text),
        }
    }
}

fn is_placed(event: &Event) -> bool {
    match event {
        Event::Step(step) => step.placed,
        Event::Preempted { .. } => true,
        _ => false,
    }
}

fn class(event: &Event) -> &'static str {
    match event {
        Event::Call(call) if call.value < 0 => "call refused",
        Event::Call(_) => "call",
        Event::Step(step) if step.placed => "step placed",
        Event::Step(_) => "step",
        Event::Rest { wrong: Some(_), .. } => "rest wrong",
        Event::Rest { .. } => "rest",
        Event::Preempted { .. } => "step placed",
    }
}
