//! The pictures of `cargo lab measure` in the page, each with its figures as a table.
//!
//! Invariant: a picture's ids begin with the part's name, so that one chart can stand in two parts.

use ::markup::{Markup, Trusted};
use figures::markdown::with_spread;
use figures::{Chart, svg};

use super::Inputs;

/// Pictures side by side, as far as there is room.
pub(super) fn charts(page: &mut Markup, inputs: &Inputs, part: &str, paths: &[&str]) -> Result<(), String> {
    let mut inside = Markup::default();
    for path in paths {
        figure(&mut inside, inputs, part, path)?;
    }
    page.element("div", &[("class", "charts")], |it| it.append(&inside));
    page.line();
    Ok(())
}

/// A picture, the reader's own figures over those of the reference if he has measured, and the table below it.
fn figure(page: &mut Markup, inputs: &Inputs, part: &str, path: &str) -> Result<(), String> {
    let (experiment, name) = path.split_once('/').ok_or_else(|| format!("'{path}' is not EXPERIMENT/CHART"))?;
    let measured = inputs.reference.experiment(experiment).ok_or_else(|| format!("no experiment '{experiment}'"))?;
    let theirs = measured.chart(name).ok_or_else(|| format!("'{experiment}' has no chart '{name}'"))?;
    let own = inputs.own.as_ref().and_then(|own| Some((own, own.experiment(experiment)?.chart(name)?)));
    let own = own.filter(|(_, chart)| chart.series.iter().any(|series| !series.points.is_empty()));
    let (record, chart, reference) = match own {
        Some((own, chart)) => (own, chart, Some(theirs)),
        None => (&inputs.reference, theirs, None),
    };
    let named = Chart { name: format!("{part}-{experiment}-{name}"), ..chart.clone() };
    page.element("figure", &[("class", "chart")], |it| {
        it.trusted(&Trusted::drawn(&svg::draw_inside(&named, reference, &record.environment.in_short())));
        if reference.is_some() {
            it.leaf(
                "figcaption",
                &[("class", "note")],
                "Circles: your machine. Hollow squares: the reference machine.",
            );
        }
        it.element("details", &[], |it| {
            it.leaf("summary", &[], &format!("The figures: {}", chart.title));
            table(it, chart);
        });
    });
    page.line();
    Ok(())
}

fn table(page: &mut Markup, chart: &Chart) {
    let mut places: Vec<f64> = chart.series.iter().flat_map(|it| &it.points).map(|point| point.x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    page.element(
        "div",
        &[("class", "wide"), ("tabindex", "0"), ("role", "group"), ("aria-label", &chart.title)],
        |it| {
            it.element("table", &[("class", "facts")], |it| {
                it.leaf("caption", &[], &format!("{}, by {}", chart.y.label, chart.x.label));
                it.element("thead", &[], |it| {
                    it.element("tr", &[], |it| {
                        it.leaf("th", &[("scope", "col")], "series");
                        for place in &places {
                            it.leaf("th", &[("scope", "col")], &chart.at(*place));
                        }
                    });
                });
                it.element("tbody", &[], |it| {
                    for series in &chart.series {
                        it.element("tr", &[], |it| {
                            it.leaf("th", &[("scope", "row")], &series.name);
                            for place in &places {
                                it.leaf("td", &[], &series.at(*place).map_or("–".to_owned(), with_spread));
                            }
                        });
                    }
                });
            });
        },
    );
}
