//! The file: its head, a section for each recording, the data and the script.
//!
//! Invariant: a section says how its run went before it shows the run. Ids are unique, and made of letters, digits and
//! hyphens.

use explorer::Verdict;
use explorer::record::{RecordedRun, Recording};

use crate::data::data;
use crate::gaps::{self, Gap};
use crate::markup::{Markup, Trusted};
use crate::source::Sources;
use crate::{sequence, table, web, words};

/// What the page says besides the recordings.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The command that makes the page; empty if it is not known.
    pub command: String,
}

/// One HTML file that shows these recordings, of which the first is the one that a reader is here for.
pub fn show(recordings: &[Recording], options: &Options) -> String {
    let title = title(recordings);
    let all: Vec<&Recording> = recordings.iter().collect();
    let content = Content { title: &title, style: web::style(), module: web::module(), recordings: &all };
    file(content, |page| body(page, recordings, &title, options))
}

/// What a file has besides its body.
pub(crate) struct Content<'a> {
    pub title: &'a str,
    pub style: Trusted,
    pub module: Trusted,
    pub recordings: &'a [&'a Recording],
}

/// A file with this body, behind which the data and the script stand.
pub(crate) fn file(content: Content<'_>, body: impl FnOnce(&mut Markup)) -> String {
    let Content { title, style, module, recordings } = content;
    let policy = web::policy(&module, &style);
    let mut page = Markup::default();
    page.element("html", &[("lang", "en")], |page| {
        page.line();
        page.element("head", &[], |it| {
            it.line();
            it.empty("meta", &[("charset", "utf-8")]);
            it.line();
            it.empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]);
            it.line();
            it.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
            it.line();
            it.empty("meta", &[("name", "color-scheme"), ("content", "light dark")]);
            it.line();
            it.leaf("title", &[], title);
            it.element("style", &[], |it| it.trusted(&style));
        });
        page.line();
        page.element("body", &[], |it| {
            it.line();
            body(it);
            // Data, which no browser runs.
            let kind = [("type", "application/octet-stream"), ("id", "recordings")];
            it.element("script", &kind, |it| it.trusted(&data(recordings)));
            it.line();
            it.element("script", &[("type", "module")], |it| it.trusted(&module));
            it.line();
        });
        page.line();
    });
    page.line();
    format!("<!DOCTYPE html>\n{}", page.finish())
}

fn body(page: &mut Markup, recordings: &[Recording], title: &str, options: &Options) {
    let ids = ids(recordings);
    page.element("header", &[], |it| {
        it.leaf("h1", &[], title);
        if recordings.len() > 1 {
            it.element("nav", &[("aria-label", "Servers")], |it| {
                it.element("ul", &[], |it| {
                    for (recording, id) in recordings.iter().zip(&ids) {
                        it.element("li", &[], |it| {
                            it.leaf("a", &[("href", &format!("#{id}"))], &recording.server);
                            it.text(": ");
                            verdict_word(it, recording.runs[0].verdict);
                        });
                    }
                });
            });
        }
    });
    page.line();
    page.element("main", &[], |it| {
        it.line();
        for (at, (recording, id)) in recordings.iter().zip(&ids).enumerate() {
            section(it, at, recording, id);
        }
    });
    page.line();
    page.element("footer", &[], |it| {
        it.element("p", &[], |it| {
            it.text(
                "Each row is a system call of the server or a step of a client, as the kernel really carried it out.",
            );
            if !options.command.is_empty() {
                it.text(" This page was made by: ");
                it.leaf("code", &[], &options.command);
            }
        });
    });
    page.line();
}

/// A recording with its heading, its outcome and its player.
pub(crate) fn section(page: &mut Markup, at: usize, recording: &Recording, id: &str) {
    let shown = &recording.runs[0];
    let heading = format!("{id}_heading");
    page.element("section", &[("class", "show"), ("id", id), ("aria-labelledby", &heading)], |it| {
        it.line();
        it.element("h2", &[("id", &heading)], |it| {
            it.leaf("bdi", &[], &recording.server);
            it.text(" ");
            verdict_word(it, shown.verdict);
        });
        it.line();
        outcome(it, recording, shown);
        script(it, recording);
        it.element("event-loop-player", &[("data-recording", &at.to_string())], |it| {
            it.line();
            gaps_of(it, recording);
            let passing = recording.passing.map(|at| &recording.runs[at]);
            let runs: Vec<&RecordedRun> = std::iter::once(shown).chain(passing).collect();
            let sources = Sources::of(recording, &runs, id);
            run(it, shown, id, &sources, &format!("What happened: {}", of_schedule(shown)));
            if let Some(passing) = passing {
                it.element("details", &[("class", "passing")], |it| {
                    it.leaf("summary", &[], &format!("The nearest run that passes: {}", of_schedule(passing)));
                    let id = format!("{id}_passing");
                    run(it, passing, &id, &sources, "What happens where all is well");
                });
                it.line();
            }
            sources.write(it);
            if let Some(why) = &recording.no_frames {
                it.leaf("p", &[("class", "note")], &format!("Lines of source are unknown: {why}."));
            }
        });
        it.line();
    });
    page.line();
}

fn run(page: &mut Markup, run: &RecordedRun, id: &str, sources: &Sources<'_>, caption: &str) {
    let label = format!("{} rows: {}. The table below has them in words.", run.events.len(), how(run.verdict));
    page.element("figure", &[], |it| {
        it.line();
        sequence::draw(it, run, &label);
        it.element("figcaption", &[("class", "note")], |it| it.text(LEGEND));
    });
    page.line();
    table::write(page, run, id, caption, sources);
}

/// What the colours and shapes of the picture mean.
const LEGEND: &str = "From top to bottom, in the order in which it happened. In the lane of the sockets, a bar is unread \
                      bytes, a hollow box is a connection in the accept queue, a dot is a FIN. In the lane of the kernel, a \
                      block is news that a wait would report, a ring is an operation in flight. The program's lane is \
                      narrow and light while it sleeps; the wide bar is what it took and has not sent back. A dashed bar \
                      at a client is what it has not read. » marks a step that the schedule placed.";

/// `LOST WAKEUP`, with its letter in its shape.
fn verdict_word(page: &mut Markup, verdict: Verdict) {
    let class = format!("verdict {}", words::class(verdict));
    page.element("span", &[("class", &class)], |it| {
        it.leaf("span", &[("class", "letter"), ("aria-hidden", "true")], words::letter(verdict));
        it.text(&format!(" {verdict}"));
    });
}

fn outcome(page: &mut Markup, recording: &Recording, run: &RecordedRun) {
    page.element("p", &[("class", &format!("outcome {}", words::class(run.verdict)))], |it| match run.verdict {
        Verdict::Ok => it.text("Every byte came back, and every FIN was answered."),
        _ => it.text(&sentence(&run.what)),
    });
    page.line();
    if !run.diagnosis.is_empty() {
        page.leaf("p", &[("class", "diagnosis")], &run.diagnosis);
        page.line();
    }
    if let Some(bound) = &recording.bound {
        let placements = match bound.placements {
            0 => "no placed step".to_owned(),
            1 => "one placed step".to_owned(),
            n => format!("up to {n} placed steps"),
        };
        let text = match &bound.cut {
            None => format!("Every schedule with {placements} was run: {} runs.", recording.runs.len()),
            Some(why) => format!("Not every schedule with {placements} was run: {why}."),
        };
        page.leaf("p", &[("class", "note")], &text);
        page.line();
    }
}

/// With a capital letter, unless it begins with a client's name, and with a full stop.
fn sentence(what: &str) -> String {
    let what = what.trim_end_matches('.');
    match what.strip_prefix("the ") {
        Some(rest) => format!("The {rest}."),
        None => format!("{what}."),
    }
}

fn script(page: &mut Markup, recording: &Recording) {
    page.element("p", &[("class", "script")], |it| {
        it.text("The clients' steps: ");
        it.leaf("code", &[], &recording.script);
        if !recording.faults.is_empty() {
            it.text(", with the faults ");
            it.leaf("code", &[], &recording.faults);
        }
        it.text(".");
    });
    page.line();
}

/// The gaps of a recording without a script, if it has some.
pub(crate) fn gaps_of(page: &mut Markup, recording: &Recording) {
    let gaps = gaps::gaps(recording);
    if let Some(title) = gaps::title(&gaps) {
        picker(page, recording, &gaps, &title);
    }
}

/// The gaps without a script: for each step, a cell for each call before which it fell.
fn picker(page: &mut Markup, recording: &Recording, gaps: &[Gap], title: &str) {
    page.element("figure", &[("class", "gaps")], |it| {
        it.leaf("figcaption", &[], title);
        let mut rest = gaps;
        while let Some(first) = rest.first() {
            let (own, others) = rest.split_at(rest.iter().take_while(|gap| gap.step == first.step).count());
            rest = others;
            let step = recording.steps.get(first.step).map_or("a step", String::as_str);
            it.element("p", &[("class", "note")], |it| {
                it.leaf("code", &[], step);
                it.text(" came just before");
            });
            it.element("ol", &[], |it| {
                for gap in own {
                    it.element("li", &[("class", words::class(gap.verdict))], |it| {
                        it.leaf("code", &[], &gap.before);
                        it.text(" ");
                        verdict_word(it, gap.verdict);
                    });
                }
            });
        }
    });
    page.line();
}

/// `each step comes while the server sleeps`, or which step was placed where.
fn of_schedule(run: &RecordedRun) -> String {
    use explorer::record::Event;
    let placed = |event: &Event| match event {
        Event::Step(step) if step.placed && !step.before.is_empty() => {
            Some(format!("'{}' comes just before {}", step.step, step.before))
        }
        Event::Step(step) if step.placed => Some(format!("'{}' comes while the server runs", step.step)),
        Event::Preempted { thread, instead_of } => Some(format!("thread {thread} goes before thread {instead_of}")),
        _ => None,
    };
    let placed: Vec<String> = run.events.iter().filter_map(placed).collect();
    match placed.is_empty() {
        true => "each step comes while the server sleeps".to_owned(),
        false => placed.join(", "),
    }
}

fn how(verdict: Verdict) -> String {
    match verdict {
        Verdict::Ok => "all is well".to_owned(),
        other => other.to_string(),
    }
}

fn title(recordings: &[Recording]) -> String {
    match recordings {
        [] => "No run".to_owned(),
        [one] => match one.runs[0].verdict {
            Verdict::Ok => format!("{}: a run, step by step", one.server),
            verdict => format!("{}: {verdict}", one.server),
        },
        some => {
            let names: Vec<&str> = some.iter().map(|recording| recording.server.as_str()).collect();
            format!("{}, side by side", names.join(", "))
        }
    }
}

/// An id for each recording: the server's name as far as it is letters and digits.
fn ids(recordings: &[Recording]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for recording in recordings {
        let kept = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        let name: String = recording.server.chars().map(kept).collect();
        let name = name.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        // Ids of the page's own, and names that are the same, get a number.
        let name = if name.is_empty() || ["recordings", "beside"].contains(&name.as_str()) {
            "server".to_owned()
        } else {
            name
        };
        let mut id = name.clone();
        let mut number = 2;
        while ids.contains(&id) {
            id = format!("{name}-{number}");
            number += 1;
        }
        ids.push(id);
    }
    ids
}
