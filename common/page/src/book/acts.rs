//! What the parts with recorded runs share: players, and what stands in their place without a script.
//!
//! Invariant: without a script, runs of several servers stand in one table. A row is a step of the script, so what one
//! server did after it stands beside what another did.

use ::markup::Markup;
use explorer::Verdict;
use explorer::record::{Event, RecordedRun, Recording};

use super::Inputs;
use crate::words;

/// A column of a player: a recording, and what the reader calls its server.
pub(super) struct Column<'a> {
    pub recording: &'a Recording,
    /// Its place among the data.
    pub place: usize,
    pub title: String,
}

impl<'a> Column<'a> {
    /// The recording of this name.
    pub fn of(inputs: &'a Inputs, name: &str, title: &str) -> Result<Self, String> {
        let (place, recording) = inputs.recording(name)?;
        Ok(Self { recording, place, title: title.to_owned() })
    }

    fn run(&self) -> &'a RecordedRun {
        &self.recording.runs[0]
    }
}

/// Where a player stands when it has begun.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// Where the runs part.
    Part,
    /// At a step of the script.
    Step(usize),
}

/// A player of these servers, and in its place without a script a table.
pub(super) fn player(page: &mut Markup, columns: &[Column<'_>], start: Start, with_gaps: bool, caption: &str) {
    let places: Vec<String> = columns.iter().map(|column| column.place.to_string()).collect();
    let places = places.join(" ");
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let titles = titles.join("|");
    let start = match start {
        Start::Part => "part".to_owned(),
        Start::Step(step) => step.to_string(),
    };
    let mut attributes =
        vec![("data-recording", places.as_str()), ("data-titles", titles.as_str()), ("data-start", start.as_str())];
    if with_gaps {
        attributes.push(("data-gaps", ""));
    }
    page.element("event-loop-player", &attributes, |it| {
        it.line();
        if with_gaps {
            crate::document::gaps_of(it, columns[0].recording);
        }
        by_steps(it, columns, caption);
    });
    page.line();
}

/// The servers side by side, a row for each step of the script.
fn by_steps(page: &mut Markup, columns: &[Column<'_>], caption: &str) {
    let cut: Vec<Vec<Segment<'_>>> = columns.iter().map(|column| segments(column.run())).collect();
    let steps = columns.iter().map(|column| column.recording.steps.len()).max().unwrap_or(0);
    let region = [("class", "wide"), ("role", "region"), ("aria-label", caption), ("tabindex", "0")];
    page.element("div", &region, |it| {
        it.element("table", &[("class", "facts by-steps")], |it| {
            it.leaf("caption", &[], caption);
            it.element("thead", &[], |it| {
                it.element("tr", &[], |it| {
                    it.leaf("th", &[("scope", "col")], "step");
                    for column in columns {
                        it.element("th", &[("scope", "col")], |it| {
                            it.text(&column.title);
                            it.text(": ");
                            verdict(it, column.run().verdict);
                        });
                    }
                });
            });
            it.element("tbody", &[], |it| {
                for step in std::iter::once(None).chain((0..steps).map(Some)) {
                    it.line();
                    it.element("tr", &[], |it| {
                        let name = step.map_or("the start", |at| columns[0].recording.steps[at].as_str());
                        it.element("th", &[("scope", "row")], |it| it.leaf("code", &[], name));
                        for (column, cut) in columns.iter().zip(&cut) {
                            let own = cut.iter().find(|segment| segment.step == step);
                            it.element("td", &[], |it| cell(it, column.run(), own));
                        }
                    });
                }
                it.element("tr", &[], |it| {
                    it.leaf("th", &[("scope", "row")], "the end");
                    for column in columns {
                        it.element("td", &[], |it| outcome(it, column.run()));
                    }
                });
            });
        });
    });
    page.line();
}

/// A verdict in words, with its class.
pub(super) fn verdict(page: &mut Markup, verdict: Verdict) {
    let class = format!("verdict {}", words::class(verdict));
    let words = if verdict == Verdict::Ok { "passes".to_owned() } else { verdict.to_string() };
    page.leaf("span", &[("class", &class)], &words);
}

fn outcome(page: &mut Markup, run: &RecordedRun) {
    match run.verdict {
        Verdict::Ok => page.text("Every byte came back, and every FIN was answered."),
        _ => page.text(&format!("{}. {}", run.what.trim_end_matches('.'), run.diagnosis)),
    }
}

/// What happened from one step of the script to the next.
struct Segment<'a> {
    /// `None` before the first step.
    step: Option<usize>,
    /// Where the schedule placed it, if it did not come while the server slept.
    before: Option<&'a str>,
    events: Vec<&'a Event>,
}

fn segments(run: &RecordedRun) -> Vec<Segment<'_>> {
    let mut found = vec![Segment { step: None, before: None, events: Vec::new() }];
    for event in &run.events {
        match event {
            Event::Step(step) if step.script_step.is_some() => {
                let before = step.placed.then_some(step.before.as_str()).filter(|before| !before.is_empty());
                found.push(Segment { step: step.script_step, before, events: Vec::new() });
            }
            other => found.last_mut().expect("there is one from the start").events.push(other),
        }
    }
    found
}

fn cell(page: &mut Markup, run: &RecordedRun, segment: Option<&Segment<'_>>) {
    let Some(segment) = segment else { return page.text("the run has ended") };
    let threads = crate::sentences::has_threads(run);
    if let Some(before) = segment.before {
        page.leaf("span", &[("class", "verdict bad")], &format!("» before {before}"));
    }
    for event in &segment.events {
        let class = match event {
            Event::Rest { wrong: Some(_), .. } => "row wrong",
            Event::Call(call) if call.value < 0 => "row refused",
            Event::Step(_) => "row step",
            _ => "row",
        };
        page.leaf("code", &[("class", class)], &words::row(event, threads));
    }
}
