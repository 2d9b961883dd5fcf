//! Results as a table: a row for each check, by groups, and a column for each server.
//!
//! Invariant: the same results give the same text. Where the terminal is narrow, names are wrapped and cells stay
//! whole.

use std::fmt::Write as _;

use harness::declared::{Judged, judge};
use harness::{Check, Lack, Outcome, Report};

use crate::terminal::{self, Palette};

/// Room for `pass`, `FAIL`, `skip`, `lack`.
const CELL: usize = 4;
const GAP: usize = 2;
const INDENT: usize = 2;
const LONGEST_HEAD: usize = 14;
/// With less room for the checks' names, the servers' names are broken into lines.
const ENOUGH_FOR_NAMES: usize = 34;
const LEAST_FOR_NAMES: usize = 20;
/// With less room for the checks' names, the remaining servers get a table of their own below.
const NAMES_BESIDE_MANY: usize = 28;

/// One server's results.
#[derive(Debug, Clone, Copy)]
pub struct ResultColumn<'a> {
    /// Its head.
    pub name: &'a str,
    /// A place for each check; nothing if the check was not run.
    pub reports: &'a [Option<Report>],
    /// What the server lacks on purpose.
    pub lacks: &'static [Lack],
}

/// The heads of the columns, each as lines, with the columns' widths.
struct ColumnHeads {
    lines: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl ColumnHeads {
    fn new(columns: &[ResultColumn<'_>], room: usize) -> Self {
        let cut = |name: &str| terminal::cut(name, LONGEST_HEAD);
        let whole = Self::from_lines(columns.iter().map(|column| vec![cut(column.name)]).collect());
        if room >= whole.room() + INDENT + ENOUGH_FOR_NAMES {
            return whole;
        }
        let broken = |column: &ResultColumn<'_>| column.name.split_inclusive(['-', '_']).map(cut).collect();
        Self::from_lines(columns.iter().map(broken).collect())
    }

    fn from_lines(lines: Vec<Vec<String>>) -> Self {
        let widest =
            |lines: &Vec<String>| lines.iter().map(|line| terminal::columns(line)).max().unwrap_or(0).max(CELL);
        let widths = lines.iter().map(widest).collect();
        Self { lines, widths }
    }

    /// The columns that all the cells take.
    fn room(&self) -> usize {
        self.widths.iter().map(|width| GAP + width).sum()
    }

    fn height(&self) -> usize {
        self.lines.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// One line of the heads, counted from the top. Heads stand directly above their cells, so shorter heads start
    /// lower.
    fn line(&self, row: usize) -> String {
        let mut out = String::new();
        for (lines, width) in self.lines.iter().zip(&self.widths) {
            let part = (row + lines.len()).checked_sub(self.height()).map_or("", |at| lines[at].as_str());
            let _ = write!(out, "{}{}", " ".repeat(GAP), terminal::padded(part, *width));
        }
        out.trim_end().to_owned()
    }
}

/// The matrix, in as many tables as the width needs.
pub fn matrix(checks: &[&Check], columns: &[ResultColumn<'_>], width: usize, palette: Palette) -> String {
    let mut tables = Vec::new();
    let mut rest = columns;
    while !rest.is_empty() {
        let fits =
            |count: &usize| ColumnHeads::new(&rest[..*count], width).room() + INDENT + NAMES_BESIDE_MANY <= width;
        let (these, others) = rest.split_at((2..=rest.len()).take_while(fits).last().unwrap_or(1));
        tables.push(table(checks, these, width, palette));
        rest = others;
    }
    tables.join("\n")
}

/// One table. Each group repeats the heads, because the first heads have left the screen by then.
fn table(checks: &[&Check], columns: &[ResultColumn<'_>], width: usize, palette: Palette) -> String {
    let heads = ColumnHeads::new(columns, width);
    let room = width.saturating_sub(heads.room() + INDENT).max(LEAST_FOR_NAMES);
    // The names' column is no wider than the longest name.
    let longest = checks.iter().map(|check| terminal::columns(check.name)).max().unwrap_or(0);
    let room = room.min(longest.max(LEAST_FOR_NAMES));
    let mut out = String::new();
    for (row, check) in checks.iter().enumerate() {
        if row == 0 || checks[row - 1].group != check.group {
            for line in 0..heads.height() {
                let group = if line + 1 == heads.height() { check.group } else { "" };
                let group = palette.heading(&terminal::padded(group, INDENT + room));
                let _ = writeln!(out, "{group}{}", palette.faint(&heads.line(line)));
            }
        }
        let mut cells = String::new();
        for (column, width) in columns.iter().zip(&heads.widths) {
            let (word, painted) = cell(column.reports[row].as_ref(), column.lacks, palette);
            let _ = write!(cells, "{}{painted}{}", " ".repeat(GAP), " ".repeat(width - word.len()));
        }
        for (i, part) in name_lines(check, room).iter().enumerate() {
            let cells = if i == 0 { cells.trim_end() } else { "" };
            let _ = writeln!(
                out,
                "{}",
                format!("{}{}{cells}", " ".repeat(INDENT), terminal::padded(part, room)).trim_end()
            );
        }
    }
    out
}

/// One server's results: a line a check, with its time.
pub fn list(checks: &[&Check], column: ResultColumn<'_>, width: usize, palette: Palette) -> String {
    /// `pass   0.12 s  `
    const BEFORE: usize = INDENT + CELL + 9 + GAP;
    let room = width.saturating_sub(BEFORE).max(LEAST_FOR_NAMES);
    let mut out = String::new();
    let has_run = |group: &str| {
        let mut of_it = checks.iter().zip(column.reports).filter(|(check, _)| check.group == group);
        of_it.any(|(_, report)| report.is_some())
    };
    for (row, check) in checks.iter().enumerate() {
        // The summary counts those that were not run.
        if !has_run(check.group) {
            continue;
        }
        if row == 0 || checks[row - 1].group != check.group {
            let _ = writeln!(out, "{}", palette.heading(check.group));
        }
        let report = column.reports[row].as_ref();
        let (word, painted) = cell(report, column.lacks, palette);
        let time = report.map_or(String::new(), |report| format!("{:.2} s", report.seconds));
        for (i, part) in name_lines(check, room).iter().enumerate() {
            if i == 0 {
                let fill = " ".repeat(CELL - word.len());
                let _ = writeln!(out, "{}{painted}{fill}{time:>9}{}{part}", " ".repeat(INDENT), " ".repeat(GAP));
            } else {
                let _ = writeln!(out, "{}{part}", " ".repeat(BEFORE));
            }
        }
    }
    out
}

/// A name as a sentence. If it does not fit into one line, it goes on in the next line, two columns deeper.
fn name_lines(check: &Check, room: usize) -> Vec<String> {
    let sentence = check.name.replace('_', " ");
    if terminal::columns(&sentence) <= room {
        return vec![sentence];
    }
    let lines = terminal::wrap(&sentence, room - 2);
    lines.iter().enumerate().map(|(i, line)| if i == 0 { line.clone() } else { format!("  {line}") }).collect()
}

fn cell(report: Option<&Report>, lacks: &'static [Lack], palette: Palette) -> (&'static str, String) {
    match report.map(|report| &report.outcome) {
        Some(Outcome::Pass) => ("pass", palette.good("pass")),
        Some(Outcome::Fail(_)) if report.is_some_and(|report| judge(lacks, report) == Judged::AsDeclared) => {
            ("lack", palette.left_out("lack"))
        }
        Some(Outcome::Fail(_)) => ("FAIL", palette.bad("FAIL")),
        Some(Outcome::Skip { .. }) => ("skip", palette.left_out("skip")),
        None => ("-", palette.faint("-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checking::results::tests::{some_checks, some_reports};

    fn columns<'a>(names: [&'a str; 2], reports: &'a [Vec<Option<Report>>]) -> [ResultColumn<'a>; 2] {
        let column = |at: usize| ResultColumn { name: names[at], reports: &reports[at], lacks: &[] };
        [column(0), column(1)]
    }

    #[test]
    fn the_matrix_is_aligned_and_each_group_has_the_heads() {
        let reports = some_reports();
        let shown = matrix(&some_checks(), &columns(["select", "epoll-et"], &reports), 100, Palette::plain());
        let expected = "\
echo                                          select  epoll-et
  a byte comes back                           pass    pass
drain                                         select  epoll-et
  a burst of bytes in one wakeup is all read  skip    FAIL
  bytes and fin are echoed                    skip    skip
scale                                         select  epoll-et
  10 000 idle connections are served          skip    -
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_narrow_terminal_breaks_heads_and_names_but_no_cell() {
        let reports = some_reports();
        let shown = matrix(&some_checks(), &columns(["io-uring-min", "epoll-et"], &reports), 46, Palette::plain());
        let expected = [
            "                                io-",
            "                                uring-  epoll-",
            "echo                            min     et",
            "  a byte comes back             pass    pass",
            "                                io-",
            "                                uring-  epoll-",
            "drain                           min     et",
            "  a burst of bytes in one       skip    FAIL",
            "    wakeup is all read",
            "  bytes and fin are echoed      skip    skip",
            "                                io-",
            "                                uring-  epoll-",
            "scale                           min     et",
            "  10 000 idle connections       skip    -",
            "    are served",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
        assert!(shown.lines().all(|line| terminal::columns(line) <= 46));
    }

    #[test]
    fn servers_that_do_not_fit_beside_the_others_have_a_table_of_their_own() {
        let reports = some_reports();
        let two = columns(["thread_per_connection", "epoll-et"], &reports);
        let columns: Vec<_> = two.iter().chain(&two).copied().collect();
        let shown = matrix(&some_checks(), &columns, 60, Palette::plain());
        let heads = |line: &&str| line.starts_with("echo");
        assert_eq!(shown.lines().filter(heads).count(), 2, "{shown}");
        assert_eq!(shown.matches("a byte comes back").count(), 2, "{shown}");
        assert!(shown.lines().all(|line| terminal::columns(line) <= 60), "{shown}");
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let reports = some_reports();
        let columns = columns(["select", "epoll-et"], &reports);
        let coloured = matrix(&some_checks(), &columns, 80, Palette::always());
        assert!(coloured.contains("\u{1b}[31m"));
        let stripped = console::strip_ansi_codes(&coloured).into_owned();
        assert_eq!(stripped, matrix(&some_checks(), &columns, 80, Palette::plain()));
    }

    #[test]
    fn what_a_server_lacks_on_purpose_is_no_failure() {
        let reports = some_reports();
        let column = ResultColumn { lacks: crate::checking::results::tests::LACKS, ..columns(["a", "b"], &reports)[1] };
        let shown = list(&some_checks(), column, 60, Palette::plain());
        assert!(shown.contains("  lack   0.25 s  a burst of bytes") && !shown.contains("FAIL"), "{shown}");
    }

    #[test]
    fn one_server_is_a_list_with_times() {
        let reports = some_reports();
        let column = columns(["select", "epoll-et"], &reports)[1];
        let shown = list(&some_checks(), column, 45, Palette::plain());
        let expected = "\
echo
  pass   0.25 s  a byte comes back
drain
  FAIL   0.25 s  a burst of bytes in one
                   wakeup is all read
  skip   0.25 s  bytes and fin are echoed
";
        // The summary counts what was not run.
        assert_eq!(shown, expected);
    }
}
