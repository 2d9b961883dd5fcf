//! All starters and solutions in one program, so that they are built once: `exercises 19_accept_queue/starter [ARGUMENT]...`
//! is that server, with those arguments.
//!
//! Invariant: a server sees the command line that it would see as a program of its own.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use servers::SERVERS;

mod servers;

/// In the environment of the second start: which server to be.
const CHOSEN: &str = "EXERCISES_SERVER";

fn main() -> ExitCode {
    if let Ok(chosen) = env::var(CHOSEN) {
        return match SERVERS.iter().find(|(name, _)| *name == chosen) {
            Some((_, main)) => main(),
            None => unknown(&chosen),
        };
    }
    let mut arguments = env::args_os().skip(1);
    let chosen = arguments.next().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !SERVERS.iter().any(|(name, _)| *name == chosen) {
        return unknown(&chosen);
    }
    // The same process under the same number: a server is watched by its pid.
    let error = env::current_exe().map(|this| Command::new(this).args(arguments).env(CHOSEN, &chosen).exec());
    eprintln!("exercises: start {chosen}: {}", error.unwrap_or_else(|error| error));
    ExitCode::FAILURE
}

fn unknown(chosen: &str) -> ExitCode {
    let said = if chosen.is_empty() { String::new() } else { format!("exercises: there is no server '{chosen}'\n\n") };
    eprintln!("{said}usage: exercises SERVER [--addr ADDR:PORT] [--backlog N]\n\nservers:");
    SERVERS.iter().for_each(|(name, _)| eprintln!("  {name}"));
    ExitCode::from(2)
}
