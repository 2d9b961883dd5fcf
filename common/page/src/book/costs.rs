//! What it costs: every experiment of `cargo lab measure`, with the pictures and the figures.
//!
//! Invariant: verdicts and figures are those of the record. Nothing is said of an experiment that its record does not say.

use ::markup::Markup;
use figures::about;
use figures::{Measured, Verdict};

use super::charts::charts;
use super::prose::{paragraph, see};
use super::{Inputs, Part};

const NOTES: &str = "Before the class, measure on the machine in the room, so that its circles stand over the reference's squares. \
                     Ask for a guess before each picture.\n\
                     A verdict that differs from the reference's is the best moment of the lesson: what differs in the machine?";

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let mut body = Markup::default();
    let mut first = Markup::default();
    paragraph(
        &mut first,
        inputs,
        "Each claim is an experiment that you can repeat. The verdict is that of one run on one machine. Your figures will \
         differ, and verdicts may differ too.",
    )?;
    overview(&mut first, inputs);
    see(&mut first, "cargo lab measure --quick");
    provenance(&mut first, inputs);
    body.element("div", &[("class", "slide")], |it| it.append(&first));
    body.line();
    for measured in &inputs.reference.experiments {
        experiment(&mut body, inputs, measured)?;
    }
    Ok(Part { id: "costs", title: "What it costs", body, notes: NOTES })
}

fn provenance(page: &mut Markup, inputs: &Inputs) {
    let theirs = figures::markdown::provenance(&inputs.reference).replace('`', "");
    page.leaf("p", &[("class", "note")], &format!("The reference machine. {theirs}"));
    page.line();
    let own = match &inputs.own {
        Some(own) => format!("Your machine. {}", figures::markdown::provenance(own).replace('`', "")),
        None => {
            "Your own machine's figures stand over these after 'cargo lab measure' and another 'cargo lab page'.".into()
        }
    };
    page.leaf("p", &[("class", "note")], &own);
    page.line();
}

fn overview(page: &mut Markup, inputs: &Inputs) {
    let own = inputs.own.as_ref();
    page.element(
        "div",
        &[("class", "wide"), ("tabindex", "0"), ("role", "group"), ("aria-label", "All experiments")],
        |it| {
            it.element("table", &[("class", "facts")], |it| {
                it.leaf("caption", &[], "Every claim, and what was measured");
                it.element("thead", &[], |it| {
                    it.element("tr", &[], |it| {
                        let here = own.map(|_| "on your machine");
                        for head in
                            ["experiment", "claim"].into_iter().chain(here).chain(["reference machine", "verdict"])
                        {
                            it.leaf("th", &[("scope", "col")], head);
                        }
                    });
                });
                it.element("tbody", &[], |it| {
                    for measured in &inputs.reference.experiments {
                        row(it, measured, own.map(|own| own.experiment(&measured.name)));
                    }
                });
            });
        },
    );
    page.line();
}

/// `own` is there if the reader has measured; inside is nothing if this experiment was left out.
fn row(page: &mut Markup, measured: &Measured, own: Option<Option<&Measured>>) {
    page.element("tr", &[], |it| {
        it.element("th", &[("scope", "row")], |it| {
            it.leaf("a", &[("href", &format!("#costs-{}", measured.name))], &measured.name);
        });
        it.leaf("td", &[], &measured.claim);
        if let Some(own) = own {
            let found = own.map_or("not measured".to_owned(), |own| {
                format!("{} ({})", own.outcome.found, own.outcome.verdict.in_words())
            });
            it.leaf("td", &[], &found);
        }
        it.leaf("td", &[], &measured.outcome.found);
        it.leaf("td", &[("class", class(&measured.outcome.verdict))], &measured.outcome.verdict.in_words());
    });
    page.line();
}

fn class(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::HoldsIf(_) => "holds-if",
        _ => "does-not",
    }
}

fn experiment(page: &mut Markup, inputs: &Inputs, measured: &Measured) -> Result<(), String> {
    let Measured { name, claim, outcome, .. } = measured;
    let about = about(name).ok_or_else(|| format!("the catalogue has no experiment '{name}'"))?;
    let mut inside = Markup::default();
    let it = &mut inside;
    it.leaf("h3", &[], claim);
    it.element("p", &[], |it| {
        it.leaf("b", &[], &format!("{}.", capital(&outcome.verdict.in_words())));
        it.text(&format!(" {}.", capital(outcome.found.trim_end_matches('.'))));
    });
    it.leaf("p", &[("class", "note")], &format!("Varied: {}. Counted: {}.", about.varied, about.counted));
    let paths: Vec<String> = outcome.charts.iter().map(|chart| format!("{name}/{}", chart.name)).collect();
    let (above, paths): (Vec<&str>, Vec<&str>) =
        paths.iter().map(String::as_str).partition(|path| super::why::PICTURES.contains(path));
    if !above.is_empty() {
        let text = "Pictures of this experiment are in the part [Why](part:why).";
        paragraph(it, inputs, text)?;
    }
    let (first, others) = paths.split_at(paths.len().min(2));
    charts(it, inputs, "costs", first)?;
    if !others.is_empty() {
        let mut more = Markup::default();
        charts(&mut more, inputs, "costs", others)?;
        it.element("details", &[], |it| {
            it.leaf("summary", &[], "More pictures of this experiment");
            it.append(&more);
        });
    }
    if !outcome.notes.is_empty() {
        it.element("ul", &[("class", "note")], |it| {
            for note in &outcome.notes {
                it.leaf("li", &[], &capital(note));
            }
        });
    }
    see(it, &format!("cargo lab measure {name}"));
    page.element("div", &[("class", "slide"), ("id", &format!("costs-{name}"))], |it| it.append(&inside));
    page.line();
    Ok(())
}

/// With a capital letter, unless the first word is a name.
fn capital(text: &str) -> String {
    let names = ["poll", "epoll", "select", "kqueue", "io_uring", "epoll-lt", "epoll-et", "uring"];
    let first = text.split([' ', ':', ',']).next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(letter) if !names.contains(&first) => letter.to_uppercase().chain(characters).collect(),
        _ => text.to_owned(),
    }
}
