//! A chart in a terminal.
//!
//! Our own, because the crates that draw with braille characters (textplots, ratatui's canvas) have neither axes by
//! powers of ten nor names beside their lines.
//!
//! Invariant: no line is wider than asked for, and there is no control code: colours are added by who prints, if at all.

use std::fmt::Write;

use crate::chart::Chart;
use crate::ruler::{Ruler, number};

const ROWS: usize = 14;
/// Dots in one braille character.
const DOTS: (usize, usize) = (2, 4);
/// Letters of the series where only ASCII may be used, and beside the names.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// A field of dots with the letters of the points on it.
struct Canvas {
    columns: usize,
    dots: Vec<u8>,
    letters: Vec<Option<char>>,
}

impl Canvas {
    fn new(columns: usize) -> Self {
        Self { columns, dots: vec![0; columns * ROWS], letters: vec![None; columns * ROWS] }
    }

    /// Sets the dot at these shares of width and height.
    fn dot(&mut self, x: f64, y: f64) {
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        let across = ((x * (self.columns * DOTS.0 - 1) as f64).round() as usize).min(self.columns * DOTS.0 - 1);
        let down = (((1.0 - y) * (ROWS * DOTS.1 - 1) as f64).round() as usize).min(ROWS * DOTS.1 - 1);
        self.dots[down / DOTS.1 * self.columns + across / DOTS.0] |= BITS[across % DOTS.0][down % DOTS.1];
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        let steps = self.columns * DOTS.0 + ROWS * DOTS.1;
        for step in 0..=steps {
            let share = step as f64 / steps as f64;
            self.dot(from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
        }
    }

    fn letter(&mut self, x: f64, y: f64, letter: char) {
        let across = ((x * (self.columns - 1) as f64).round() as usize).min(self.columns - 1);
        let down = (((1.0 - y) * (ROWS - 1) as f64).round() as usize).min(ROWS - 1);
        self.letters[down * self.columns + across] = Some(letter);
    }

    /// One row; in ASCII the lines between the points are left out.
    fn row(&self, row: usize, plain: bool) -> String {
        let cells = row * self.columns..(row + 1) * self.columns;
        let shown = cells.map(|cell| match (self.letters[cell], self.dots[cell]) {
            (Some(letter), _) => letter,
            (None, 0) => ' ',
            (None, _) if plain => '.',
            (None, dots) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
        });
        shown.collect()
    }
}

/// The chart in lines of at most `width` columns. With `plain`, only ASCII is used.
pub fn draw(chart: &Chart, width: usize, plain: bool) -> String {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    if points().next().is_none() {
        return String::new();
    }
    let limits = |x: bool| chart.limits.iter().filter_map(move |limit| if x { limit.x } else { limit.y });
    let xs: Vec<f64> = points().map(|point| point.x).chain(limits(true)).collect();
    let ys: Vec<f64> = points().map(|point| point.median).chain(limits(false)).collect();
    let (x, y) = (Ruler::over(&chart.x.scale, xs.iter().copied()), Ruler::over(&chart.y.scale, ys.iter().copied()));
    let ticks = y.ticks(5);
    let margin = ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0).max(4);
    let columns = width.clamp(40, 100) - margin - 3;
    let canvas = drawn(chart, &x, &y, columns);
    let ascii = |text: &str| if plain { text.replace('µ', "u") } else { text.to_owned() };
    let (wall, corner, floor) = if plain { ('|', '+', '-') } else { ('│', '└', '─') };
    let mut out = format!("{}\n", cut(&ascii(&chart.y.label), width));
    for row in 0..ROWS {
        let beside = ticks.iter().find(|(share, _)| row_of(*share) == row).map_or("", |(_, text)| text);
        let _ = writeln!(out, "{beside:>margin$} {wall}{}", canvas.row(row, plain).trim_end());
    }
    let _ = writeln!(out, "{:margin$} {corner}{}", "", floor.to_string().repeat(columns));
    let _ = writeln!(out, "{:margin$}  {}", "", below(&x.ticks(6), columns, &ascii(&chart.x.label)));
    for (index, series) in chart.series.iter().enumerate() {
        let Some((first, last)) = series.points.first().zip(series.points.last()) else { continue };
        let at = |point: &crate::Point| format!("{} at {}", number(point.median), chart.at(point.x));
        let range = if series.points.len() > 1 { format!("{}, {}", at(first), at(last)) } else { at(first) };
        let _ = writeln!(out, "{}", cut(&format!("{:margin$}  {} {}: {range}", "", letter(index), series.name), width));
    }
    for limit in &chart.limits {
        let at = limit.x.or(limit.y).map(number).unwrap_or_default();
        let _ = writeln!(out, "{}", cut(&format!("{:margin$}  . {} at {at}", "", limit.label), width));
    }
    out
}

fn drawn(chart: &Chart, x: &Ruler, y: &Ruler, columns: usize) -> Canvas {
    let mut canvas = Canvas::new(columns);
    for limit in &chart.limits {
        // Broken lines.
        for step in 0..ROWS * 2 {
            if let Some(at) = limit.x {
                canvas.dot(x.share(at), step as f64 / (ROWS * 2) as f64);
            }
        }
        for step in 0..columns {
            if let Some(at) = limit.y {
                canvas.dot(step as f64 / columns as f64, y.share(at));
            }
        }
    }
    for series in &chart.series {
        let places: Vec<(f64, f64)> = series.points.iter().map(|it| (x.share(it.x), y.share(it.median))).collect();
        if !x.is_named() {
            places.windows(2).for_each(|pair| canvas.line(pair[0], pair[1]));
        }
    }
    for (index, series) in chart.series.iter().enumerate() {
        let aside =
            if x.is_named() { x.slot() * 0.7 * ((index as f64 + 0.5) / chart.series.len() as f64 - 0.5) } else { 0.0 };
        for point in &series.points {
            canvas.letter(x.share(point.x) + aside, y.share(point.median), letter(index));
        }
    }
    canvas
}

fn letter(index: usize) -> char {
    char::from(LETTERS[index % LETTERS.len()])
}

fn row_of(share: f64) -> usize {
    ((1.0 - share) * (ROWS - 1) as f64).round() as usize
}

/// The values below the axis, and its label behind them or on a line of its own.
fn below(ticks: &[(f64, String)], columns: usize, label: &str) -> String {
    let mut line = String::new();
    for (share, text) in ticks {
        let length = text.chars().count();
        let at =
            ((share * (columns - 1) as f64) as usize).saturating_sub(length / 2).min(columns.saturating_sub(length));
        let taken = line.chars().count();
        if taken == 0 || at > taken {
            line += &" ".repeat(at - taken);
            line += text;
        }
    }
    format!("{line}\n{}", cut(&format!("{label:>columns$}"), columns + 8))
}

/// The first columns of a text.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Axis, Limit, Point, Series};

    fn chart() -> Chart {
        let points = |factor: f64| (1..=6).map(|i| Point::exact(10f64.powi(i), factor * 10f64.powi(i))).collect();
        Chart {
            name: "wait".into(),
            title: "waits".into(),
            x: Axis::log("idle descriptors"),
            y: Axis::log("CPU time of one wait (µs)"),
            series: vec![
                Series { name: "poll".into(), points: points(0.05) },
                Series { name: "epoll".into(), points: vec![Point::exact(0.0, 1.0), Point::exact(1e6, 1.0)] },
            ],
            limits: vec![Limit::at_x("FD_SETSIZE", 1024.0)],
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [40, 60, 80, 200] {
            for plain in [false, true] {
                let drawn = draw(&chart(), width, plain);
                assert!(drawn.lines().all(|line| line.chars().count() <= width), "{width}:\n{drawn}");
                assert!(!plain || drawn.is_ascii(), "{drawn}");
                assert!(!drawn.contains('\u{1b}'));
            }
        }
    }

    #[test]
    fn a_plot_has_the_values_the_names_and_the_limits() {
        let drawn = draw(&chart(), 80, true);
        assert!(drawn.contains("a poll: 0.5 at 10, 50,000 at 1 M"), "{drawn}");
        assert!(drawn.contains("b epoll") && drawn.contains(". FD_SETSIZE at 1,024"), "{drawn}");
        assert!(drawn.contains("idle descriptors") && drawn.contains("CPU time of one wait (us)"), "{drawn}");
    }
}
