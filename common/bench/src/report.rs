//! A run's results in a terminal: the plots, and the table at the end.
//!
//! Invariant: results go to stdout, in the terminal's width, and without control codes.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};
use console::Term;
use figures::{Measured, Record, plot};

/// Narrower than this, a table of five columns is a heap of words.
const NARROW: usize = 90;

/// The columns of stdout; without a terminal, COLUMNS or 100.
pub fn width() -> usize {
    let term = Term::stdout();
    let seen = if term.is_term() { term.size_checked().map(|(_, columns)| usize::from(columns)) } else { None };
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    seen.or_else(told).filter(|columns| *columns > 0).unwrap_or(100)
}

/// Plots and notes of each experiment.
pub fn plots(record: &Record, width: usize, plain: bool) -> String {
    let mut out = String::new();
    for Measured { name, outcome, .. } in record.experiments.iter().filter(|it| it.outcome.verdict.is_measured()) {
        for chart in &outcome.charts {
            let _ = writeln!(out, "{name}: {}\n{}", chart.title, plot::draw(chart, width, plain));
        }
        for note in &outcome.notes {
            out += &wrapped(&format!("note: {note}"), width, "  ");
        }
        out.push('\n');
    }
    out
}

/// Claim, measured here, measured on the reference machine, verdict.
pub fn table(record: &Record, reference: Option<&Record>, width: usize, plain: bool) -> String {
    let theirs = |name: &str| {
        let measured = reference.and_then(|reference| reference.experiment(name));
        measured.filter(|it| it.outcome.verdict.is_measured()).map_or("-", |it| it.outcome.found.as_str())
    };
    if width < NARROW {
        return narrow(record, &theirs, width);
    }
    let mut table = Table::new();
    table.load_style(if plain { presets::ASCII_FULL } else { presets::UTF8_FULL });
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(["", "claim", "measured here", "reference machine", "verdict"]);
    for Measured { name, claim, outcome, .. } in &record.experiments {
        table.add_row([name, claim, &outcome.found, theirs(name), &outcome.verdict.in_words()]);
    }
    format!("{}\n{}", table.trim_fmt(), machines(record, reference, width))
}

fn narrow<'a>(record: &'a Record, theirs: &dyn Fn(&str) -> &'a str, width: usize) -> String {
    let mut out = String::new();
    for Measured { name, claim, outcome, .. } in &record.experiments {
        let _ = writeln!(out, "{name}");
        for (head, text) in [
            ("claim", claim.as_str()),
            ("here", &outcome.found),
            ("reference", theirs(name)),
            ("verdict", &outcome.verdict.in_words()),
        ] {
            out += &wrapped(&format!("{head}: {text}"), width, "  ");
        }
    }
    out
}

fn machines(record: &Record, reference: Option<&Record>, width: usize) -> String {
    let here = &record.environment;
    let mut out =
        wrapped(&format!("here: {}; load {:.2}, {:.2}", here.in_short(), here.load_before, here.load_after), width, "");
    if let Some(reference) = reference {
        out += &wrapped(&format!("reference machine: {}", reference.environment.in_short()), width, "");
    }
    out
}

/// The text in lines of at most `width` columns; those after the first are two columns deeper.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let (mut out, mut line) = (String::new(), indent.to_owned());
    for word in text.split_whitespace() {
        if line.trim().is_empty() {
            line += word;
        } else if console::measure_text_width(&line) + 1 + console::measure_text_width(word) <= width {
            line.push(' ');
            line += word;
        } else {
            let _ = writeln!(out, "{line}");
            line = format!("{indent}  {word}");
        }
    }
    out + &line + "\n"
}

#[cfg(test)]
mod tests {
    use figures::{Outcome, Verdict};

    use super::*;

    fn record() -> Record {
        let outcome = Outcome {
            verdict: Verdict::DoesNot("pread is cheaper".into()),
            found: "1,240 thousand reads against 1,133".into(),
            charts: Vec::new(),
            notes: vec!["a note".into()],
        };
        let mut record = crate::run::empty(true);
        let (name, claim) = ("reads".to_owned(), "A ring reads files at a lower price.".to_owned());
        record.experiments.push(Measured { name, claim, seconds: 1.0, repeated: 0, disturbed: 0, outcome });
        record
    }

    #[test]
    fn the_table_has_claim_figures_and_verdict_in_any_width() {
        let record = record();
        for width in [40, 80, 100, 200] {
            let text = table(&record, Some(&record), width, true);
            let words = text.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>().join(" ");
            assert!(words.contains("reads") && words.contains("does not") && words.contains("1,240"), "{text}");
            assert!(text.lines().all(|line| console::measure_text_width(line) <= width), "{width}:\n{text}");
        }
    }

    #[test]
    fn lines_are_wrapped_at_words() {
        assert_eq!(wrapped("one two three", 8, ""), "one two\n  three\n");
    }
}
