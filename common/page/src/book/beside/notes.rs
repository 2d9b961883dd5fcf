//! The notes of `NOTES.md`, each bound to a section of a chapter.
//!
//! Invariant: what a note points to is there: its section, and in the section all that the note has between backticks.

use super::Chapter;

/// A note.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    /// The chapter's place.
    pub chapter: usize,
    /// The section's name.
    pub section: String,
    /// What it says.
    pub text: String,
}

/// The notes of this file.
///
/// # Errors
/// If a note points to what is not there.
pub fn read(file: &str, chapters: &[Chapter]) -> Result<Vec<Note>, String> {
    let mut notes: Vec<Note> = Vec::new();
    for part in file.split("\n## ").skip(1) {
        let (head, text) = part.split_once('\n').unwrap_or((part, ""));
        let wrong = |what: String| format!("NOTES.md, '{head}': {what}");
        let (folder, section) =
            head.split_once(' ').ok_or_else(|| wrong("a heading names a chapter and a section".into()))?;
        let chapter = chapters.iter().position(|it| it.folder == folder);
        let chapter = chapter.ok_or_else(|| wrong(format!("there is no chapter {folder}")))?;
        let source = &chapters[chapter].source;
        let Some(found) = source.sections.iter().find(|it| it.name == section) else {
            let names: Vec<&str> = source.sections.iter().map(|it| it.name.as_str()).collect();
            return Err(wrong(format!("src/server.rs has no such section; it has {}", names.join(", "))));
        };
        let lines = source.text(found);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || notes.iter().any(|it| it.chapter == chapter && it.section == section) {
            return Err(wrong("it is empty, or there are two".into()));
        }
        if let Some(gone) = text.split('`').skip(1).step_by(2).find(|code| !lines.contains(code)) {
            return Err(wrong(format!("`{gone}` does not stand in that section any more")));
        }
        notes.push(Note { chapter, section: section.to_owned(), text });
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::super::functions::Source;
    use super::*;

    fn chapters() -> Vec<Chapter> {
        vec![Chapter { folder: "01-a", name: "a", source: Source::parse("fn run() {\n    wait(0);\n}\n") }]
    }

    #[test]
    fn a_note_is_bound_to_its_section_and_to_its_words() {
        let note = read("# Notes\n\n## 01-a run\nIt calls `wait(0)`\nat once.\n", &chapters()).expect("it is there");
        assert_eq!(note, [Note { chapter: 0, section: "run".into(), text: "It calls `wait(0)` at once.".into() }]);
    }

    #[test]
    fn a_note_on_what_is_gone_is_refused() {
        for (note, why) in [
            ("02-b run\nx", "no chapter 02-b"),
            ("01-a walk\nx", "no such section; it has run"),
            ("01-a run\nIt calls `wait(1)`.", "`wait(1)` does not stand"),
            ("01-a run\n", "it is empty"),
        ] {
            let said = read(&format!("# Notes\n\n## {note}\n"), &chapters()).expect_err(note);
            assert!(said.contains(why), "{said}");
        }
    }
}
