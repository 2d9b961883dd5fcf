//! Many servers in one program, so that they are built once: `PROGRAM SERVER [ARGUMENT]...` is that server, with those
//! arguments.
//!
//! Invariant: a server sees the command line that it would see as a program of its own.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// A server's `main`.
pub type Main = fn() -> ExitCode;

/// In the environment of the second start: which server to be.
const CHOSEN: &str = "EXERCISES_SERVER";

/// Is the server that the command line names.
pub fn main(program: &str, servers: &[(&str, Main)]) -> ExitCode {
    if let Ok(chosen) = env::var(CHOSEN) {
        return match servers.iter().find(|(name, _)| *name == chosen) {
            Some((_, main)) => main(),
            None => unknown(program, servers, &chosen),
        };
    }
    let mut arguments = env::args_os().skip(1);
    let chosen = arguments.next().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !servers.iter().any(|(name, _)| *name == chosen) {
        return unknown(program, servers, &chosen);
    }
    // The same process under the same number: a server is watched by its pid.
    let error = env::current_exe().map(|this| Command::new(this).args(arguments).env(CHOSEN, &chosen).exec());
    eprintln!("{program}: start {chosen}: {}", error.unwrap_or_else(|error| error));
    ExitCode::FAILURE
}

fn unknown(program: &str, servers: &[(&str, Main)], chosen: &str) -> ExitCode {
    let said = if chosen.is_empty() { String::new() } else { format!("{program}: there is no server '{chosen}'\n\n") };
    eprintln!("{said}usage: {program} SERVER [--addr ADDR:PORT] [--backlog N]\n\nservers:");
    servers.iter().for_each(|(name, _)| eprintln!("  {name}"));
    ExitCode::from(2)
}
