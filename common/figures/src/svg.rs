//! A chart as SVG.
//!
//! Our own, because none of the crates that draw (plotters, charming, charts-rs) gives all that these pictures need: a
//! title and a description for screen readers, names beside their lines in place of a legend, and colours as CSS
//! variables, so that one file reads on light and on dark.
//!
//! Invariant: what stands in the picture stands in the chart. The same chart gives the same bytes.

use std::fmt::Write;

use crate::chart::{Chart, Point, Series};
use crate::ruler::{Ruler, number};

// Narrow, so that the letters can still be read where the picture is 400 pixels wide.
const WIDTH: f64 = 660.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 172.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 56.0;
/// Names closer than this would overlap.
const LINE: f64 = 16.0;

/// The colours, on light and on dark: those of Okabe and Ito, which colour-blind readers tell apart, moved until each
/// has a contrast of 3 to 1 with the ground.
const STYLE: &str = "\
.figure{--ground:#fff;--ink:#1f2328;--soft:#59636e;--grid:#dfe4ea;--limit:#b3261e;\
--c0:#0072b2;--c1:#c2541a;--c2:#00815f;--c3:#a8327e;--c4:#8a6d00;--c5:#5a3fb5;--c6:#4d4d4d;--c7:#0b7fa8;--c8:#97400f;--c9:#3f6b1f}\
@media (prefers-color-scheme:dark){.figure{--ground:#0d1117;--ink:#e6edf3;--soft:#9aa4af;--grid:#2b323b;--limit:#ff8a80;\
--c0:#56b4e9;--c1:#f0964b;--c2:#2fc99c;--c3:#e584c0;--c4:#e0c040;--c5:#ab9bf2;--c6:#b8b8b8;--c7:#5fd0f0;--c8:#e8a070;--c9:#a5cf7c}}\
.figure text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;font-size:13px;fill:var(--ink)}\
.figure .title{font-size:16px;font-weight:600}.figure .soft{fill:var(--soft);font-size:12px}\
.figure .halo{fill:none;stroke:var(--ground);stroke-width:4px;stroke-linejoin:round}\
.figure .grid{stroke:var(--grid);stroke-width:1}.figure .axis{stroke:var(--soft);stroke-width:1}\
.figure .ink0{fill:var(--c0)}.figure .ink1{fill:var(--c1)}.figure .ink2{fill:var(--c2)}.figure .ink3{fill:var(--c3)}.figure .ink4{fill:var(--c4)}\
.figure .ink5{fill:var(--c5)}.figure .ink6{fill:var(--c6)}.figure .ink7{fill:var(--c7)}.figure .ink8{fill:var(--c8)}.figure .ink9{fill:var(--c9)}\
.figure .limit{stroke:var(--limit);stroke-width:1.5;stroke-dasharray:2 4}.figure .limit-name{fill:var(--limit);font-size:12px}";

/// The chapters keep their colours in all pictures.
const USUAL: [&str; 7] = ["select", "poll", "epoll-lt", "epoll-et", "kqueue", "uring", "thread_per_connection"];

/// A picture in the making.
struct Drawing<'a> {
    chart: &'a Chart,
    x: Ruler,
    y: Ruler,
    /// In a page that has the style and the figures elsewhere.
    inside: bool,
    out: String,
}

/// The style of all pictures, for a page that has many of them. The dark palette is for screens only.
pub fn style() -> String {
    let inside = ".figure .rimmed{paint-order:stroke;stroke:var(--ground);stroke-width:4px;stroke-linejoin:round}\
                  .figure .dots{stroke-width:7px;stroke-linecap:round}.figure .squares{fill:var(--ground)}";
    STYLE.replace("@media (prefers", "@media screen and (prefers") + inside
}

/// As [`draw`], for a page that has [`style`] and a table of the figures. It is a third as large: without the style, the
/// description and the value in words at each point, all of which the page has elsewhere.
pub fn draw_inside(chart: &Chart, reference: Option<&Chart>, caption: &str) -> String {
    drawn(chart, reference, caption, true)
}

/// The picture of a chart. If there is a `reference`, its points are hollow squares on broken lines; the others are full
/// circles. `caption` stands below the title: where it was measured.
pub fn draw(chart: &Chart, reference: Option<&Chart>, caption: &str) -> String {
    drawn(chart, reference, caption, false)
}

fn drawn(chart: &Chart, reference: Option<&Chart>, caption: &str, inside: bool) -> String {
    let charts = || std::iter::once(chart).chain(reference);
    let points = || charts().flat_map(|it| &it.series).flat_map(|series| &series.points);
    let limits = |x: bool| chart.limits.iter().filter_map(move |limit| if x { limit.x } else { limit.y });
    let heights = points().flat_map(|point| [point.low, point.median, point.high]);
    // A spread down to 0 would take a decade of its own; the median is what counts.
    let heights = heights.filter(|height| *height > 0.0 || points().any(|point| point.median <= 0.0));
    let (xs, ys): (Vec<f64>, Vec<f64>) =
        (points().map(|point| point.x).chain(limits(true)).collect(), heights.chain(limits(false)).collect());
    let x = Ruler::over(&chart.x.scale, xs.iter().copied());
    let y = Ruler::over(&chart.y.scale, ys.iter().copied());
    let mut drawing = Drawing { chart, x, y, inside, out: String::new() };
    drawing.head(caption);
    drawing.axes();
    drawing.limits();
    if let Some(reference) = reference {
        for (index, series) in reference.series.iter().enumerate() {
            drawing.line(index, series, true);
        }
    }
    for (index, series) in chart.series.iter().enumerate() {
        drawing.line(index, series, false);
    }
    drawing.names();
    drawing.out + "</svg>\n"
}

impl Drawing<'_> {
    fn left(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
    }

    fn top(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(y) * (HEIGHT - TOP - BOTTOM)
    }

    /// Where a point of this series stands: side by side, where the places are names.
    fn place(&self, index: usize, point: &Point) -> f64 {
        let all = self.chart.series.len();
        let slot = self.x.slot() * (WIDTH - LEFT - RIGHT) * 0.7;
        let aside = if self.x.is_named() { slot * ((index as f64 + 0.5) / all as f64 - 0.5) } else { 0.0 };
        self.left(point.x) + aside
    }

    fn head(&mut self, caption: &str) {
        let (name, title) = (escaped(&self.chart.name), escaped(&self.chart.title));
        let (what, caption) = (escaped(&described(self.chart)), escaped(caption));
        if self.inside {
            let _ = write!(
                self.out,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
                 aria-labelledby=\"{name}-title\"><title id=\"{name}-title\">{title}</title>\
                 <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"var(--ground)\"/>\
                 <text class=\"title\" x=\"14\" y=\"25\">{title}</text><text class=\"soft\" x=\"14\" y=\"44\">{caption}</text>"
            );
            return;
        }
        let _ = write!(
            self.out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"{name}-title {name}-desc\">\n<title id=\"{name}-title\">{title}</title>\n\
             <desc id=\"{name}-desc\">{what} {caption}</desc>\n<style>{STYLE}</style>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"var(--ground)\"/>\n\
             <text class=\"title\" x=\"14\" y=\"25\">{title}</text>\n<text class=\"soft\" x=\"14\" y=\"44\">{caption}</text>\n"
        );
    }

    fn axes(&mut self) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (share, text) in self.y.ticks(7) {
            let y = bottom - share * (bottom - TOP);
            let _ = writeln!(
                self.out,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\
                 <text class=\"soft\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
                LEFT - 7.0,
                y + 4.0
            );
        }
        for (share, text) in self.x.ticks(7) {
            let x = LEFT + share * (right - LEFT);
            let _ = writeln!(
                self.out,
                "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"soft\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 5.0,
                bottom + 19.0,
                escaped(&text)
            );
        }
        let (x, y) = (escaped(&self.chart.x.label), escaped(&self.chart.y.label));
        let _ = writeln!(
            self.out,
            "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x}</text>\
             <text transform=\"translate(17 {:.1}) rotate(-90)\" text-anchor=\"middle\">{y}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 14.0,
            (TOP + bottom) / 2.0
        );
    }

    fn limits(&mut self) {
        let mut lines = 0.0;
        for limit in &self.chart.limits {
            let name = escaped(&limit.label);
            let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
            if let Some(x) = limit.x.map(|x| self.left(x)) {
                // Its name is on the side that has room.
                let (anchor, at) = if x > (LEFT + right) / 2.0 { ("end", x - 5.0) } else { ("start", x + 5.0) };
                let _ = writeln!(
                    self.out,
                    "<line class=\"limit\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>",
                );
                // One below the other, because they may be near each other.
                self.haloed("limit-name", anchor, (at, TOP + 10.0 + lines * LINE), &name);
                lines += 1.0;
            }
            if let Some(y) = limit.y.map(|y| self.top(y)) {
                let _ = writeln!(
                    self.out,
                    "<line class=\"limit\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>",
                );
                self.haloed("limit-name", "start", (LEFT + 5.0, y - 5.0), &name);
            }
        }
    }

    fn line(&mut self, index: usize, series: &Series, reference: bool) {
        let index = self.chart.series.iter().position(|it| it.name == series.name).unwrap_or(index);
        let colour = colour(&series.name, index);
        let _ = writeln!(self.out, "<g fill=\"{colour}\" stroke=\"{colour}\" stroke-width=\"1.6\">");
        if !self.x.is_named() && series.points.len() > 1 {
            let places: Vec<String> =
                series.points.iter().map(|it| format!("{:.1},{:.1}", self.left(it.x), self.top(it.median))).collect();
            let broken = if reference { " stroke-dasharray=\"5 4\" opacity=\"0.75\"" } else { "" };
            let _ = writeln!(self.out, "<polyline fill=\"none\"{broken} points=\"{}\"/>", places.join(" "));
        }
        if self.inside {
            self.points_inside(index, series, reference);
            self.out.push_str("</g>");
            return;
        }
        for point in &series.points {
            let (x, y) = (self.place(index, point), self.top(point.median));
            let (low, high) = (self.top(point.low), self.top(point.high));
            if (low - high).abs() > 1.0 {
                let _ = write!(self.out, "<line x1=\"{x:.1}\" y1=\"{low:.1}\" x2=\"{x:.1}\" y2=\"{high:.1}\"/>");
            }
            let value = number(point.median);
            let told = format!("<title>{}: {value}</title>", escaped(&series.name));
            let _ = if reference {
                let (x, y) = (x - 4.0, y - 4.0);
                writeln!(
                    self.out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"8\" height=\"8\" fill=\"var(--ground)\">{told}</rect>"
                )
            } else {
                writeln!(self.out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\">{told}</circle>")
            };
        }
        self.out.push_str("</g>\n");
    }

    /// All points as one path of dots, or of hollow squares, and all spreads as another.
    fn points_inside(&mut self, index: usize, series: &Series, reference: bool) {
        let (mut dots, mut spreads) = (String::new(), String::new());
        for point in &series.points {
            let (x, y) = (self.place(index, point), self.top(point.median));
            let (low, high) = (self.top(point.low), self.top(point.high));
            if (low - high).abs() > 1.0 {
                let _ = write!(spreads, "M{x:.0} {low:.0}V{high:.0}");
            }
            let _ = match reference {
                true => write!(dots, "M{:.0} {:.0}h8v8h-8z", x - 4.0, y - 4.0),
                false => write!(dots, "M{x:.0} {y:.0}h0"),
            };
        }
        if !spreads.is_empty() {
            let _ = write!(self.out, "<path d=\"{spreads}\"/>");
        }
        let class = if reference { "squares" } else { "dots" };
        let _ = write!(self.out, "<path class=\"{class}\" d=\"{dots}\"/>");
    }

    /// The names: beside the last point, or above it where the line ends in the middle.
    fn names(&mut self) {
        let right = WIDTH - RIGHT;
        let mut beside: Vec<(usize, f64, f64)> = Vec::new();
        let mut above: Vec<(f64, f64)> = Vec::new();
        for (index, series) in self.chart.series.iter().enumerate() {
            let Some(last) = series.points.last() else { continue };
            let (x, y) = (self.place(index, last), self.top(last.median));
            if self.x.is_named() || x > LEFT + (right - LEFT) * 0.85 {
                beside.push((index, x, y));
            } else {
                let is_taken =
                    |y: f64| above.iter().any(|(at, taken)| (at - x).abs() < RIGHT && (taken - y).abs() < LINE);
                let mut height = y - 8.0;
                while is_taken(height) {
                    height += LINE;
                }
                above.push((x, height));
                self.name(index, x + 7.0, height);
            }
        }
        beside.sort_by(|one, other| one.2.total_cmp(&other.2));
        let heights = spread(&beside.iter().map(|(_, _, y)| *y).collect::<Vec<f64>>(), TOP, HEIGHT - BOTTOM + 8.0);
        for ((index, x, y), height) in beside.into_iter().zip(heights) {
            let colour = colour(&self.chart.series[index].name, index);
            let _ = writeln!(
                self.out,
                "<path d=\"M{:.1} {y:.1}L{:.1} {height:.1}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"0.8\" \
                 stroke-dasharray=\"1 2\"/>",
                x + 5.0,
                right + 13.0
            );
            self.name(index, right + 16.0, height + 4.0);
        }
    }

    fn name(&mut self, index: usize, x: f64, y: f64) {
        let series = &self.chart.series[index];
        let class = format!("ink{}", ink(&series.name, index));
        self.haloed(&class, "start", (x, y), &escaped(&series.name));
    }

    /// Text that may stand on lines: twice, first as a rim in the ground's colour. (One text with paint-order would do in a
    /// browser, and is blotted out by other programs.)
    fn haloed(&mut self, class: &str, anchor: &str, (x, y): (f64, f64), text: &str) {
        if self.inside {
            let anchor = if anchor == "start" { String::new() } else { format!(" text-anchor=\"{anchor}\"") };
            let _ = write!(self.out, "<text class=\"{class} rimmed\"{anchor} x=\"{x:.0}\" y=\"{y:.0}\">{text}</text>");
            return;
        }
        let place = format!("text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\"");
        let _ = writeln!(
            self.out,
            "<text class=\"halo\" aria-hidden=\"true\" {place}>{text}</text><text class=\"{class}\" {place}>{text}</text>"
        );
    }
}

fn colour(name: &str, index: usize) -> String {
    format!("var(--c{})", ink(name, index))
}

/// The number of a series' colour.
fn ink(name: &str, index: usize) -> usize {
    let usual = USUAL.iter().position(|usual| *usual == name);
    usual.unwrap_or((index + if index < 3 { 7 } else { 0 }) % 10)
}

/// Heights at least a line apart, as near to the wanted ones as it goes, between `top` and `bottom`.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut heights: Vec<f64> = Vec::new();
    for (at, want) in wanted.iter().enumerate() {
        let below = heights.last().map_or(top, |last| last + LINE);
        // Those behind need room too.
        let most = bottom - (wanted.len() - 1 - at) as f64 * LINE;
        heights.push(want.max(below).min(most.max(below)));
    }
    // Downwards they were moved alone; half of that is taken back where there is room above.
    for at in (0..heights.len()).rev() {
        let above = if at == 0 { top } else { heights[at - 1] + LINE };
        let back = (heights[at] - wanted[at]).max(0.0) / 2.0;
        heights[at] = (heights[at] - back).max(above);
    }
    heights
}

/// The picture in words.
fn described(chart: &Chart) -> String {
    let mut out = format!("{} over {}.", chart.y.label, chart.x.label);
    for Series { name, points } in &chart.series {
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let at = |point: &Point| format!("{} at {}", number(point.median), chart.at(point.x));
            let _ = match points.len() {
                1 => write!(out, " {name}: {}.", at(first)),
                _ => write!(out, " {name}: from {} to {}.", at(first), at(last)),
            };
        }
    }
    for limit in &chart.limits {
        let at = limit.x.or(limit.y).map_or(String::new(), |at| format!(" at {}", number(at)));
        let _ = write!(out, " A line marks {}{at}.", limit.label);
    }
    out
}

/// Text inside XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Axis, Limit};

    fn chart() -> Chart {
        let series = |name: &str, points: &[(f64, f64)]| Series {
            name: name.into(),
            points: points
                .iter()
                .map(|(x, y)| Point { x: *x, median: *y, low: y * 0.9, high: y * 1.1, exact: false })
                .collect(),
        };
        Chart {
            name: "wait".into(),
            title: "One wait <of> many & \"few\"".into(),
            x: Axis::log("idle descriptors"),
            y: Axis::log("CPU time (µs)"),
            series: vec![
                series("select", &[(0.0, 1.0), (1000.0, 10.0)]),
                series("epoll-lt", &[(10.0, 1.0), (1e6, 1.1)]),
                series("epoll-et", &[(10.0, 1.0), (1e6, 1.1)]),
            ],
            limits: vec![Limit::at_x("FD_SETSIZE", 1024.0), Limit::at_y("a tick", 5.0)],
        }
    }

    #[test]
    fn the_picture_is_well_formed_xml_with_a_title_and_a_description() {
        let chart = chart();
        for picture in [draw(&chart, None, "here"), draw(&chart, Some(&chart), "A <b> & \"c\"")] {
            let document = roxmltree::Document::parse(&picture).expect("well-formed");
            let named = |name: &'static str| document.descendants().filter(move |it| it.has_tag_name(name));
            assert_eq!(named("title").next().and_then(|it| it.text()), Some(chart.title.as_str()));
            let words = named("desc").next().and_then(|it| it.text()).expect("a description");
            assert!(words.contains("epoll-lt: from 1 at 10 to 1.1 at 1 M") && words.contains("FD_SETSIZE"), "{words}");
            let names: Vec<&str> = named("text").filter_map(|it| it.text()).collect();
            assert!(chart.series.iter().all(|series| names.contains(&series.name.as_str())), "{names:?}");
            assert!(!picture.contains("NaN") && !picture.contains("inf"));
        }
    }

    #[test]
    fn ours_and_the_reference_differ_in_shape() {
        let chart = chart();
        let count = |picture: &str, what: &str| picture.matches(what).count();
        let alone = draw(&chart, None, "");
        assert_eq!((count(&alone, "<circle"), count(&alone, "<rect")), (6, 1));
        let both = draw(&chart, Some(&chart), "");
        assert_eq!((count(&both, "<circle"), count(&both, "<rect")), (6, 7));
    }

    #[test]
    fn names_never_overlap_and_stay_in_the_picture() {
        for wanted in [vec![100.0; 7], vec![50.0, 51.0, 300.0, 301.0], vec![380.0; 5], vec![]] {
            let heights = spread(&wanted, TOP, HEIGHT - BOTTOM);
            assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= LINE - 1e-6), "{heights:?}");
            assert!(heights.iter().all(|height| (TOP - 1e-6..=HEIGHT).contains(height)), "{heights:?}");
        }
    }

    #[test]
    fn every_colour_has_a_value_on_light_and_on_dark() {
        for index in 0..10 {
            assert_eq!(STYLE.matches(&format!("--c{index}:")).count(), 2);
        }
    }
}
