//! A long text, through the pager that the user has chosen.
//!
//! Invariant: without a terminal on stdout, or without a pager that runs, the text is printed as it is. This program does
//! not end before the pager: a shell would read the keys that the pager waits for.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use signal_hook::consts::SIGINT;

/// Tries less where PAGER is not set.
const USUAL: &str = "command -v less >/dev/null 2>&1 && exec less; exec cat";
/// How a shell says that it could not run the command.
const NOT_RUN: [i32; 2] = [126, 127];

/// Shows a text in `$PAGER`, or else in less, if stdout is a terminal.
pub fn page(text: &str) {
    let wanted = std::env::var("PAGER").unwrap_or_else(|_| USUAL.to_owned());
    let plain = wanted.trim().is_empty() || wanted.trim() == "cat";
    if plain || !super::stdout_is_terminal() || !shown(&wanted, text) {
        super::print(text);
    }
}

/// Whether the pager has shown the text.
fn shown(pager: &str, text: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", pager]).stdin(Stdio::piped());
    // Colours as they are, no wait for a text that fits, and nothing cleared at the end: as git does.
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    // Ctrl-C is the pager's, where it ends a search. A handler does nothing here: a signal that is ignored would be ignored
    // in the pager too.
    let handler = signal_hook::flag::register(SIGINT, Arc::default());
    let is_shown = has_run(&mut command, text);
    if let Ok(handler) = handler {
        signal_hook::low_level::unregister(handler);
    }
    is_shown
}

fn has_run(command: &mut Command, text: &str) -> bool {
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut stdin) = child.stdin.take() {
        // A pager that was left at its first page reads no further.
        let _ = stdin.write_all(text.as_bytes());
    }
    match child.wait() {
        Ok(status) => !status.code().is_some_and(|code| NOT_RUN.contains(&code)),
        Err(_) => false,
    }
}
