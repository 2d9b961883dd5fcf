//! Attempts with the same text. The list says what is equal, and accuses nobody: a short fix has few forms.
//!
//! Invariant: white space, comments and the names of variables make no difference; every other token does.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Digester};

/// Whose text the starter is.
pub const STARTER: &str = "the starter";
/// Whose text the solution is.
pub const SOLUTION: &str = "the solution";

/// A text whose form is compared.
#[derive(Debug, Clone)]
pub struct Text<'a> {
    /// Whose it is: a student's folder, `the solution` or `the starter`.
    pub whose: &'a str,
    /// The exercise.
    pub exercise: &'a str,
    /// The text's form.
    pub form: Digest,
}

/// Texts of one exercise with the same form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlikeGroup {
    /// The exercise.
    pub exercise: String,
    /// Whose texts they are, in the order in which they were given.
    pub whose: Vec<String>,
}

/// The groups of two and more, by exercise.
pub fn groups(texts: &[Text<'_>]) -> Vec<AlikeGroup> {
    let mut forms: BTreeMap<(&str, &Digest), Vec<&str>> = BTreeMap::new();
    for text in texts {
        forms.entry((text.exercise, &text.form)).or_default().push(text.whose);
    }
    let several = forms.into_iter().filter(|(_, whose)| whose.len() > 1);
    several
        .map(|((exercise, _), whose)| AlikeGroup {
            exercise: exercise.to_owned(),
            whose: whose.into_iter().map(str::to_owned).collect(),
        })
        .collect()
}

/// What stands for the form of a text.
pub fn form(source: &str) -> Digest {
    let mut digester = Digester::default();
    let mut names: HashMap<&str, usize> = HashMap::new();
    let tokens = tokens(source);
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |at| tokens[at]);
        let after = tokens.get(at + 1).map_or("", |it| *it);
        // A name stands for the place where it came first, so a variable that was renamed everywhere is the same.
        if is_variable(before, token, after) {
            let next = names.len();
            digester.add("name").add(names.entry(token).or_insert(next).to_string());
        } else {
            digester.add("token").add(token);
        }
    }
    digester.digest()
}

/// Whether a token is a variable's name. Functions, methods, fields, modules and types have names that say what is done.
fn is_variable(before: &str, token: &str, after: &str) -> bool {
    let is_name = token.starts_with(|it: char| it.is_ascii_lowercase() || it == '_')
        && token.chars().all(|it| it.is_alphanumeric() || it == '_');
    // A single colon stands behind a variable too, with its type. Two dots make a range.
    is_name && !is_keyword(token) && ![".", "::", "fn"].contains(&before) && !["(", "!", "::"].contains(&after)
}

fn is_keyword(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "as", "break", "const", "continue", "crate", "else", "enum", "extern", "false", "fn", "for", "if", "impl",
        "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "self", "static", "struct",
        "super", "trait", "true", "type", "unsafe", "use", "where", "while",
    ];
    WORDS.contains(&word)
}

/// Words, numbers, strings and single signs; no white space and no comments.
fn tokens(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if let Some(length) = comment(rest) {
            length
        } else {
            let length = string(rest).unwrap_or_else(|| word(rest));
            found.push(&rest[..length]);
            length
        };
        rest = &rest[length..];
    }
    found
}

/// The length of the comment that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    // Comments nest in Rust.
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let here = &text[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(at)
}

/// The length of the string that begins here; also of a raw string.
fn string(text: &str) -> Option<usize> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let before = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inside = &raw[hashes + 1..];
            let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
            return Some(before + 1 + hashes + 1 + length);
        }
    }
    let inside = body.strip_prefix('"')?;
    let mut escaped = false;
    for (at, it) in inside.char_indices() {
        match it {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(before + 1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a word or a number, or of one sign.
fn word(text: &str) -> usize {
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    if let Some(sign) = ["::", ".."].into_iter().find(|sign| text.starts_with(sign)) {
        return sign.len();
    }
    let length = text.find(|it: char| !is_word(it)).unwrap_or(text.len());
    if length > 0 { length } else { text.chars().next().map_or(1, char::len_utf8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_comments_and_names_make_no_difference() {
        let a = "fn read(fd: i32) -> bool { let count = recv(fd); count > 0 } // done";
        let b = "fn read(socket: i32) -> bool {\n    /* all /* of */ it */\n    let n = recv(socket);\n    n > 0\n}\n";
        assert_eq!(form(a), form(b));
    }

    #[test]
    fn everything_else_does() {
        let a = "let n = recv(fd, 16); n > 0";
        for b in [
            "let n = recv(fd, 32); n > 0",
            "let n = recv(fd, 16); n >= 0",
            "let n = recv(n, 16); fd > 0",
            "let n = 1;",
            "let n = send(fd, 16); n > 0",
        ] {
            assert_ne!(form(a), form(b), "{b}");
        }
        assert_ne!(form("x(\"a // b\")"), form("x(\"a\")"));
        assert_ne!(form("x(r#\"a\"b\"#)"), form("x(r#\"a\"#)"));
        assert_ne!(form("a.min(b)"), form("a.max(b)"));
        assert_ne!(form("a.left"), form("a.right"));
        assert_ne!(form("Ok(())"), form("Err(())"));
    }

    #[test]
    fn equal_texts_are_listed_by_exercise() {
        let text = |whose, exercise, source| Text { whose, exercise, form: form(source) };
        let texts = [
            text("the starter", "08", "let a = 1;"),
            text("ada", "08", "let b = 2;"),
            text("grace", "08", "let c = 2; // mine"),
            text("alan", "19", "let c = 2;"),
            text("the solution", "08", "let d = 3;"),
        ];
        let whose = ["ada", "grace"].map(str::to_owned).to_vec();
        assert_eq!(groups(&texts), [AlikeGroup { exercise: "08".into(), whose }]);
    }

    #[test]
    fn text_that_is_not_rust_ends_too() {
        for text in ["\"", "r#\"", "/*", "b'", "'", "é\u{200b}//", "\\"] {
            tokens(text);
        }
    }
}
