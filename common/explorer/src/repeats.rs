//! A long trace, in which what repeats is shown once.
//!
//! Invariant: a row is left out only if the same row, with the same text, stands above it in the same group of rows; and it
//! is said how many are left out. A row that is `kept` is never left out.

use std::fmt;

/// Traces up to this length are shown as they are.
const SHORT: usize = 64;
/// A group that repeats has so many rows at most.
const LONGEST_GROUP: usize = 12;
/// Fewer rows than this are not worth a line that speaks of them.
const WORTH_IT: usize = 4;

/// What is shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a, T> {
    /// A row.
    Row(&'a T),
    /// Rows that repeat those above.
    Again(Again),
}

/// The rows above come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// So many of them.
    rows: usize,
    /// So often.
    times: usize,
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, times } = self;
        match rows {
            1 => write!(f, "... {times} rows like the last one ..."),
            rows => write!(f, "... {} rows: the last {rows} repeat ...", rows * times),
        }
    }
}

/// Rows, and in place of those that repeat a note.
pub fn fold<T: PartialEq>(rows: &[T], kept: impl Fn(&T) -> bool) -> Vec<Piece<'_, T>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < rows.len() {
        let rest = &rows[at..];
        let best = (1..=LONGEST_GROUP).map(|group| (group, times_more(rest, group, &kept)));
        // Of two groups that leave out as many rows, the shorter one.
        let best = best.max_by_key(|(group, times)| (group * times, std::cmp::Reverse(*group)));
        match best {
            Some((group, times)) if rows.len() > SHORT && group * times >= WORTH_IT => {
                pieces.extend(rest[..group].iter().map(Piece::Row));
                pieces.push(Piece::Again(Again { rows: group, times }));
                at += group * (times + 1);
            }
            _ => {
                pieces.push(Piece::Row(&rows[at]));
                at += 1;
            }
        }
    }
    pieces
}

/// How often the first rows come again, right behind each other.
fn times_more<T: PartialEq>(rows: &[T], group: usize, kept: &impl Fn(&T) -> bool) -> usize {
    if group > rows.len() {
        return 0;
    }
    let (first, rest) = rows.split_at(group);
    let comes_again = |chunk: &&[T]| *chunk == first && !chunk.iter().any(kept);
    rest.chunks_exact(group).take_while(comes_again).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As text, with `rows` repeated as often as said.
    fn folded(rows: &[&str]) -> Vec<String> {
        let text = |piece: Piece<'_, &str>| match piece {
            Piece::Row(row) => (*row).to_owned(),
            Piece::Again(again) => again.to_string(),
        };
        fold(rows, |row| row.starts_with(">>")).into_iter().map(text).collect()
    }

    #[test]
    fn what_repeats_is_shown_once_with_its_count() {
        let mut rows = vec!["wait"];
        rows.extend(["read = 4096", "write = 4096"].repeat(50));
        rows.extend(["read = 4096", "write = 1000"]);
        rows.extend(["read = 4096", "write = EAGAIN"].repeat(30));
        rows.push("sleeps");
        assert_eq!(
            folded(&rows),
            [
                "wait",
                "read = 4096",
                "write = 4096",
                "... 98 rows: the last 2 repeat ...",
                "read = 4096",
                "write = 1000",
                "read = 4096",
                "write = EAGAIN",
                "... 58 rows: the last 2 repeat ...",
                "sleeps"
            ]
        );
        assert_eq!(folded(&["spin"; 100]), ["spin", "... 99 rows like the last one ..."]);
    }

    #[test]
    fn short_traces_and_rows_that_differ_are_shown_whole() {
        assert_eq!(folded(&["spin"; 60]).len(), 60);
        let all: Vec<String> = (0..500).map(|at| format!("read = {at}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(folded(&all), all);
    }

    #[test]
    fn a_placed_step_is_never_left_out() {
        let mut rows = vec!["read"; 50];
        rows.push(">> send");
        rows.extend(["read"; 50]);
        rows.extend([">> send"; 6]);
        let folded = folded(&rows);
        assert_eq!(folded.iter().filter(|row| row.starts_with(">>")).count(), 7, "{folded:?}");
    }
}
