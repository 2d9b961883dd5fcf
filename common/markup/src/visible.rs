//! Characters that a reader cannot see, made visible.
//!
//! Invariant: what stands in the page is what a reader sees. A character that would turn the direction of its neighbours,
//! or that has no shape, is shown by its number. So a source cannot look different from what the compiler reads.

use std::borrow::Cow;

/// The text, with `[U+202E]` in place of each such character. Line feeds and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_hidden(character) {
            out += &format!("[U+{:04X}]", u32::from(character));
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

fn is_hidden(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Marks, embeddings, overrides and isolates of the bidirectional algorithm.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Separators of lines, which no editor shows as one; and characters without a width.
        '\u{2028}' | '\u{2029}' | '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => true,
        // Shadows of ASCII, and what Unicode will never define.
        '\u{e0000}'..='\u{e007f}' | '\u{fffe}' | '\u{ffff}' => true,
        character => character.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_directions_or_has_no_shape_is_shown_by_its_number() {
        assert_eq!(visible("a\u{202e}b\u{2066}"), "a[U+202E]b[U+2066]");
        assert_eq!(visible("\0\u{1b}[31m\r"), "[U+0000][U+001B][31m[U+000D]");
        assert_eq!(visible("\u{feff}fn\u{200b} x"), "[U+FEFF]fn[U+200B] x");
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in ["fn main() {\n\tlet ü = \"日本\";\n}\n", "", "👩\u{200d}💻"] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
        }
    }
}
