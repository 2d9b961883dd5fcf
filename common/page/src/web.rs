//! The files of `web/`: the player's modules and the style sheets, as they stand in the page.
//!
//! Invariant: the modules become one module, in which each name is unique. What is hashed is to the byte what the
//! browser gets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::markup::Trusted;

/// The style sheets, in order.
const SHEETS: &[&str] = &[include_str!("../web/page.css"), include_str!("../web/player.css")];
/// The modules. A module stands behind those that it imports.
const MODULES: &[(&str, &str)] = &[
    ("icons.js", include_str!("../web/icons.js")),
    ("text.js", include_str!("../web/text.js")),
    ("model.js", include_str!("../web/model.js")),
    ("align.js", include_str!("../web/align.js")),
    ("gaps.js", include_str!("../web/gaps.js")),
    ("lanes.js", include_str!("../web/lanes.js")),
    ("predict.js", include_str!("../web/predict.js")),
    ("rows.js", include_str!("../web/rows.js")),
    ("source.js", include_str!("../web/source.js")),
    ("player.js", include_str!("../web/player.js")),
];
/// What the page of `cargo lab show` has besides.
const OF_SHOW: &[(&str, &str)] = &[("main.js", include_str!("../web/main.js"))];
/// What the page of the course has besides.
const OF_BOOK: &[(&str, &str)] = &[
    ("beside.js", include_str!("../web/beside.js")),
    ("choosing.js", include_str!("../web/choosing.js")),
    ("sixty.js", include_str!("../web/sixty.js")),
    ("talk.js", include_str!("../web/talk.js")),
    ("book.js", include_str!("../web/book.js")),
];
const SHEETS_OF_BOOK: &[&str] =
    &[include_str!("../web/book.css"), include_str!("../web/acts.css"), include_str!("../web/beside.css")];

/// The style sheets of a page of recordings.
pub fn style() -> Trusted {
    Trusted::embedded(SHEETS.concat())
}

/// The style sheets of the page of the course.
pub fn book_style() -> Trusted {
    Trusted::embedded([SHEETS, SHEETS_OF_BOOK].concat().concat() + &figures::svg::style())
}

/// The modules of a page of recordings.
pub fn module() -> Trusted {
    joined(OF_SHOW)
}

/// The modules of the page of the course.
pub fn book_module() -> Trusted {
    joined(OF_BOOK)
}

/// The player's modules and these as one: without the imports of each other, and without the word `export`, each of which
/// is on a line of its own.
fn joined(own: &[(&str, &str)]) -> Trusted {
    let mut out = String::new();
    for line in MODULES.iter().chain(own).flat_map(|(_, module)| module.lines()) {
        let is_import = line.starts_with("import ") && line.contains(" from './");
        if is_import || line.starts_with("export {") {
            continue;
        }
        out += line.strip_prefix("export ").unwrap_or(line);
        out.push('\n');
    }
    Trusted::embedded(out)
}

/// The policy under which a browser runs this script and applies this style, and loads nothing.
pub fn policy(script: &Trusted, style: &Trusted) -> String {
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; \
         form-action 'none'",
        hash(script),
        hash(style)
    )
}

fn hash(text: &Trusted) -> String {
    STANDARD.encode(Sha256::digest(text.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_module_stands_behind_those_that_it_imports() {
        let mut known = BTreeSet::new();
        for (name, module) in MODULES.iter().chain(OF_SHOW).chain(OF_BOOK) {
            for line in module.lines().filter(|line| line.starts_with("import ")) {
                let from = line.split_once(" from './").and_then(|(_, rest)| rest.split_once("';"));
                let (from, _) = from.unwrap_or_else(|| panic!("{name}: {line}: an import of another file"));
                assert!(known.contains(from), "{name} imports {from}, which comes behind it");
            }
            known.insert(*name);
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web")).expect("the folder");
        let files = files.filter(|it| it.as_ref().is_ok_and(|it| it.file_name().to_string_lossy().ends_with(".js")));
        assert_eq!(files.count(), MODULES.len() + OF_SHOW.len() + OF_BOOK.len(), "every module is in a page");
    }

    #[test]
    fn in_the_one_module_each_name_is_unique_and_nothing_is_imported() {
        for module in [module(), book_module()] {
            let names = names_of(&module);
            assert!(names.contains("Player"), "{names:?}");
        }
    }

    fn names_of(module: &Trusted) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for line in module.as_str().lines() {
            assert!(!line.starts_with("import ") && !line.starts_with("export "), "{line}");
            let line = line.strip_prefix("async ").unwrap_or(line);
            let kinds = ["const ", "let ", "function ", "class "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
            let name: String = rest.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
            assert!(names.insert(name.clone()), "two modules have the name {name}");
        }
        names
    }

    #[test]
    fn the_player_is_small_and_names_no_resource() {
        let (module, style) = (module(), style());
        let size = module.as_str().len() + style.as_str().len();
        assert!(size < 100_000, "the player has {size} bytes");
        let (book_module, book_style) = (book_module(), book_style());
        for text in [module.as_str(), style.as_str(), book_module.as_str(), book_style.as_str()] {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for word in ["http:", "https:", "url(", "@import ", "import(", "fetch(", "XMLHttpRequest", "eval("] {
                let code = text.lines().filter(|line| !line.trim_start().starts_with(['/', '*']));
                let found: Vec<&str> = code.filter(|line| line.contains(word)).collect();
                assert!(found.is_empty(), "{word}: {found:?}");
            }
        }
    }

    #[test]
    fn the_hash_is_that_of_the_text_in_base64() {
        // Of "a", by sha256sum.
        let a = Trusted::embedded("a".into());
        assert_eq!(hash(&a), "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=");
    }
}
