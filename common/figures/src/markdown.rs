//! Tables of a record in Markdown: what the READMEs quote.
//!
//! Invariant: a table is a function of the record and of the words that ask for it.

use std::fmt::Write;

use crate::chart::{Chart, Point, Series};
use crate::record::{Measured, Record};
use crate::ruler::number;

/// The table of all experiments: claim, what was found, verdict.
pub fn overview(record: &Record) -> String {
    let mut table =
        String::from("| experiment | claim | measured on the reference machine | verdict |\n|---|---|---|---|\n");
    for Measured { name, claim, outcome, .. } in &record.experiments {
        let (found, verdict) = (cell(&outcome.found), cell(&outcome.verdict.in_words()));
        let _ = writeln!(table, "| `{name}` | {} | {found} | {verdict} |", cell(claim));
    }
    format!("{table}\n{}", provenance(record))
}

/// A table of one chart: `syscalls/calls: epoll-lt, uring at 1, 50`. A row for each series, a column for each place; the
/// parts behind `:` and `at` may be left out, and mean all. With `relative to NAME` at the end, each figure is divided by
/// that series' figure in the same column.
///
/// # Errors
/// If the words make no sense, or the record has no such series or place.
pub fn grid(record: &Record, words: &str) -> Result<String, String> {
    let (words, baseline) = match words.split_once(" relative to ") {
        Some((words, baseline)) => (words, Some(baseline.trim())),
        None => (words, None),
    };
    let (words, places) = match words.split_once(" at ") {
        Some((words, places)) => (words, Some(list(places))),
        None => (words, None),
    };
    let (path, names) = match words.split_once(':') {
        Some((path, names)) => (path, Some(list(names))),
        None => (words, None),
    };
    let (experiment, chart) = path.trim().split_once('/').ok_or_else(|| format!("'{path}' is not EXPERIMENT/CHART"))?;
    let measured =
        record.experiment(experiment).ok_or_else(|| format!("the record has no experiment '{experiment}'"))?;
    let found = measured.chart(chart);
    // Where the claim could not be judged, what was counted is true all the same.
    let is_counted = |chart: &Chart| {
        chart.series.iter().all(|series| !series.points.is_empty() && series.points.iter().all(|it| it.exact))
    };
    if !measured.outcome.verdict.is_measured() && !found.is_some_and(is_counted) {
        return Ok(format!("`{experiment}` was not measured: {}.", measured.outcome.verdict.in_words()));
    }
    let chart = found.ok_or_else(|| format!("'{experiment}' has no chart '{chart}'"))?;
    let series: Vec<&Series> = match &names {
        Some(names) => names.iter().map(|name| find(chart, name)).collect::<Result<_, _>>()?,
        None => chart.series.iter().collect(),
    };
    let places: Vec<f64> = match &places {
        Some(places) => places.iter().map(|place| value(chart, place)).collect::<Result<_, _>>()?,
        None => places_of(&series),
    };
    let baseline = baseline.map(|name| find(chart, name)).transpose()?;
    Ok(rows(chart, &series, &places, baseline))
}

fn rows(chart: &Chart, series: &[&Series], places: &[f64], baseline: Option<&Series>) -> String {
    let heads: Vec<String> = places.iter().map(|place| chart.at(*place)).collect();
    let mut table = format!(
        "| {}, by {} | {} |\n|---|{}\n",
        cell(&chart.y.label),
        cell(&chart.x.label),
        heads.join(" | "),
        "---|".repeat(places.len())
    );
    for series in series {
        let figure = |place: &f64| -> Option<String> {
            let point = series.at(*place)?;
            let base = match baseline {
                Some(baseline) => baseline.at(*place)?.median,
                None => 1.0,
            };
            Some(if baseline.is_some() { number(point.median / base) } else { with_spread(point) })
        };
        let figures: Vec<String> = places.iter().map(|place| figure(place).unwrap_or_else(|| "-".into())).collect();
        let _ = writeln!(table, "| {} | {} |", cell(&series.name), figures.join(" | "));
    }
    table
}

/// `2.02`, or `5.1 (4.9 to 5.6)` where the spread is wider than a tenth.
pub fn with_spread(point: &Point) -> String {
    let is_wide = !point.exact && point.high - point.low > 0.1 * point.median.abs();
    match is_wide {
        true => format!("{} ({} to {})", number(point.median), number(point.low), number(point.high)),
        false => number(point.median),
    }
}

/// Where and when, in one sentence.
pub fn provenance(record: &Record) -> String {
    let commit = &record.environment.commit;
    let machine = record.environment.in_short();
    let quick = if record.quick { " --quick" } else { "" };
    format!("Measured by `cargo lab measure{quick}` at commit {commit}: {machine}.")
}

fn list(words: &str) -> Vec<&str> {
    words.split(", ").map(str::trim).collect()
}

fn find<'a>(chart: &'a Chart, name: &str) -> Result<&'a Series, String> {
    chart.series(name).ok_or_else(|| {
        let names: Vec<&str> = chart.series.iter().map(|series| series.name.as_str()).collect();
        format!("the chart '{}' has no series '{name}'; it has {}", chart.name, names.join(", "))
    })
}

/// The value of a place by its name or its number.
fn value(chart: &Chart, place: &str) -> Result<f64, String> {
    let all = places_of(&chart.series.iter().collect::<Vec<_>>());
    let found = all.into_iter().find(|value| chart.at(*value) == place || place.parse() == Ok(*value));
    found.ok_or_else(|| format!("the chart '{}' has nothing at {place}", chart.name))
}

fn places_of(series: &[&Series]) -> Vec<f64> {
    let mut places: Vec<f64> = series.iter().flat_map(|series| &series.points).map(|point| point.x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    #[test]
    fn a_table_has_the_series_and_the_places_that_were_asked_for() {
        let all = grid(&record(), "syscalls/calls").unwrap();
        let wanted = "| system calls, by busy connections | 1 | 50 |\n|---|---|---|\n\
                      | epoll-lt | 3 | 2.02 (1.01 to 4.04) |\n| uring | 2 | 0.041 (0.0205 to 0.082) |\n";
        assert_eq!(all, wanted);
        let one = grid(&record(), "syscalls/calls: uring at 50").unwrap();
        assert!(one.contains("| 50 |") && !one.contains("epoll-lt") && !one.contains("| 1 |"), "{one}");
        let ratios = grid(&record(), "syscalls/calls: uring at 1 relative to epoll-lt").unwrap();
        assert!(ratios.ends_with("| uring | 0.667 |\n"), "{ratios}");
    }

    #[test]
    fn what_the_record_lacks_is_named() {
        let wrong = |words: &str| grid(&record(), words).unwrap_err();
        assert!(wrong("wait/cost").contains("no experiment 'wait'"));
        assert!(wrong("syscalls/cpu").contains("no chart 'cpu'"));
        assert!(wrong("syscalls/calls: poll").contains("it has epoll-lt, uring"));
        assert!(wrong("syscalls/calls at 7").contains("nothing at 7"));
        assert!(wrong("syscalls").contains("EXPERIMENT/CHART"));
        assert!(grid(&record(), "reads/rate").unwrap().contains("skipped: no io_uring"));
    }

    #[test]
    fn the_overview_has_a_row_for_each_experiment_and_says_where() {
        let table = overview(&record());
        assert!(table.contains("| `reads` | A ring batches. |  | skipped: no io_uring |"), "{table}");
        assert!(table.contains("EPYC, 2 cores, Linux 6.18, 2026-11-27"), "{table}");
    }
}
