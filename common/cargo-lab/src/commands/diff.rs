//! `cargo lab diff`: two sources side by side, or one below the other where the terminal is too narrow for two.
//!
//! Invariant: no row is wider than the terminal, and no character of either source is left out. A long line goes on in
//! the next row of its column.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use similar::{ChangeTag, DiffOp, TextDiff};

use super::solution;
use crate::course::handout::KEPT;
use crate::course::{Course, any_check};
use crate::error::LabError;
use crate::names;
use crate::terminal::{self, Palette, pager};
use crate::workspace;

/// On a narrower terminal, two columns would break most lines of code.
const WIDE: usize = 160;
/// How many unchanged lines stand around a change.
const CONTEXT: usize = 3;
/// ` | `
const GUTTER: usize = 3;
/// Room for a line number and a space.
const NUMBER: usize = 5;

const EXAMPLES: &str = "\
Examples:
  cargo lab diff 03 04             level-triggered and edge-triggered epoll
  cargo lab diff 09                your attempt, once it passes, and the solution
  cargo lab diff 09 --starter      the starter and your attempt
  cargo lab diff 03 my_server.rs   a chapter and any file
  PAGER=cat cargo lab diff 03 04   without a pager";

/// Compare two sources: two chapters, or your attempt and the solution
///
/// They stand side by side if the terminal has 160 columns, each with its own line numbers. Otherwise they stand in one
/// column: a line with - has its number in the first source, and every other line has its number in the second. On a
/// terminal the text goes through $PAGER (or less); PAGER=cat prints it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// A chapter (03, epoll-lt) or a file; or an exercise (09), without a second argument
    left: String,
    /// A chapter or a file
    right: Option<String>,
    /// For an exercise: compare your attempt with the starter
    #[arg(long, conflicts_with = "right")]
    starter: bool,
    /// For an exercise: show the solution even before your attempt passes
    #[arg(long, conflicts_with = "right")]
    spoil: bool,
    /// Show all lines, not only those around changes
    #[arg(long)]
    full: bool,
}

/// Prints two sources.
pub fn run(args: &DiffArgs) -> Result<ExitCode, LabError> {
    let (left, right) = match &args.right {
        Some(right) => (source(&args.left)?, source(right)?),
        None => of_exercise(args)?,
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| LabError::failed(format!("read {}: {error}", workspace::shown(path))))
    };
    let (old, new) = (read(&left)?, read(&right)?);
    let (width, palette) = (terminal::width(), Palette::stdout());
    let names = (workspace::shown(&left), workspace::shown(&right));
    let layout = if width < WIDE { in_one_column } else { side_by_side };
    pager::page(&layout((&names.0, &old), (&names.1, &new), args.full, width, palette));
    Ok(ExitCode::SUCCESS)
}

/// The two sources that one exercise stands for.
fn of_exercise(args: &DiffArgs) -> Result<(PathBuf, PathBuf), LabError> {
    let mut course = Course::load(any_check)?;
    let at = course.find(&args.left).map_err(|error| match source(&args.left) {
        Ok(_) => {
            LabError::usage(format!("'{}' needs a second chapter or file beside it: cargo lab diff 03 04", args.left))
        }
        Err(_) => error,
    })?;
    let attempt = course.exercises[at].attempt();
    if !attempt.exists() {
        let number = course.exercises[at].number;
        return Err(LabError::failed(format!("there is no attempt yet: cargo lab start {number:02}")));
    }
    if args.starter {
        return Ok((course.exercises[at].file("starter.rs"), attempt));
    }
    let Some(answer) = course.exercises[at].solution() else {
        terminal::complain(&format!("{KEPT}; here are the starter and your attempt"));
        return Ok((course.exercises[at].file("starter.rs"), attempt));
    };
    solution::require_shown(&mut course, at, args.spoil)?;
    Ok((attempt, answer))
}

/// A chapter's server, or a file.
fn source(word: &str) -> Result<PathBuf, LabError> {
    if let Some(chapter) = names::chapter(word) {
        return Ok(workspace::root()?.join(chapter.folder).join("src/server.rs"));
    }
    let file = PathBuf::from(word);
    if file.is_file() {
        return Ok(file);
    }
    Err(LabError::usage(format!(
        "'{word}' is neither a chapter nor a file\n  chapters: {}\n  for your attempt beside the solution, give one \
         exercise and nothing else: cargo lab diff 08",
        names::chapter_folders()
    )))
}

/// A piece of a line, and whether it is what changed in it.
type Piece = (String, bool);

/// One line of a side: its number and its pieces.
type Line = (usize, Vec<Piece>);

/// Both texts, each under its name.
pub fn side_by_side(
    (left, old): (&str, &str),
    (right, new): (&str, &str),
    full: bool,
    width: usize,
    palette: Palette,
) -> String {
    let side = (width.saturating_sub(GUTTER) / 2).max(NUMBER + 10);
    let groups = differences(old, new, full);
    let mut out = format!(
        "{}   {}\n",
        palette.heading(&terminal::padded(&terminal::cut(left, side), side)),
        palette.heading(right)
    );
    if old == new {
        return out + "they are the same\n";
    }
    let (old, new) = (lines(old), lines(new));
    for (i, group) in groups.iter().enumerate() {
        if i > 0 {
            let _ = writeln!(out, "{}", palette.faint(&"·".repeat(2 * side + GUTTER)));
        }
        for op in group {
            rows(&mut out, op, &old, &new, side, palette);
        }
    }
    out
}

/// The differences, each with some lines around it, or all lines.
fn differences(old: &str, new: &str, full: bool) -> Vec<Vec<DiffOp>> {
    let diff = TextDiff::from_lines(old, new);
    if full { vec![diff.ops().to_vec()] } else { diff.grouped_ops(CONTEXT) }
}

/// Both texts in one column: `-` stands before a line of the left one, and `+` before a line of the right one.
pub fn in_one_column(
    (left, old): (&str, &str),
    (right, new): (&str, &str),
    full: bool,
    width: usize,
    palette: Palette,
) -> String {
    let groups = differences(old, new, full);
    let mut out = format!("{}\n{}\n", palette.heading(&format!("- {left}")), palette.heading(&format!("+ {right}")));
    if old == new {
        return out + "they are the same\n";
    }
    let (old, new) = (lines(old), lines(new));
    // A mark and a space stand before the number.
    let side = width.saturating_sub(2).max(NUMBER + 10);
    for group in &groups {
        let _ = writeln!(out, "{}", palette.faint(&"·".repeat(width)));
        for op in group {
            stacked(&mut out, op, &old, &new, side, palette);
        }
    }
    out
}

/// The lines of one difference, or of what is the same, in one column.
fn stacked(out: &mut String, op: &DiffOp, old: &[String], new: &[String], side: usize, palette: Palette) {
    let (before, after) = (op.old_range(), op.new_range());
    let whole = |line: &String| vec![(line.clone(), false)];
    let mut left: Vec<Vec<Piece>> = old[before.clone()].iter().map(whole).collect();
    let mut right: Vec<Vec<Piece>> = new[after.clone()].iter().map(whole).collect();
    if op.tag() == similar::DiffTag::Equal {
        for (i, line) in right.into_iter().enumerate() {
            put(out, ' ', column(Some((after.start + i + 1, line)), side, |text, _| text.to_owned()));
        }
        return;
    }
    for (a, b) in left.iter_mut().zip(&mut right) {
        (*a, *b) = words(&a[0].0, &b[0].0);
    }
    for (i, line) in left.into_iter().enumerate() {
        let style = |text: &str, mark| if mark { palette.bad_mark(text) } else { palette.bad_faint(text) };
        put(out, '-', column(Some((before.start + i + 1, line)), side, style));
    }
    for (i, line) in right.into_iter().enumerate() {
        let style = |text: &str, mark| if mark { palette.good_mark(text) } else { palette.good(text) };
        put(out, '+', column(Some((after.start + i + 1, line)), side, style));
    }
}

/// Adds the rows of a line, with a mark before the first.
fn put(out: &mut String, mark: char, rows: Vec<String>) {
    for (i, row) in rows.iter().enumerate() {
        let line = format!("{} {row}", if i == 0 { mark } else { ' ' });
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.replace('\t', "    ")).collect()
}

fn rows(out: &mut String, op: &DiffOp, old: &[String], new: &[String], side: usize, palette: Palette) {
    let (left, right) = (op.old_range(), op.new_range());
    for i in 0..left.len().max(right.len()) {
        let line = |range: &std::ops::Range<usize>, of: &[String]| -> Option<Line> {
            let at = range.start + i;
            range.contains(&at).then(|| (at + 1, vec![(of[at].clone(), false)]))
        };
        let (mut a, mut b) = (line(&left, old), line(&right, new));
        let (mark, changed) = match (&mut a, &mut b) {
            (Some(_), Some(_)) if op.tag() == similar::DiffTag::Equal => (" ", false),
            (Some(a), Some(b)) => {
                (a.1, b.1) = words(&a.1[0].0, &b.1[0].0);
                ("|", true)
            }
            (Some(_), None) => ("<", true),
            _ => (">", true),
        };
        let style = |text: &str, emphasis: bool, bad: bool| match (changed, emphasis, bad) {
            (false, ..) => text.to_owned(),
            (true, true, true) => palette.bad_mark(text),
            (true, true, false) => palette.good_mark(text),
            (true, false, true) => palette.bad_faint(text),
            (true, false, false) => palette.good(text),
        };
        let (a, b) = (
            column(a, side, |text, mark| style(text, mark, true)),
            column(b, side, |text, mark| style(text, mark, false)),
        );
        let empty = " ".repeat(side);
        for row in 0..a.len().max(b.len()) {
            let (left, right) = (a.get(row).unwrap_or(&empty), b.get(row).map_or("", |text| text.trim_end()));
            let line = format!("{left} {mark} {right}");
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
}

/// Two versions of a line, with the words that differ marked. Nothing is marked where the lines have little in common.
fn words(old: &str, new: &str) -> (Vec<Piece>, Vec<Piece>) {
    let diff = TextDiff::from_words(old, new);
    if diff.ratio() < 0.4 {
        return (vec![(old.into(), false)], vec![(new.into(), false)]);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for change in diff.iter_all_changes() {
        let piece = change.value().to_owned();
        match change.tag() {
            ChangeTag::Equal => {
                left.push((piece.clone(), false));
                right.push((piece, false));
            }
            ChangeTag::Delete => left.push((piece, true)),
            ChangeTag::Insert => right.push((piece, true)),
        }
    }
    (left, right)
}

/// A line as rows of exactly `side` columns. A row ends behind a space if the second half of the row has a space. The
/// rows that follow are indented a little deeper.
fn column(line: Option<Line>, side: usize, style: impl Fn(&str, bool) -> String) -> Vec<String> {
    let Some((number, pieces)) = line else { return Vec::new() };
    let room = side - NUMBER;
    let letters: Vec<(char, bool)> =
        pieces.iter().flat_map(|(text, mark)| text.chars().map(move |letter| (letter, *mark))).collect();
    let deeper = (letters.iter().take_while(|(letter, _)| *letter == ' ').count() + 4).min(room / 3);
    let columns = |(letter, _): &(char, bool)| terminal::columns(letter.encode_utf8(&mut [0; 4]));
    let (mut rows, mut rest) = (Vec::new(), &letters[..]);
    loop {
        let indent = if rows.is_empty() { 0 } else { deeper };
        let mut used = indent;
        let fits = rest.iter().take_while(|letter| {
            used += columns(letter);
            used <= room
        });
        let mut end = fits.count();
        if end < rest.len() {
            let space = rest[..end].iter().rposition(|(letter, _)| *letter == ' ').filter(|at| *at > end / 2);
            end = space.map_or(end, |at| at + 1).max(1);
        }
        let (row, more) = rest.split_at(end);
        let width: usize = indent + row.iter().map(columns).sum::<usize>();
        let text: String = row
            .chunk_by(|a, b| a.1 == b.1)
            .map(|run| style(&run.iter().map(|(letter, _)| *letter).collect::<String>(), run[0].1))
            .collect();
        let head = if rows.is_empty() { format!("{number:>4} ") } else { " ".repeat(NUMBER) };
        rows.push(format!("{head}{}{text}{}", " ".repeat(indent), " ".repeat(room.saturating_sub(width))));
        rest = more;
        if rest.is_empty() {
            return rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(old: &str, new: &str, width: usize) -> String {
        side_by_side(("left", old), ("right", new), false, width, Palette::plain())
    }

    #[test]
    fn changed_lines_stand_side_by_side_and_others_alone() {
        let shown = plain("a\nb\nc\n", "a\nB\nc\nd\n", 45);
        let rows: Vec<&str> = shown.lines().collect();
        assert_eq!(rows[1], "   1 a                     1 a");
        assert_eq!(rows[2], "   2 b                |    2 B");
        assert_eq!(rows[4].trim_start(), ">    4 d");
    }

    #[test]
    fn no_row_is_wider_than_asked_for_and_nothing_is_left_out() {
        let long = "let events = server.epoll.wait(timeout_ms).context(\"epoll_wait\")?;";
        let shown = plain(&format!("{long}\n"), &format!("{long} // changed\n"), 60);
        assert!(shown.lines().all(|line| terminal::columns(line) <= 60), "{shown}");
        let right: String =
            shown.lines().skip(1).map(|row| row.chars().skip(31 + NUMBER).collect::<String>()).collect();
        assert_eq!(right.replace(' ', ""), format!("{long} // changed").replace(' ', ""));
    }

    #[test]
    fn in_one_column_each_line_has_its_mark_and_its_number() {
        let shown = in_one_column(("left", "a\nb\nc\n"), ("right", "a\nB\nc\nd\n"), false, 60, Palette::plain());
        let rows: Vec<&str> = shown.lines().collect();
        assert_eq!(rows[..2], ["- left", "+ right"]);
        assert_eq!(rows[3..], ["     1 a", "-    2 b", "+    2 B", "     3 c", "+    4 d"]);
        let long = "let events = server.epoll.wait(timeout_ms).context(\"epoll_wait\")?;";
        let narrow = in_one_column(("l", ""), ("r", &format!("{long}\n")), false, 40, Palette::plain());
        assert!(narrow.lines().all(|line| terminal::columns(line) <= 40), "{narrow}");
        // On 100 columns, code of the usual length is not broken.
        let wide = in_one_column(("l", ""), ("r", &format!("{long}\n")), false, 100, Palette::plain());
        assert_eq!(wide.lines().last().unwrap(), format!("+    1 {long}"));
    }

    #[test]
    fn equal_texts_are_said_to_be_equal() {
        assert!(plain("a\n", "a\n", 80).ends_with("they are the same\n"));
    }

    #[test]
    fn a_word_that_is_neither_a_chapter_nor_a_file_is_refused() {
        assert_eq!(source("no-such").unwrap_err().code, 2);
        assert!(source("03").unwrap().ends_with("03-epoll-lt/src/server.rs"));
        assert!(source("epoll-et").unwrap().ends_with("04-epoll-et/src/server.rs"));
    }
}
