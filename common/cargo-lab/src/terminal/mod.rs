//! Text for a terminal, a file or a pipe.
//!
//! Invariant: widths are counted before colours are added. A stream that is no terminal gets no control code, and no
//! stream gets a colour if NO_COLOR is set. A reader that goes away (`| head`) is no error; any other failure to write to
//! stdout is, and the exit code says so.

pub mod pager;

use std::io::{self, Write};
use std::sync::OnceLock;

use console::{Style, Term, measure_text_width};

use crate::error::LabError;

/// The width of lines where there is no terminal.
const USUAL_WIDTH: usize = 100;

/// Why stdout could not be written, if so.
static REFUSED: OnceLock<io::Error> = OnceLock::new();

/// The colours of a stream, or their absence.
#[derive(Debug, Clone, Copy)]
pub struct Palette {
    on: bool,
}

impl Palette {
    /// The colours that stdout can show.
    pub fn stdout() -> Self {
        Self { on: console::colors_enabled() }
    }

    /// The colours that stderr can show.
    pub fn stderr() -> Self {
        Self { on: console::colors_enabled_stderr() }
    }

    /// Colours, whatever the stream is.
    pub fn always() -> Self {
        Self { on: true }
    }

    /// No colours.
    pub fn plain() -> Self {
        Self { on: false }
    }

    /// Whether there are colours.
    pub fn is_on(self) -> bool {
        self.on
    }

    fn paint(self, style: Style, text: &str) -> String {
        style.force_styling(self.on).apply_to(text).to_string()
    }

    /// Something is as it should be.
    pub fn good(self, text: &str) -> String {
        self.paint(Style::new().green(), text)
    }

    /// Something is not as it should be.
    pub fn bad(self, text: &str) -> String {
        self.paint(Style::new().red().bold(), text)
    }

    /// Something was left out.
    pub fn left_out(self, text: &str) -> String {
        self.paint(Style::new().yellow(), text)
    }

    /// The part of a removed line that is not in the new one.
    pub fn bad_mark(self, text: &str) -> String {
        self.paint(Style::new().red().bold().underlined(), text)
    }

    /// A removed line.
    pub fn bad_faint(self, text: &str) -> String {
        self.paint(Style::new().red(), text)
    }

    /// The part of an added line that was not in the old one.
    pub fn good_mark(self, text: &str) -> String {
        self.paint(Style::new().green().bold().underlined(), text)
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// Less important than the text beside it.
    pub fn faint(self, text: &str) -> String {
        self.paint(Style::new().dim(), text)
    }
}

/// The columns of stdout's terminal; without a terminal, COLUMNS or a usual width.
pub fn width() -> usize {
    let term = Term::stdout();
    let seen = if term.is_term() { term.size_checked().map(|(_, columns)| usize::from(columns)) } else { None };
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    seen.or_else(told).filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    Term::stdout().is_term()
}

/// The columns that a text takes.
pub fn columns(text: &str) -> usize {
    measure_text_width(text)
}

/// The text, padded with spaces to a number of columns.
pub fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// The text, cut to a number of columns; `…` shows that it was cut.
pub fn cut(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

/// Breaks a text at its spaces into lines of at most `width` columns; a longer word stands alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let line = lines.last_mut().expect("it starts with one");
        if line.is_empty() {
            line.push_str(word);
        } else if columns(line) + 1 + columns(word) <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Wraps every line of a text. The lines after a break stand two columns deeper than the line they belong to.
pub fn wrap_lines(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words = line.trim_start_matches(' ');
        let indent = line.len() - words.len();
        // Two columns less for all lines, so that the deeper lines fit too.
        for (i, part) in wrap(words, width.saturating_sub(indent + 2).max(20)).iter().enumerate() {
            let deeper = if i == 0 { indent } else { indent + 2 };
            out.push_str(&format!("{}{part}", " ".repeat(deeper)));
            out.push('\n');
        }
    }
    out
}

/// An untrusted text without control characters, and no longer than `most` characters.
pub fn clean(text: &str, most: usize) -> String {
    let text = console::strip_ansi_codes(text);
    let mut kept: String =
        text.chars().filter(|it| !it.is_control() || matches!(it, '\n' | '\t')).take(most + 1).collect();
    if let Some((end, _)) = kept.char_indices().nth(most) {
        kept.truncate(end);
        kept.push_str(" [cut here]");
    }
    kept
}

/// `1 server`, `5 servers`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Writes to stdout. If that fails, [`stdout_is_lost`] says so at once, and [`written`] at the end.
pub fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        let _ = REFUSED.set(error);
    }
}

/// Whether stdout can no longer be written.
pub fn stdout_is_lost() -> bool {
    REFUSED.get().is_some()
}

/// An error if stdout could not be written; not if its reader went away.
pub fn written() -> Result<(), LabError> {
    match REFUSED.get() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(LabError::failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_never_in_a_word() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("extraordinarily so", 7), ["extraordinarily", "so"]);
        assert_eq!(wrap("", 7), [""]);
    }

    #[test]
    fn a_wrapped_line_keeps_its_indentation() {
        assert_eq!(wrap_lines("  cause: it read once for an edge", 26), "  cause: it read once\n    for an edge\n");
    }

    #[test]
    fn widths_are_columns_and_not_bytes() {
        assert_eq!(padded("é", 3), "é  ");
        assert_eq!(cut("epoll-edge-triggered", 8), "epoll-e…");
    }

    #[test]
    fn a_strangers_text_has_no_control_characters_and_an_end() {
        assert_eq!(clean("\u{1b}[31mred\u{7}\r\n", 10), "red\n");
        assert_eq!(clean("éabc", 2), "éa [cut here]");
    }

    #[test]
    fn without_colours_there_is_no_control_code() {
        assert_eq!(Palette::plain().bad("FAIL"), "FAIL");
    }
}
