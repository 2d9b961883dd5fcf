//! Foreign text in a message: what a server wrote, what a process calls itself.
//!
//! Invariant: what is shown has no control character, so that it cannot move the cursor or change a colour, and is
//! never longer than asked for.

/// A line of it, with control and other invisible characters escaped as in Rust; cut after `most` characters.
pub fn shown(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut len = 0;
    for character in text.chars() {
        let is_plain = matches!(character, ' '..='~') || character.is_alphanumeric();
        let piece: String = if is_plain { character.into() } else { character.escape_debug().collect() };
        let piece_len = piece.chars().count();
        if len + piece_len > most {
            shown += &format!("... (cut; {} bytes in all)", text.len());
            return shown;
        }
        len += piece_len;
        shown += &piece;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown_and_long_lines_are_cut() {
        assert_eq!(shown("größe 12 \u{1b}[31mred\u{7}\r", 80), "größe 12 \\u{1b}[31mred\\u{7}\\r");
        assert_eq!(shown(&"x".repeat(1000), 3), "xxx... (cut; 1000 bytes in all)");
        assert_eq!(shown("\u{202e}evil", 80), "\\u{202e}evil");
        assert_eq!(shown("it's \"quoted\"", 80), "it's \"quoted\"");
    }
}
