//! Two sources beside each other: functions of one name, and in each the lines that belong together.
//!
//! Invariant: the rows of a pair have every line of both sections once, in order. What is shown as the same is the same to
//! the byte.

use std::collections::BTreeMap;
use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::functions::Source;
use super::lex::{Line, text};

/// Lines with less in common are not shown as versions of one line.
const ALIKE: f64 = 0.55;
/// The calls that wait are called after what they call, and are one another's counterparts.
const WAITS: &[&str] = &["select", "poll", "epoll_wait"];

/// A section of the left source, one of the right, or one of each.
#[derive(Debug)]
pub struct Block {
    /// The left section's place.
    pub left: Option<usize>,
    /// The right section's place.
    pub right: Option<usize>,
    /// Their lines.
    pub rows: Vec<Row>,
}

/// A row.
#[derive(Debug, PartialEq, Eq)]
pub enum Row {
    /// So many lines that are the same, from these lines on.
    Same {
        /// The first one on the left.
        left: usize,
        /// The first one on the right.
        right: usize,
        /// How many.
        count: usize,
    },
    /// What differs.
    Different(Option<Side>, Option<Side>),
}

/// A line that differs.
#[derive(Debug, PartialEq, Eq)]
pub struct Side {
    /// The line.
    pub line: usize,
    /// The tokens that the other line does not have; `None` if there is no other version of this line.
    pub marks: Option<Vec<Range<usize>>>,
}

/// All sections of both, in order.
pub fn pair(left: &Source, right: &Source) -> Vec<Block> {
    let keys = |source: &Source| source.sections.iter().map(|it| key(&it.name).to_owned()).collect::<Vec<_>>();
    let mut blocks = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &keys(left), &keys(right)) {
        if let DiffOp::Equal { old_index, new_index, len } = op {
            blocks.extend((0..len).map(|i| block(left, right, Some(old_index + i), Some(new_index + i))));
        } else {
            blocks.extend(op.old_range().map(|at| block(left, right, Some(at), None)));
            blocks.extend(op.new_range().map(|at| block(left, right, None, Some(at))));
        }
    }
    blocks
}

fn key(name: &str) -> &str {
    if WAITS.contains(&name) { "the wait" } else { name }
}

fn block(left: &Source, right: &Source, from: Option<usize>, to: Option<usize>) -> Block {
    let lines = |source: &Source, at: Option<usize>| at.map_or(0..0, |at| source.sections[at].lines.clone());
    Block { left: from, right: to, rows: rows(&left.lines, lines(left, from), &right.lines, lines(right, to)) }
}

/// Pairs the lines so that they have as much in common as can be.
fn rows(old: &[Line], left: Range<usize>, new: &[Line], right: Range<usize>) -> Vec<Row> {
    let (height, width) = (left.len(), right.len());
    let common: Vec<Vec<f64>> =
        left.clone().map(|a| right.clone().map(|b| in_common(&old[a], &new[b])).collect()).collect();
    // The best that the lines from these on can have in common.
    let mut best = vec![vec![0.0_f64; width + 1]; height + 1];
    for a in (0..height).rev() {
        for b in (0..width).rev() {
            let paired = if common[a][b] > 0.0 { common[a][b] + best[a + 1][b + 1] } else { 0.0 };
            best[a][b] = paired.max(best[a + 1][b]).max(best[a][b + 1]);
        }
    }
    let (mut a, mut b) = (0, 0);
    let (mut rows, mut alone) = (Vec::new(), (Vec::new(), Vec::new()));
    while a < height || b < width {
        let here = (left.start + a, right.start + b);
        if a < height && b < width && common[a][b] > 0.0 && best[a][b] == common[a][b] + best[a + 1][b + 1] {
            flush(&mut rows, &mut alone);
            push(&mut rows, old, here.0, new, here.1);
            (a, b) = (a + 1, b + 1);
        } else if b == width || a < height && best[a + 1][b] >= best[a][b + 1] {
            alone.0.push(here.0);
            a += 1;
        } else {
            alone.1.push(here.1);
            b += 1;
        }
    }
    flush(&mut rows, &mut alone);
    rows
}

/// Lines without a counterpart stand beside each other, for want of room.
fn flush(rows: &mut Vec<Row>, (left, right): &mut (Vec<usize>, Vec<usize>)) {
    let side = |line: &usize| Side { line: *line, marks: None };
    let height = left.len().max(right.len());
    rows.extend((0..height).map(|at| Row::Different(left.get(at).map(side), right.get(at).map(side))));
    left.clear();
    right.clear();
}

fn push(rows: &mut Vec<Row>, old: &[Line], a: usize, new: &[Line], b: usize) {
    if old[a] == new[b] {
        match rows.last_mut() {
            Some(Row::Same { count, .. }) => *count += 1,
            _ => rows.push(Row::Same { left: a, right: b, count: 1 }),
        }
        return;
    }
    let (left, right) = marks(&old[a], &new[b]);
    rows.push(Row::Different(Some(Side { line: a, marks: Some(left) }), Some(Side { line: b, marks: Some(right) })));
}

/// How much two lines have in common: nothing if they are not alike, and more the longer they are.
fn in_common(old: &Line, new: &Line) -> f64 {
    if old == new {
        return 0.5 + text(old).trim().len() as f64;
    }
    let mut seen: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let words = |line: &'_ Line| line.iter().filter(|it| !it.text.trim().is_empty()).count();
    if words(old) == 0 || words(new) == 0 {
        return 0.0;
    }
    old.iter().for_each(|it| seen.entry(it.text.trim()).or_default().0 += 1);
    new.iter().for_each(|it| seen.entry(it.text.trim()).or_default().1 += 1);
    let (mut both, mut all) = (0, 0);
    for (word, (here, there)) in seen {
        both += 2 * here.min(there) * word.len();
        all += (here + there) * word.len();
    }
    let share = both as f64 / all.max(1) as f64;
    if share < ALIKE { 0.0 } else { share * all as f64 / 2.0 }
}

/// The tokens of each line that the other one does not have.
fn marks(old: &Line, new: &Line) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let words = |line: &Line| line.iter().map(|it| it.text.clone()).collect::<Vec<_>>();
    let (old_words, new_words) = (words(old), words(new));
    let (mut left, mut right): (Vec<Range<usize>>, Vec<Range<usize>>) = Default::default();
    for op in capture_diff_slices(Algorithm::Myers, &old_words, &new_words) {
        if matches!(op, DiffOp::Equal { .. }) {
            continue;
        }
        add(&mut left, old, op.old_range());
        add(&mut right, new, op.new_range());
    }
    (left, right)
}

/// Space alone is not marked. Marks with nothing but space between them are one.
fn add(marks: &mut Vec<Range<usize>>, line: &Line, range: Range<usize>) {
    let is_space = |range: Range<usize>| line[range].iter().all(|it| it.text.trim().is_empty());
    if is_space(range.clone()) {
        return;
    }
    match marks.last_mut() {
        Some(last) if is_space(last.end..range.start) => last.end = range.end,
        _ => marks.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(old: &str, new: &str) -> Vec<Row> {
        let (left, right) = (super::super::lex::lines(old), super::super::lex::lines(new));
        rows(&left, 0..left.len(), &right, 0..right.len())
    }

    #[test]
    fn words_that_changed_within_a_line_are_marked() {
        let rows = rows_of("    epoll_ctl(&epoll, ADD, fd, IN)?;", "    epoll_ctl(&epoll, ADD, fd, IN | EDGE)?;");
        let [Row::Different(Some(left), Some(right))] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(left.marks, Some(vec![]));
        let line = &super::super::lex::lines("    epoll_ctl(&epoll, ADD, fd, IN | EDGE)?;")[0];
        let marked: Vec<String> = right.marks.iter().flatten().map(|it| text(&line[it.clone()].to_vec())).collect();
        assert_eq!(marked.iter().map(|it| it.trim()).collect::<Vec<_>>(), ["| EDGE"]);
    }

    #[test]
    fn every_line_of_both_is_there_once_and_in_order() {
        let (old, new) = ("a();\nb();\n}\nlet c = d(1);\n", "x();\na();\n}\nlet c = d(2);\n}\nend();\n");
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for row in rows_of(old, new) {
            match row {
                Row::Same { left: a, right: b, count } => {
                    left.extend(a..a + count);
                    right.extend(b..b + count);
                }
                Row::Different(a, b) => {
                    left.extend(a.map(|it| it.line));
                    right.extend(b.map(|it| it.line));
                }
            }
        }
        assert_eq!((left, right), ((0..4).collect::<Vec<_>>(), (0..6).collect::<Vec<_>>()));
    }

    #[test]
    fn functions_stand_beside_those_of_the_same_name_and_waits_beside_waits() {
        let left = Source::parse("fn a() {}\nfn note() {}\nfn b() {}\nfn poll() { 1 }\n");
        let right = Source::parse("fn a() {}\nfn b() { 2 }\nfn epoll_create() {}\nfn epoll_wait() { 1 }\n");
        let blocks = pair(&left, &right);
        let places: Vec<_> = blocks.iter().map(|it| (it.left, it.right)).collect();
        let expected = [(Some(0), Some(0)), (Some(1), None), (Some(2), Some(1)), (None, Some(2)), (Some(3), Some(3))];
        assert_eq!(places, expected);
        assert_eq!(blocks[0].rows, [Row::Same { left: 0, right: 0, count: 1 }]);
    }
}
