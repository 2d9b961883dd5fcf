//! The chapters and all their pairs, for the script: the lines as tokens, and the rows of each pair.
//!
//! Invariant: no text stands in it twice. A row has places of lines and of tokens.

use std::io::Write;

use ::markup::Trusted;
use ::markup::visible::visible;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::Chapter;
use super::lex::Line;
use super::notes::Note;
use super::pairs::{self, Block, Row, Side};

/// JSON, compressed by gzip, in base64: `chapters` with their names, lines and notes, and `pairs` by `0-1`.
pub fn packed(chapters: &[Chapter], notes: &[Note]) -> Trusted {
    let mut all = serde_json::Map::new();
    for left in 0..chapters.len() {
        for right in left + 1..chapters.len() {
            let blocks = pairs::pair(&chapters[left].source, &chapters[right].source);
            all.insert(format!("{left}-{right}"), blocks.iter().map(block).collect());
        }
    }
    let chapters: Vec<Value> = chapters.iter().enumerate().map(|(at, it)| chapter(at, it, notes)).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let data = json!({ "chapters": chapters, "pairs": all }).to_string();
    encoder.write_all(data.as_bytes()).expect("a vector takes all");
    Trusted::base64(&encoder.finish().expect("a vector takes all"))
}

fn chapter(at: usize, chapter: &Chapter, notes: &[Note]) -> Value {
    let sections = &chapter.source.sections;
    let note = |name: &str| notes.iter().find(|it| it.chapter == at && it.section == name).map(|it| it.text.as_str());
    json!({
        "name": chapter.name,
        "lines": chapter.source.lines.iter().map(line).collect::<Vec<_>>(),
        "sections": sections.iter().map(|it| &it.name).collect::<Vec<_>>(),
        "notes": sections.iter().map(|it| note(&it.name)).collect::<Vec<_>>(),
    })
}

/// `["k", "fn"]`, or the text alone where it has no colour.
fn line(line: &Line) -> Value {
    let token = |it: &super::lex::Token| match it.kind.class() {
        Some(class) => json!([class, visible(&it.text)]),
        None => json!(visible(&it.text)),
    };
    line.iter().map(token).collect()
}

/// `[left section, right section, rows]`; null for a section that is not there.
fn block(block: &Block) -> Value {
    json!([block.left, block.right, block.rows.iter().map(row).collect::<Vec<_>>()])
}

/// `[left line, right line, count]`, or a side each: `[line, marks]` or null. Marks are null if the whole line differs.
fn row(row: &Row) -> Value {
    let side = |it: &Option<Side>| {
        it.as_ref().map(|it| {
            let marks = it.marks.as_ref().map(|marks| marks.iter().map(|it| [it.start, it.end]).collect::<Vec<_>>());
            json!([it.line, marks])
        })
    };
    match row {
        Row::Same { left, right, count } => json!([left, right, count]),
        Row::Different(left, right) => json!([side(left), side(right)]),
    }
}
