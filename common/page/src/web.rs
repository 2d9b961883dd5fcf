//! The files of `web/`: the player's modules and the style sheets, as they stand in the page.
//!
//! Invariant: the modules become one module, in which each name is unique. What is hashed is to the byte what the
//! browser gets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::markup::Trusted;

/// The style sheets, in order.
const SHEETS: &[&str] = &[include_str!("../web/page.css")];
/// The modules. A module stands behind those that it imports.
const MODULES: &[&str] = &[include_str!("../web/player.js")];

/// All style sheets.
pub fn style() -> Trusted {
    Trusted::embedded(SHEETS.concat())
}

/// All modules as one: without the imports of each other, and without the word `export`, each of which is on a line of its
/// own.
pub fn module() -> Trusted {
    let mut out = String::new();
    for line in MODULES.iter().flat_map(|module| module.lines()) {
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
