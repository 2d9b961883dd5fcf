//! Part 7: any two chapters beside each other, function by function.
//!
//! One pair stands in the page as text; a script puts the others in its place, from the same rows. Rust finds what belongs
//! together, so that a test sees it, and the script only writes rows.
//!
//! Invariant: what is folded is the same in both, and what is not folded says whose line it is.

mod data;
mod functions;
mod lex;
mod notes;
mod pairs;

use std::ops::Range;

use ::markup::Markup;

use self::functions::Source;
use self::lex::Line;
use self::notes::Note;
use self::pairs::{Block, Row, Side};
use super::{Inputs, Part};

/// The chapters: folder and name.
const CHAPTERS: [(&str, &str); 6] = [
    ("01-select", "select"),
    ("02-poll", "poll"),
    ("03-epoll-lt", "epoll-lt"),
    ("04-epoll-et", "epoll-et"),
    ("05-kqueue", "kqueue"),
    ("06-io-uring", "io-uring"),
];
/// The two that stand in the page without a script.
const SHOWN: (usize, usize) = (2, 3);
/// The one function in which their difference is the lesson.
const LESSON: &str = "Connection::read";
/// So many lines that are the same stand around those that differ.
const AROUND: usize = 2;
/// Fewer are not worth a fold.
const FOLDED: usize = 3;

/// A chapter, taken apart.
#[derive(Debug)]
struct Chapter {
    folder: &'static str,
    name: &'static str,
    source: Source,
}

pub(super) fn part(inputs: &Inputs) -> Result<Part, String> {
    let chapter = |(folder, name): (&'static str, &'static str)| {
        let text = inputs.workspace.text(&format!("{folder}/src/server.rs"))?;
        Ok(Chapter { folder, name, source: Source::parse(&text) })
    };
    let chapters = CHAPTERS.into_iter().map(chapter).collect::<Result<Vec<_>, String>>()?;
    let notes = notes::read(include_str!("../../../NOTES.md"), &chapters)?;
    let (left, right) = SHOWN;
    let blocks = pairs::pair(&chapters[left].source, &chapters[right].source);
    let shown = Shown { left: &chapters[left], right: &chapters[right], places: SHOWN, notes: &notes };
    let lesson = blocks.iter().find(|it| shown.name(it) == LESSON);
    let lesson = lesson.ok_or_else(|| format!("the chapters have no function {LESSON} any more"))?;
    let mut body = Markup::default();
    body.element("div", &[("class", "slide")], |it| {
        it.leaf("p", &[], INTRODUCTION);
        it.leaf("p", &[], "Level and edge differ most in one function:");
        shown.block(it, lesson, None);
    });
    body.line();
    body.element("div", &[("class", "beside-all")], |it| {
        it.element("chapters-beside", &[("data-left", &left.to_string()), ("data-right", &right.to_string())], |it| {
            it.element("h3", &[], |it| shown.names(it));
            blocks.iter().for_each(|block| shown.block(it, block, Some("beside")));
        });
        it.line();
        it.element("p", &[("class", "show-it")], |it| {
            it.text("In a terminal, any two: ");
            it.leaf("code", &[("class", "command")], "cargo lab diff 03 04");
        });
        let kind = [("type", "application/octet-stream"), ("id", "beside-data")];
        it.element("script", &kind, |it| it.trusted(&data::packed(&chapters, &notes)));
    });
    Ok(Part { id: "beside", title: "Side by side", body, notes: SPEAKER })
}

const INTRODUCTION: &str = "Five of the six servers have the same functions, with the same names, in the same order; \
    epoll-et has one more. So what differs is what the API asks for. The sixth, io_uring, has functions of its own where \
    readiness has none. Lines that are the same in both are shown once, or folded. The words that differ within a line are \
    marked.";

const SPEAKER: &str = "Ask first: which functions will differ between level and edge?\n\
    accept, read and write carry the lesson; register and update_interest carry the cost in calls.\n\
    Then open the page without ?talk and choose two chapters.";

/// Two chapters beside each other.
struct Shown<'a> {
    left: &'a Chapter,
    right: &'a Chapter,
    places: (usize, usize),
    notes: &'a [Note],
}

/// Lines of a block that are shown, or folded.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// Lines that are the same in both: from these lines on, so many.
    Same(usize, usize, usize),
    /// The same, folded.
    Folded(usize, usize, usize),
    /// The row at this place, which differs.
    Different(usize),
}

/// What of a block's rows is folded. As in `beside.js`.
fn pieces(rows: &[Row]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let Row::Same { left, right, count } = *row else {
            pieces.push(Piece::Different(at));
            continue;
        };
        let before = if at == 0 { 0 } else { AROUND.min(count) };
        let after = if at + 1 == rows.len() { 0 } else { AROUND.min(count - before) };
        let hidden = count - before - after;
        if hidden < FOLDED {
            pieces.push(Piece::Same(left, right, count));
            continue;
        }
        let parts = [
            Piece::Same(left, right, before),
            Piece::Folded(left + before, right + before, hidden),
            Piece::Same(left + before + hidden, right + before + hidden, after),
        ];
        pieces.extend(parts.into_iter().filter(|it| !matches!(it, Piece::Same(_, _, 0))));
    }
    pieces
}

impl Shown<'_> {
    /// The name of a block's section.
    fn name(&self, block: &Block) -> String {
        let left = block.left.map(|at| self.left.source.sections[at].name.as_str());
        let right = block.right.map(|at| self.right.source.sections[at].name.as_str());
        match (left, right) {
            (Some(left), Some(right)) if left != right => format!("{left} and {right}"),
            (left, right) => left.or(right).unwrap_or_default().to_owned(),
        }
    }

    /// Which colour is whose.
    fn names(&self, page: &mut Markup) {
        page.leaf("span", &[("class", "left-name")], self.left.name);
        page.text(" beside ");
        page.leaf("span", &[("class", "right-name")], self.right.name);
    }

    /// A block; `id` begins the id of its heading.
    fn block(&self, page: &mut Markup, block: &Block, id: Option<&str>) {
        let name = self.name(block);
        page.line();
        page.element("div", &[("class", "function")], |it| {
            let heading = |it: &mut Markup| {
                it.leaf("code", &[], &name);
                match (block.left, block.right) {
                    (Some(_), None) => it.text(&format!(", in {} alone", self.left.name)),
                    (None, Some(_)) => it.text(&format!(", in {} alone", self.right.name)),
                    _ if matches!(block.rows[..], [Row::Same { .. }]) => it.text(", the same in both"),
                    _ => {}
                }
            };
            match id {
                Some(id) => it.element("h3", &[("id", &format!("{id}-{}", slug(&name)))], heading),
                None => it.element("h3", &[], heading),
            }
            self.note(it, self.left, self.places.0, block.left, "left-name");
            self.note(it, self.right, self.places.1, block.right, "right-name");
            self.rows(it, &block.rows);
        });
    }

    fn note(&self, page: &mut Markup, chapter: &Chapter, place: usize, section: Option<usize>, class: &'static str) {
        let Some(section) = section else { return };
        let name = &chapter.source.sections[section].name;
        let Some(note) = self.notes.iter().find(|it| it.chapter == place && it.section == *name) else { return };
        page.element("p", &[("class", "function-note")], |it| {
            it.leaf("span", &[("class", class)], chapter.name);
            it.text(" ");
            for (at, part) in note.text.split('`').enumerate() {
                if at % 2 == 0 { it.text(part) } else { it.leaf("code", &[], part) }
            }
        });
    }

    fn rows(&self, page: &mut Markup, rows: &[Row]) {
        for piece in pieces(rows) {
            page.line();
            match piece {
                Piece::Same(left, right, count) => self.same(page, left, right, count),
                Piece::Folded(left, right, count) => page.element("details", &[("class", "same")], |it| {
                    it.leaf("summary", &[], &format!("{count} lines that are the same"));
                    self.same(it, left, right, count);
                }),
                Piece::Different(at) => {
                    let Row::Different(left, right) = &rows[at] else { continue };
                    page.element("div", &[("class", "row")], |it| {
                        side(it, "del", &self.left.source.lines, left.as_ref());
                        side(it, "ins", &self.right.source.lines, right.as_ref());
                    });
                }
            }
        }
    }

    fn same(&self, page: &mut Markup, left: usize, right: usize, count: usize) {
        for at in 0..count {
            page.element("div", &[("class", "row")], |it| {
                let numbers = [("data-n", (left + at + 1).to_string()), ("data-m", (right + at + 1).to_string())];
                it.element("code", &numbers.each_ref().map(|(name, it)| (*name, it.as_str())), |it| {
                    tokens(it, &self.left.source.lines[left + at], &[]);
                });
            });
        }
    }
}

fn side(page: &mut Markup, name: &'static str, lines: &[Line], side: Option<&Side>) {
    let Some(Side { line, marks }) = side else { return };
    let number = (line + 1).to_string();
    let attributes = [("data-n", number.as_str()), ("class", "whole")];
    let attributes = if marks.is_none() { &attributes[..] } else { &attributes[..1] };
    page.element(name, attributes, |it| tokens(it, &lines[*line], marks.as_deref().unwrap_or_default()));
}

/// A line in its colours. Neighbours of one colour are one element.
fn tokens(page: &mut Markup, line: &Line, marks: &[Range<usize>]) {
    let mark_of = |at: usize| marks.iter().position(|it| it.contains(&at));
    let places: Vec<usize> = (0..line.len()).collect();
    for run in places.chunk_by(|a, b| mark_of(*a) == mark_of(*b)) {
        let coloured = |it: &mut Markup| {
            for same in run.chunk_by(|a, b| line[*a].kind == line[*b].kind) {
                let text: String = same.iter().map(|at| line[*at].text.as_str()).collect();
                match line[same[0]].kind.class() {
                    Some(class) => it.leaf("span", &[("class", class)], &text),
                    None => it.text(&text),
                }
            }
        };
        match mark_of(run[0]) {
            Some(_) => page.element("mark", &[], coloured),
            None => coloured(page),
        }
    }
}

/// `Server::accept` as a part of an id.
fn slug(name: &str) -> String {
    let letters: String =
        name.chars().map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' }).collect();
    letters.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chapters() -> Vec<Chapter> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let read = |(folder, name): (&'static str, &'static str)| {
            let text = std::fs::read_to_string(format!("{root}/{folder}/src/server.rs")).expect(folder);
            Chapter { folder, name, source: Source::parse(&text) }
        };
        CHAPTERS.into_iter().map(read).collect()
    }

    #[test]
    fn what_the_notes_point_to_is_there_and_each_chapter_has_some() {
        let chapters = chapters();
        let notes = notes::read(include_str!("../../../NOTES.md"), &chapters).expect("all notes point to something");
        for (at, chapter) in chapters.iter().enumerate() {
            assert!(notes.iter().any(|it| it.chapter == at), "{} has no note", chapter.name);
        }
        for note in &notes {
            assert!(note.text.len() < 240, "a note is a line or two: {}", note.text);
        }
    }

    #[test]
    fn five_chapters_have_the_same_functions() {
        let chapters = chapters();
        let both = [
            "Server::new",
            "Server::accept",
            "Server::register",
            "Server::serve",
            "Server::close",
            "Server::run",
            "Connection::read",
            "Connection::write",
            "the head of the file",
        ];
        for (a, b) in [(0, 1), (1, 2), (2, 3), (2, 4), (0, 4)] {
            let blocks = pairs::pair(&chapters[a].source, &chapters[b].source);
            for name in both {
                let paired = |it: &&Block| {
                    let named = |chapter: &Chapter, at: Option<usize>| {
                        at.is_some_and(|at| chapter.source.sections[at].name == name)
                    };
                    named(&chapters[a], it.left) && named(&chapters[b], it.right)
                };
                assert!(blocks.iter().any(|it| paired(&it)), "{} and {}: {name}", chapters[a].name, chapters[b].name);
            }
        }
    }

    #[test]
    fn each_line_of_any_two_chapters_is_there_once() {
        let chapters = chapters();
        for a in 0..chapters.len() {
            for b in a + 1..chapters.len() {
                let blocks = pairs::pair(&chapters[a].source, &chapters[b].source);
                let (mut left, mut right) = (Vec::new(), Vec::new());
                for row in blocks.iter().flat_map(|it| &it.rows) {
                    match row {
                        Row::Same { left: from, right: to, count } => {
                            left.extend(*from..from + count);
                            right.extend(*to..to + count);
                            for at in 0..*count {
                                assert_eq!(chapters[a].source.lines[from + at], chapters[b].source.lines[to + at]);
                            }
                        }
                        Row::Different(from, to) => {
                            left.extend(from.iter().map(|it| it.line));
                            right.extend(to.iter().map(|it| it.line));
                        }
                    }
                }
                let all = |chapter: &Chapter| -> Vec<usize> {
                    chapter.source.sections.iter().flat_map(|it| it.lines.clone()).collect()
                };
                assert_eq!((left, right), (all(&chapters[a]), all(&chapters[b])), "{a} {b}");
            }
        }
    }

    #[test]
    fn only_lines_that_are_the_same_are_folded_and_those_beside_a_change_are_not() {
        let same = |count| Row::Same { left: 10, right: 20, count };
        let other = || Row::Different(None, Some(Side { line: 5, marks: None }));
        assert_eq!(pieces(&[same(9)]), [Piece::Folded(10, 20, 9)]);
        assert_eq!(
            pieces(&[other(), same(9), other()]),
            [
                Piece::Different(0),
                Piece::Same(10, 20, 2),
                Piece::Folded(12, 22, 5),
                Piece::Same(17, 27, 2),
                Piece::Different(2)
            ]
        );
        assert_eq!(pieces(&[other(), same(6), other()])[1], Piece::Same(10, 20, 6));
    }
}
