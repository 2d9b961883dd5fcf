//! A source in sections: its head, its types and its functions, each with the comments that stand before it.
//!
//! Invariant: every line that is not blank is in exactly one section, and a section has a name of its own.

use std::ops::Range;

use super::lex::{self, Kind, Line};

/// The name of what stands before the first type and the first function: the invariant, the imports, the constants.
pub const HEAD: &str = "the head of the file";

/// A source, taken apart.
#[derive(Debug)]
pub struct Source {
    /// Its lines.
    pub lines: Vec<Line>,
    /// Its sections, in order.
    pub sections: Vec<Section>,
}

/// One section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `Server::accept`, `struct Server`, `select`.
    pub name: String,
    /// Its lines, from 0.
    pub lines: Range<usize>,
}

/// An item that was begun.
struct Open {
    keyword: String,
    name: Option<String>,
}

impl Source {
    /// Takes a source apart.
    pub fn parse(source: &str) -> Self {
        let lines = lex::lines(source);
        let sections = sections(&lines);
        Self { lines, sections }
    }

    /// The text of a section.
    pub fn text(&self, section: &Section) -> String {
        self.lines[section.lines.clone()].iter().map(|line| lex::text(line) + "\n").collect()
    }
}

fn sections(lines: &[Line]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    // Braces, and within an item round and square brackets, which may hold a semicolon.
    let (mut depth, mut brackets, mut start) = (0, 0, 0);
    let (mut container, mut open): (Option<String>, Option<Open>) = (None, None);
    for (at, line) in lines.iter().enumerate() {
        for token in line.iter().filter(|it| it.kind != Kind::Comment && !it.text.trim().is_empty()) {
            let text = token.text.as_str();
            let level = usize::from(container.is_some());
            match (&mut open, text) {
                (
                    None,
                    "fn" | "struct" | "enum" | "union" | "trait" | "mod" | "const" | "static" | "type" | "use" | "impl",
                ) if depth == level && brackets == 0 => {
                    open = Some(Open { keyword: text.to_owned(), name: None });
                }
                // `const fn`, `unsafe impl` and their like.
                (Some(item), "fn") if item.name.is_none() => item.keyword = "fn".into(),
                // An implementation is called after its type, which comes last.
                (Some(item), name)
                    if is_name(token.kind, name)
                        && depth == level
                        && (item.name.is_none() || item.keyword == "impl") =>
                {
                    item.name = Some(name.to_owned());
                }
                _ => {}
            }
            match text {
                "(" | "[" => brackets += 1,
                ")" | "]" => brackets -= 1,
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            let Some(item) = &open else {
                if text == "}" && depth == 0 && container.take().is_some() {
                    // The end of an implementation belongs to its last function.
                    if let Some(last) = sections.last_mut() {
                        last.lines.end = at + 1;
                    }
                    start = at + 1;
                }
                continue;
            };
            if item.keyword == "impl" && text == "{" {
                container = item.name.clone();
                open = None;
                continue;
            }
            let braced = !matches!(item.keyword.as_str(), "use" | "const" | "static" | "type");
            let ends = depth == level && brackets == 0 && (text == ";" || text == "}" && braced);
            if ends {
                let is_first = sections.iter().all(|it| it.name == HEAD);
                end(&mut sections, name(item, container.as_deref(), is_first), start..at + 1);
                (start, open) = (at + 1, None);
            }
        }
    }
    sections.iter_mut().for_each(|section| trim(lines, section));
    name_apart(&mut sections);
    sections
}

fn is_name(kind: Kind, text: &str) -> bool {
    kind != Kind::Keyword && kind != Kind::Literal && text.starts_with(|it: char| it.is_alphabetic() || it == '_')
}

/// `None`: it belongs to the head.
fn name(item: &Open, container: Option<&str>, is_first: bool) -> Option<String> {
    let name = item.name.as_deref().unwrap_or("_");
    match (item.keyword.as_str(), container) {
        ("use", None) => None,
        ("const" | "static" | "type" | "mod", None) if is_first => None,
        ("fn", Some(container)) => Some(format!("{container}::{name}")),
        ("fn", None) => Some(name.to_owned()),
        (keyword, _) => Some(format!("{keyword} {name}")),
    }
}

fn end(sections: &mut Vec<Section>, name: Option<String>, lines: Range<usize>) {
    match (name, sections.last_mut()) {
        // The head goes on; or it is an import that stands further below.
        (None, Some(last)) => last.lines.end = lines.end,
        (None, None) => sections.push(Section { name: HEAD.into(), lines }),
        (Some(name), _) => sections.push(Section { name, lines }),
    }
}

/// Without the blank lines before it.
fn trim(lines: &[Line], section: &mut Section) {
    while section.lines.len() > 1 && lines[section.lines.start].iter().all(|it| it.text.trim().is_empty()) {
        section.lines.start += 1;
    }
}

/// Two of one name are told apart by a number.
fn name_apart(sections: &mut [Section]) {
    for at in 1..sections.len() {
        let (before, rest) = sections.split_at_mut(at);
        let own = rest[0].name.clone();
        let earlier = before.iter().filter(|it| it.name == own || it.name.starts_with(&format!("{own} ("))).count();
        if earlier > 0 {
            rest[0].name = format!("{own} ({})", earlier + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "//! What it is.\n\nuse std::{io, mem};\n\nconst ROOM: [u8; 2] = [1, 2];\n\n/// A type.\n\
        #[derive(Clone)]\nstruct Pair(u8, [u8; 3]);\n\nimpl Pair {\n    /// Makes one. fn { no }\n    const fn new() -> Self {\n        \
        Self(0, [0; 3])\n    }\n\n    fn is_it(&self) -> bool {\n        \"}\".len() == 1\n    }\n}\n\nimpl Drop for Pair {\n    \
        fn drop(&mut self) {}\n}\n\nfn take(it: [u8; 3]) -> u8 {\n    it[0]\n}\n";

    #[test]
    fn each_line_is_in_the_section_that_it_belongs_to() {
        let source = Source::parse(SOURCE);
        let names: Vec<&str> = source.sections.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, [HEAD, "struct Pair", "Pair::new", "Pair::is_it", "Pair::drop", "take"]);
        let text = |at: usize| source.text(&source.sections[at]);
        assert!(text(0).starts_with("//! What") && text(0).ends_with("[1, 2];\n"));
        assert!(text(1).starts_with("/// A type.\n#[derive"));
        assert!(text(2).starts_with("impl Pair {\n    /// Makes one."));
        assert!(text(3).ends_with("    }\n}\n"), "{}", text(3));
        let shown: usize = source.sections.iter().map(|it| it.lines.len()).sum();
        let blank = |at: &usize| lex::text(&source.lines[*at]).trim().is_empty();
        let inside = |at: &usize| source.sections.iter().any(|it| it.lines.contains(at));
        let outside: Vec<usize> = (0..source.lines.len()).filter(|at| !inside(at)).collect();
        assert!(outside.iter().all(blank), "{outside:?}");
        assert_eq!(shown + outside.len(), source.lines.len());
    }
}
