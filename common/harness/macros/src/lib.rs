//! `#[check]`, which makes a function a check of the harness, as `#[test]` makes one a test.
//!
//! Invariant: the function stays as it is written. All that the attribute adds is a `Check` with the function's name, its
//! doc comment and what the attribute says, where `harness::checks()` finds it.

use proc_macro::{Ident, Literal, TokenStream, TokenTree};

/// Registers a function as the check of its name, in the group of its module.
///
/// ```text
/// /// One connection sends one byte without a newline, and then a second one.
/// #[check(clause = 2)]
/// fn one_byte_comes_back(trial: &mut Trial<'_>) -> Step {
/// ```
///
/// The doc comment is the line about the check. The attribute says
/// - `clause = N`: the clause of CONTRACT.md that the check proves;
/// - `alone`: it must have the machine to itself;
/// - `quick`: `cargo test` runs it on variants too;
/// - `long`: it takes many seconds, and runs only when it is asked for.
#[proc_macro_attribute]
pub fn check(attribute: TokenStream, function: TokenStream) -> TokenStream {
    match registration(attribute, function.clone()) {
        Ok(registration) => function.into_iter().chain(registration).collect(),
        Err(wrong) => format!("compile_error!({wrong:?});").parse().expect("a macro call"),
    }
}

fn registration(attribute: TokenStream, function: TokenStream) -> Result<TokenStream, String> {
    let Said { clause, alone, quick, long } = said(attribute)?;
    let (about, name) = documented(function)?;
    let check = format!(
        "::inventory::submit! {{
            crate::check::Check {{
                group: crate::check::last_segment(::core::module_path!()),
                name: ::core::stringify!({name}),
                clause: {clause},
                about: {about},
                alone: {alone},
                quick: {quick},
                long: {long},
                line: ::core::line!(),
                run: {name},
            }}
        }}",
        about = Literal::string(&about)
    );
    Ok(check.parse().expect("a macro call"))
}

struct Said {
    clause: Literal,
    alone: bool,
    quick: bool,
    long: bool,
}

/// What stands in the attribute's parentheses.
fn said(attribute: TokenStream) -> Result<Said, String> {
    const USAGE: &str = "#[check(clause = N)], and then perhaps: alone, quick, long";
    let (mut clause, mut alone, mut quick, mut long) = (None, false, false, false);
    let mut tokens = attribute.into_iter();
    while let Some(word) = tokens.next() {
        match word.to_string().as_str() {
            "clause" => match (tokens.next(), tokens.next()) {
                (Some(TokenTree::Punct(_)), Some(TokenTree::Literal(number))) => clause = Some(number),
                _ => return Err(USAGE.into()),
            },
            "alone" => alone = true,
            "quick" => quick = true,
            "long" => long = true,
            "," => {}
            other => return Err(format!("'{other}' says nothing of a check: {USAGE}")),
        }
    }
    let clause = clause.ok_or_else(|| format!("a check proves a clause of CONTRACT.md: {USAGE}"))?;
    Ok(Said { clause, alone, quick, long })
}

/// The function's doc comment as one line, and its name.
fn documented(function: TokenStream) -> Result<(String, Ident), String> {
    let mut lines: Vec<String> = Vec::new();
    let mut tokens = function.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(attribute) => lines.extend(doc_line(attribute.stream())),
            TokenTree::Ident(word) if word.to_string() == "fn" => {
                let Some(TokenTree::Ident(name)) = tokens.next() else { break };
                if lines.is_empty() {
                    return Err(format!("{name} needs a doc comment: one line on what the check does to the server"));
                }
                return Ok((lines.join(" "), name));
            }
            _ => {}
        }
    }
    Err("#[check] belongs to a function".into())
}

/// The text of `doc = " text"`, as which the compiler passes `/// text` on.
fn doc_line(attribute: TokenStream) -> Option<String> {
    let mut tokens = attribute.into_iter();
    let is_doc = tokens.next()?.to_string() == "doc";
    let literal = tokens.nth(1)?.to_string();
    is_doc.then(|| text_of(&literal).trim().to_owned())
}

/// The text of a string literal as the compiler writes it: `"the server\'s"`, or `r"the server's"`.
fn text_of(literal: &str) -> String {
    let quoted = literal.trim_start_matches('r').trim_matches('#');
    let quoted = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted);
    if literal.starts_with('r') {
        return quoted.to_owned();
    }
    let mut text = String::new();
    let mut escaped = false;
    for character in quoted.chars() {
        // Of what it escapes, a line of a doc comment has only quotes and backslashes, each with one backslash before it.
        if character == '\\' && !escaped {
            escaped = true;
            continue;
        }
        text.push(character);
        escaped = false;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escapes_of_a_literal_are_no_part_of_its_text() {
        assert_eq!(text_of(r#""the server\'s socket""#), "the server's socket");
        assert_eq!(text_of(r#""it says \"yes\"""#), r#"it says "yes""#);
        assert_eq!(text_of(r#""a \\ b""#), r"a \ b");
        assert_eq!(text_of(r##"r#"the server's "yes"#"##), r#"the server's "yes"#);
    }
}
