//! A record as one HTML file: every picture with its table, nothing loaded from elsewhere.
//!
//! Invariant: the file has no script and no link to another file, so it reads the same on any machine and in ten years.

use std::fmt::Write;

use crate::chart::Chart;
use crate::markdown::with_spread;
use crate::record::{Environment, Measured, Record};
use crate::svg::{self, escaped};

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--text:#1f2328;--edge:#d0d7de;--quiet:#59636e}\
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--text:#e6edf3;--edge:#30363d;--quiet:#9aa4af}}\
body{background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
th,td{border:1px solid var(--edge);padding:.25rem .6rem;text-align:left;vertical-align:top}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem}\
.charts svg{width:100%;height:auto}.quiet{color:var(--quiet)}";

/// The file. If there is a `reference`, its figures stand beside, and its points in the pictures.
pub fn page(record: &Record, reference: Option<&Record>) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>What event loops cost</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>What event loops cost</h1>\n"
    );
    if let Some(why) = &record.interrupted {
        let _ = writeln!(out, "<p><strong>This run ended early: {}.</strong></p>", escaped(why));
    }
    overview(&mut out, record, reference);
    for measured in &record.experiments {
        section(&mut out, measured, record, reference);
    }
    environment(&mut out, &record.environment);
    out + "</body>\n</html>\n"
}

fn overview(out: &mut String, record: &Record, reference: Option<&Record>) {
    out.push_str(
        "<div class=\"wide\"><table>\n<tr><th>experiment</th><th>claim</th><th>measured here</th>\
         <th>reference machine</th><th>verdict</th></tr>\n",
    );
    for Measured { name, claim, outcome, .. } in &record.experiments {
        let theirs = reference.and_then(|reference| reference.experiment(name)).map_or("", |it| &it.outcome.found);
        let verdict = outcome.verdict.in_words();
        let _ = writeln!(
            out,
            "<tr><td><a href=\"#{name}\">{name}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(claim),
            escaped(&outcome.found),
            escaped(theirs),
            escaped(&verdict)
        );
    }
    out.push_str("</table></div>\n");
}

fn section(out: &mut String, measured: &Measured, record: &Record, reference: Option<&Record>) {
    let Measured { name, claim, outcome, repeated, disturbed, seconds } = measured;
    let (claim, verdict, found) = (escaped(claim), escaped(&outcome.verdict.in_words()), escaped(&outcome.found));
    let _ = writeln!(out, "<h2 id=\"{name}\">{name}</h2>\n<p>{claim} <strong>{verdict}</strong></p>\n<p>{found}</p>");
    out.push_str("<div class=\"charts\">\n");
    let caption = record.environment.in_short();
    let theirs = reference.and_then(|reference| reference.experiment(name));
    for chart in &outcome.charts {
        let other = theirs.and_then(|theirs| theirs.chart(&chart.name));
        // The ids in a page are unique.
        let own = Chart { name: format!("{name}-{}", chart.name), ..chart.clone() };
        let _ = writeln!(out, "<figure>{}</figure>", svg::draw(&own, other, &caption));
    }
    out.push_str("</div>\n");
    for chart in &outcome.charts {
        table(out, chart);
    }
    for note in &outcome.notes {
        let _ = writeln!(out, "<p class=\"quiet\">{}</p>", escaped(note));
    }
    let _ = writeln!(
        out,
        "<p class=\"quiet\">{seconds:.0} s; {repeated} runs that a neighbour disturbed were repeated, {disturbed} \
         disturbed ones count for want of better ones.</p>"
    );
}

fn table(out: &mut String, chart: &Chart) {
    let mut places: Vec<f64> = chart.series.iter().flat_map(|it| &it.points).map(|point| point.x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let title = escaped(&chart.title);
    let _ = write!(out, "<details><summary>{title}: the figures</summary><div class=\"wide\"><table>\n<tr><th>");
    let _ = write!(out, "{} by {}</th>", escaped(&chart.y.label), escaped(&chart.x.label));
    for place in &places {
        let _ = write!(out, "<th>{}</th>", escaped(&chart.at(*place)));
    }
    out.push_str("</tr>\n");
    for series in &chart.series {
        let _ = write!(out, "<tr><th>{}</th>", escaped(&series.name));
        for place in &places {
            let _ = write!(out, "<td>{}</td>", series.at(*place).map_or(String::new(), with_spread));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div></details>\n");
}

fn environment(out: &mut String, environment: &Environment) {
    let Environment { kernel, cpu, cores, mitigations, limits, load_before, load_after, date, commit } = environment;
    out.push_str("<h2>The machine</h2>\n<div class=\"wide\"><table>\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escaped(name), escaped(value));
    };
    row("kernel", kernel);
    row("processor", cpu);
    row("cores", &cores.to_string());
    row("load before and after", &format!("{load_before:.2}, {load_after:.2}"));
    row("date (UTC)", date);
    row("commit", commit);
    limits.iter().for_each(|(name, value)| row(name, value));
    mitigations.iter().for_each(|(name, value)| row(name, value));
    out.push_str("</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    #[test]
    fn the_page_is_well_formed_and_needs_no_other_file() {
        let record = record();
        let page = page(&record, Some(&record));
        // HTML's void elements are the only ones that XML wants closed.
        let xml = page.replace("<!doctype html>\n", "").replace("<meta charset=\"utf-8\">", "");
        let xml = xml.replace("<meta name=\"viewport\" content=\"width=device-width\">", "");
        let document = roxmltree::Document::parse(&xml).expect("well-formed");
        let pictures = document.descendants().filter(|it| it.tag_name().name() == "svg").count();
        assert_eq!(pictures, 1);
        let links = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains("http") && !page.contains("<script") && !page.contains("@import"));
        let ids: Vec<&str> = document.descendants().filter_map(|it| it.attribute("id")).collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len());
    }

    #[test]
    fn a_run_that_ended_early_says_so() {
        let record = Record { interrupted: Some("Ctrl-C".into()), ..record() };
        assert!(page(&record, None).contains("ended early: Ctrl-C"));
    }
}
