//! What the READMEs say of costs: tables and pictures of `common/bench/reference.json`.
//!
//! A region's name says what stands in it: `measured overview` is the table of all experiments, and
//! `measured idle-tax/busy-50: poll, epoll-lt at 0, 9,000` a part of one chart (`figures::markdown::grid`).
//!
//! Invariant: no figure of the record is written by hand; a table or a picture that differs from the record is stale.

use std::fs;

use figures::{Record, markdown, svg};

use super::region;
use crate::workspace;

/// The record of the reference run, from the workspace's root.
pub const REFERENCE: &str = "common/bench/reference.json";

const BEGIN: &str = "<!-- generated: measured ";

/// The text with all its measured regions brought up to date.
pub fn text(text: &str) -> Result<String, String> {
    let mut text = text.to_owned();
    let regions = regions(&text);
    if regions.is_empty() {
        return Ok(text);
    }
    let record = reference()?;
    for words in regions {
        let table = match words.as_str() {
            "overview" => markdown::overview(&record),
            words => markdown::grid(&record, words)?,
        };
        text = region::replaced(&text, &format!("measured {words}"), &table)?;
    }
    Ok(text)
}

/// One chart as a picture.
pub fn picture(experiment: &str, chart: &str) -> Result<String, String> {
    let record = reference()?;
    let measured = record.experiment(experiment).and_then(|it| it.chart(chart));
    let chart = measured.ok_or_else(|| format!("{REFERENCE} has no chart {experiment}/{chart}"))?;
    Ok(svg::draw(chart, None, &record.environment.in_short()))
}

fn reference() -> Result<Record, String> {
    let path = workspace::root().map_err(|error| error.message)?.join(REFERENCE);
    let json = fs::read_to_string(path).map_err(|error| format!("{REFERENCE}: {error}"))?;
    Record::parse(&json).map_err(|wrong| format!("{REFERENCE}: {wrong}"))
}

/// What the measured regions of a text are about.
fn regions(text: &str) -> Vec<String> {
    let begun = text.split(BEGIN).skip(1);
    begun.filter_map(|rest| Some(rest.split_once(" -->")?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regions_of_a_text_are_found_by_their_names() {
        let text = "a\n<!-- generated: measured overview -->\n<!-- end: measured overview -->\n\
                    <!-- generated: matrix -->\n<!-- generated: measured wait/cost: poll at 1 -->\n";
        assert_eq!(regions(text), ["overview", "wait/cost: poll at 1"]);
    }

    #[test]
    fn a_text_without_regions_stays_as_it_is() {
        assert_eq!(text("nothing is generated here").unwrap(), "nothing is generated here");
    }
}
