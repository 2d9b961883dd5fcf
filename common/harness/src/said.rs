//! What a server wrote to stderr before it ended, or fell silent: its last lines, and the line of source that a panic
//! names.
//!
//! Invariant: a line is shown escaped and cut, as it came otherwise. A server that is not trusted (a grader's) has no
//! line of a file shown: it could name any file.

use std::fs;

use observe::text::shown;

use crate::rerun;
use crate::subject::Source;

/// How much of a line of source is shown.
const LINE: usize = 160;

/// Where a panic happened, as Rust's runtime writes it: `panicked at FILE:LINE:COLUMN:`.
struct Place<'a> {
    file: &'a str,
    line: usize,
}

impl<'a> Place<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let place = text.split_once("panicked at ")?.1.trim_end_matches(':');
        let (place, column) = place.rsplit_once(':')?;
        let (file, line) = place.rsplit_once(':')?;
        column.parse::<usize>().ok()?;
        Some(Self { file, line: line.parse().ok()? })
    }
}

/// The lines, with the file's own path where the compiler knows it by another, and with the line of source behind the
/// place of a panic.
pub(crate) fn lines(said: Vec<String>, source: Option<&Source>) -> Vec<String> {
    let mut lines = Vec::new();
    for line in said {
        let renamed = match source {
            Some(source) => line.replace(&source.named, &source.shown),
            None => line.clone(),
        };
        let code = Place::of(&line).and_then(|place| code_at(&place, source));
        lines.push(renamed);
        lines.extend(code);
    }
    lines
}

/// `  101 |     let connection = &mut self.connections[slot];`
fn code_at(place: &Place<'_>, source: Option<&Source>) -> Option<String> {
    if !rerun::allowed() {
        return None;
    }
    let file = match source.filter(|source| source.named == place.file) {
        Some(source) => source.file.clone(),
        None => place.file.into(),
    };
    let text = fs::read_to_string(file).ok()?;
    let code = text.lines().nth(place.line.checked_sub(1)?)?;
    Some(format!("{:>5} | {}", place.line, shown(code, LINE)))
}

/// The lines in one sentence, or nothing: of a panic its place and its message, else the last line.
pub(crate) fn in_short(lines: &[String]) -> String {
    let panic = lines.iter().enumerate().find_map(|(at, line)| Some((at, Place::of(line)?)));
    if let Some((at, place)) = panic {
        let is_code = |line: &&String| line.trim_start().starts_with(&format!("{} |", place.line));
        let message = lines[at + 1..].iter().find(|line| !is_code(line));
        let message = message.map_or_else(String::new, |message| format!(": {}", message.trim_end_matches('.')));
        return format!("It panicked in line {} of {}{message}.", place.line, place.file);
    }
    match lines.last() {
        Some(last) => format!("Its last words on stderr: {}.", last.trim_end_matches('.')),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_line() {
        let file = std::env::temp_dir().join(format!("said-{}.rs", std::process::id()));
        fs::write(&file, "fn main() {\n    list[7];\n}\n").expect("a temporary file");
        let source = Source { named: "examples/a.rs".into(), shown: "attempts/a.rs".into(), file: file.clone() };
        let said = ["thread 'main' (7) panicked at examples/a.rs:2:5:", "index out of bounds", "note: run with ..."];
        let lines = lines(said.map(String::from).into(), Some(&source));
        let _ = fs::remove_file(file);
        assert_eq!(lines[0], "thread 'main' (7) panicked at attempts/a.rs:2:5:");
        assert_eq!(lines[1], "    2 |     list[7];");
        assert_eq!(in_short(&lines), "It panicked in line 2 of attempts/a.rs: index out of bounds.");
    }

    #[test]
    fn other_words_stay_as_they_are() {
        assert_eq!(in_short(&[]), "");
        assert_eq!(in_short(&["a".into(), "no room.".into()]), "Its last words on stderr: no room.");
        assert_eq!(lines(vec!["panicked at nowhere:1:2:".into()], None), ["panicked at nowhere:1:2:"]);
    }
}
