//! Rust as tokens, line by line, each with the kind that gives it its colour.
//!
//! Invariant: the tokens of all lines, joined, are the source to the byte, but for the ends of lines.

use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};

/// What a token is, as far as a reader needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names, signs and space.
    Plain,
    /// A word of the language.
    Keyword,
    /// A word of a comment.
    Comment,
    /// A string, a character or a number.
    Literal,
    /// A type, a trait or a variant: a name that begins with a capital letter.
    Type,
    /// The name of a function, where it is defined.
    Function,
}

impl Kind {
    /// The class that has its colour, and its letter in the data of the page.
    pub fn class(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Keyword => Some("k"),
            Self::Comment => Some("c"),
            Self::Literal => Some("l"),
            Self::Type => Some("t"),
            Self::Function => Some("f"),
        }
    }
}

/// A token, or the part of one that stands on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: String,
}

/// The tokens of one line.
pub type Line = Vec<Token>;

/// The strict keywords of edition 2024, and the weak ones that look like keywords where they are used here.
const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern", "false", "fn",
    "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "raw", "ref", "return", "self",
    "Self", "static", "struct", "super", "trait", "true", "type", "union", "unsafe", "use", "where", "while",
];

/// The lines of a source.
pub fn lines(source: &str) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    let (mut at, mut after_fn) = (0, false);
    for token in tokenize(source, FrontmatterAllowed::No) {
        let text = &source[at..at + token.len as usize];
        at += token.len as usize;
        let kind = kind(token.kind, text, after_fn);
        if token.kind != TokenKind::Whitespace {
            after_fn = text == "fn";
        }
        for (i, part) in text.split('\n').enumerate() {
            if i > 0 {
                lines.push(Line::new());
            }
            let line = lines.last_mut().expect("it begins with one");
            // Words of a comment are compared one by one.
            let words: Vec<&str> = match kind {
                Kind::Comment => part.split_inclusive(' ').collect(),
                _ => vec![part],
            };
            line.extend(words.into_iter().filter(|it| !it.is_empty()).map(|text| Token { kind, text: text.into() }));
        }
    }
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

fn kind(token: TokenKind, text: &str, after_fn: bool) -> Kind {
    match token {
        TokenKind::LineComment { .. } | TokenKind::BlockComment { .. } => Kind::Comment,
        TokenKind::Literal { .. } => Kind::Literal,
        TokenKind::Ident | TokenKind::RawIdent if after_fn => Kind::Function,
        TokenKind::Ident if KEYWORDS.contains(&text) => Kind::Keyword,
        TokenKind::Ident
            if text.starts_with(|it: char| it.is_ascii_uppercase()) && text.contains(char::is_lowercase) =>
        {
            Kind::Type
        }
        _ => Kind::Plain,
    }
}

/// A line's text.
pub fn text(line: &Line) -> String {
    line.iter().map(|token| token.text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_are_the_source() {
        let source = "/// A b.\nfn main() {\n    let text = \"two\n  lines\"; /* and\n a comment */ 'a'\n}\n";
        let found: Vec<String> = lines(source).iter().map(text).collect();
        assert_eq!(found.join("\n") + "\n", source);
    }

    #[test]
    fn each_token_has_its_kind() {
        let line = &lines("pub fn serve(&mut self, fd: RawFd) -> u32 { 0x1F } // to the end, fn")[0];
        let kind = |text: &str| line.iter().find(|it| it.text == text).unwrap_or_else(|| panic!("{text}")).kind;
        assert_eq!((kind("pub"), kind("fn"), kind("self")), (Kind::Keyword, Kind::Keyword, Kind::Keyword));
        assert_eq!((kind("serve"), kind("RawFd"), kind("0x1F")), (Kind::Function, Kind::Type, Kind::Literal));
        assert_eq!((kind("fd"), kind("end, "), kind("u32")), (Kind::Plain, Kind::Comment, Kind::Plain));
    }

    #[test]
    fn what_only_looks_like_code_is_a_string_or_a_comment() {
        for source in ["\"fn { // }\"", "r#\"a \" fn\"#", "b'\\''", "'\"'"] {
            assert_eq!(lines(source)[0], [Token { kind: Kind::Literal, text: source.into() }]);
        }
        assert!(lines("/* /* fn */ \" */")[0].iter().all(|it| it.kind == Kind::Comment));
        // A lifetime is no character.
        assert!(lines("&'a str")[0].iter().all(|it| it.kind != Kind::Literal));
    }
}
