//! Reports as HTML: what `check` and `grade` found, in files that are kept, printed and handed out.
//!
//! Invariant: a report loads nothing and runs nothing, and its policy forbids both; with players, it runs their script alone. What a server or a student wrote is
//! text in it: escaped, and with the characters shown that would turn or hide others.

mod check;
mod failure;
mod grades;
mod matrix;
mod players;

use std::path::Path;

use markup::{Markup, Trusted};

pub use check::{CheckReport, page as check};
pub use grades::{class, place, student};
pub use players::{FoundRun, Players};

use crate::class::record::write_whole;
use crate::error::LabError;
use crate::terminal;
use crate::workspace;

/// For a browser, should a text ever be taken for markup: nothing runs, nothing is loaded, nothing is sent.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("report.css");

/// A file with this title, and what `body` writes into its `main`.
fn document(title: &str, body: impl FnOnce(&mut Markup)) -> String {
    let mut page = Markup::default();
    page.element("html", &[("lang", "en")], |page| {
        page.line();
        page.element("head", &[], |it| {
            it.empty("meta", &[("charset", "utf-8")]);
            it.empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
            it.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
            it.empty("meta", &[("name", "color-scheme"), ("content", "light dark")]);
            it.line();
            it.leaf("title", &[], title);
            it.element("style", &[], |it| it.trusted(&Trusted::embedded(STYLE.into())));
        });
        page.line();
        page.element("body", &[], |it| it.element("main", &[], body));
        page.line();
    });
    format!("<!DOCTYPE html>\n{}\n", page.finish())
}

/// A part with a heading that can be linked.
fn section(page: &mut Markup, id: &str, heading: &str, inside: impl FnOnce(&mut Markup)) {
    let label = format!("{id}_heading");
    page.line();
    page.element("section", &[("id", id), ("aria-labelledby", &label)], |it| {
        it.leaf("h2", &[("id", &label)], heading);
        it.line();
        inside(it);
    });
    page.line();
}

/// A list with a line for each text; nothing without any.
fn list(page: &mut Markup, name: &'static str, class: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    page.element(name, &[("class", class)], |it| texts.iter().for_each(|text| it.leaf("li", &[], text)));
    page.line();
}

/// A name that may have any letters: they do not change the order of those around it.
fn name(page: &mut Markup, text: &str) {
    page.leaf("bdi", &[], text);
}

/// `07_the_sets` as an id.
fn id_of(text: &str) -> String {
    text.chars().map(|it| if it.is_ascii_alphanumeric() || it == '_' { it } else { '-' }).collect()
}

/// An error unless this path can be a file's. To be asked before anything is run.
pub fn require_writable(option: &str, path: &Path) -> Result<(), LabError> {
    let shown = path.display();
    if path.is_dir() {
        let named = path.join("report.html");
        return Err(LabError::usage(format!(
            "{option} {shown}: it is a folder; name a file in it, as in {option} {}",
            named.display()
        )));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(LabError::usage(format!("{option} {shown}: there is no folder {}", folder.display())));
    }
    Ok(())
}

/// Writes a report, and says on stderr where it is: stdout may be for machines.
pub fn write(path: &Path, report: &str) -> Result<(), LabError> {
    write_whole(path, report.as_bytes())?;
    terminal::complain(&format!("the report: {}", workspace::shown(path)));
    Ok(())
}

/// This command line, to be copied.
pub fn command_line() -> String {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    format!("cargo lab {}", shell_words::join(words))
}

#[cfg(test)]
mod testing {
    /// What somebody prints who wants to be markup, to be read as something else, or to end a text.
    pub const HOSTILE: &str = "</script><script>alert(1)</script></pre><img src=x onerror='a()'> \" & \u{202e}txt.exe";

    /// The page, parsed; HTML's void elements are closed in it.
    pub fn well_formed(page: &str) -> roxmltree::Document<'_> {
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        roxmltree::Document::parse_with_options(page, options).expect("well-formed")
    }

    /// It needs no other file, runs nothing, and each of its links leads to a place in it.
    pub fn stands_alone(page: &str) {
        let document = well_formed(page);
        let names = ["script", "img", "iframe", "object", "link", "base", "form", "svg"];
        let strange = document.descendants().find(|it| names.contains(&it.tag_name().name()));
        assert!(strange.is_none(), "{strange:?}");
        let handler =
            |it: &roxmltree::Node<'_, '_>| it.attributes().any(|attribute| attribute.name().starts_with("on"));
        assert!(!document.descendants().any(|it| handler(&it)));
        assert!(!page.contains("@import") && !page.contains("url("), "nothing is loaded");
        assert!(!page.contains('\u{202e}'), "nothing turns the text");
        let ids: Vec<&str> = document.descendants().filter_map(|it| it.attribute("id")).collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "{ids:?}");
        for link in document.descendants().filter_map(|it| it.attribute("href")) {
            let to = link.strip_prefix('#');
            assert!(to.is_none_or(|id| ids.contains(&id)), "{link} leads nowhere");
            assert!(to.is_some() || link.starts_with("students/"), "{link} leads out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{HOSTILE, stands_alone, well_formed};
    use super::*;

    #[test]
    fn what_somebody_wrote_is_text() {
        let page = document(HOSTILE, |it| {
            list(it, "ul", "lines", &[HOSTILE.to_owned()]);
            name(it, HOSTILE);
        });
        stands_alone(&page);
        let document = well_formed(&page);
        let shown = HOSTILE.replace('\u{202e}', "[U+202E]");
        for name in ["title", "li", "bdi"] {
            let element = document.descendants().find(|it| it.tag_name().name() == name).expect(name);
            assert_eq!(element.text(), Some(shown.as_str()), "{name}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_is_refused() {
        let folder = std::env::temp_dir();
        assert!(require_writable("--html", &folder).unwrap_err().message.contains("it is a folder"));
        let nowhere = folder.join("no-such-folder/report.html");
        assert!(require_writable("--html", &nowhere).unwrap_err().message.contains("there is no folder"));
        assert!(require_writable("--html", Path::new("report.html")).is_ok());
    }
}
