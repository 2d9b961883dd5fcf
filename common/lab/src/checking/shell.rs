//! What a shell would do with a command line, and the lab does not.
//!
//! Invariant: nothing is refused that is a program and its arguments: only what stands outside of quotes is the shell's.

use crate::error::LabError;

/// Words that name no program: only a shell knows them.
const BUILTINS: &[&str] = &["cd", "export", "source", ".", "exec", "ulimit", "umask", "set", "unset", "alias", "eval"];

/// Refuses a command line that needs a shell, and says what to write instead.
pub fn refuse_syntax(line: &str, argv: &[String]) -> Result<(), LabError> {
    let quoted = shell_words::quote(line);
    let through_a_shell = format!("sh -c {quoted}");
    let refuse = |what: String, instead: String| {
        let instead = shell_words::quote(&instead).into_owned();
        Err(LabError::usage(format!(
            "--cmd {quoted}: {what}; the lab starts the program itself, without a shell.\n  Write: --cmd {instead}"
        )))
    };
    let assigns = argv.iter().take_while(|word| is_assignment(word)).count();
    if assigns > 0 {
        return refuse(format!("'{}' sets a variable", argv[0]), format!("env {line}"));
    }
    if let Some(operator) = operator(line) {
        return refuse(format!("'{operator}' is for a shell"), through_a_shell);
    }
    if BUILTINS.contains(&argv[0].as_str()) {
        return refuse(format!("'{}' is a command of a shell", argv[0]), through_a_shell);
    }
    Ok(())
}

/// `NAME=value`, as it stands before a command.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let first = name.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    first && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// The first operator of a shell that stands outside of quotes.
fn operator(line: &str) -> Option<&str> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, '&' | '|' | ';' | '<' | '>') => {
                let long = ["&&", "||", ">>"].into_iter().find(|long| line[at..].starts_with(long));
                return long.or(Some(&line[at..=at]));
            }
            _ => {}
        }
    }
    None
}

/// What a shell would have filled in, and nobody does here: said where the command could not be started.
pub fn not_expanded(argv: &[String]) -> &'static str {
    match argv.iter().any(|word| word.starts_with('~') || word.contains(['$', '`', '*'])) {
        true => "\n  The lab starts it without a shell, so ~, $NAME, `...` and * are left as they are: write them out.",
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let argv = shell_words::split(line).unwrap();
        refuse_syntax(line, &argv).map_or_else(|error| error.message, |()| String::new())
    }

    #[test]
    fn what_needs_a_shell_is_refused_with_what_to_write_instead() {
        for (line, instead) in [
            ("cd X && ./server {port}", r#"Write: --cmd 'sh -c '\''cd X && ./server {port}'\'''"#),
            ("FOO=bar ./server {port}", "Write: --cmd 'env FOO=bar ./server {port}'"),
            ("PORT={port} A=1 ./server", "Write: --cmd 'env PORT={port} A=1 ./server'"),
            ("./server {port} > log", "'>' is for a shell"),
            ("./server {port} 2>&1", "'>' is for a shell"),
            ("./server {port}; true", "';' is for a shell"),
            ("ulimit", "'ulimit' is a command of a shell"),
        ] {
            assert!(said(line).contains(instead), "{line}: {}", said(line));
        }
    }

    #[test]
    fn what_is_quoted_is_an_argument() {
        for line in
            ["sh -c 'cd X && exec ./server {port}'", r#"node -e "a; b" {port}"#, r"./s \; {port}", "env A=1 ./s"]
        {
            assert_eq!(said(line), "", "{line}");
        }
        assert_eq!(said("./server --key=value {port}"), "");
    }
}
