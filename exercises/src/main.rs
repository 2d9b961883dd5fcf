//! All starters and solutions in one program, so that they are built once: `exercises 13_accept_queue/starter [ARGUMENT]...`
//! is that server, with those arguments.
//!
//! Invariant: a server sees the command line that it would see as a program of its own.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

#[cfg(target_os = "linux")]
#[path = "../13_accept_queue/solution.rs"]
mod solution_13;
#[cfg(target_os = "linux")]
#[path = "../27_one_buffer/solution.rs"]
mod solution_27;
#[cfg(target_os = "linux")]
#[path = "../28_early_free/solution.rs"]
mod solution_28;
#[cfg(target_os = "linux")]
#[path = "../29_short_send/solution.rs"]
mod solution_29;
#[cfg(target_os = "linux")]
#[path = "../30_multishot/solution.rs"]
mod solution_30;
#[cfg(target_os = "linux")]
#[path = "../31_no_buffers/solution.rs"]
mod solution_31;
#[cfg(target_os = "linux")]
#[path = "../32_the_chain/solution.rs"]
mod solution_32;
#[cfg(target_os = "linux")]
#[path = "../33_close_in_flight/solution.rs"]
mod solution_33;
#[cfg(target_os = "linux")]
#[path = "../13_accept_queue/starter.rs"]
mod starter_13;
#[cfg(target_os = "linux")]
#[path = "../27_one_buffer/starter.rs"]
mod starter_27;
#[cfg(target_os = "linux")]
#[path = "../28_early_free/starter.rs"]
mod starter_28;
#[cfg(target_os = "linux")]
#[path = "../29_short_send/starter.rs"]
mod starter_29;
#[cfg(target_os = "linux")]
#[path = "../30_multishot/starter.rs"]
mod starter_30;
#[cfg(target_os = "linux")]
#[path = "../31_no_buffers/starter.rs"]
mod starter_31;
#[cfg(target_os = "linux")]
#[path = "../32_the_chain/starter.rs"]
mod starter_32;
#[cfg(target_os = "linux")]
#[path = "../33_close_in_flight/starter.rs"]
mod starter_33;

/// In the environment of the second start: which server to be.
const CHOSEN: &str = "EXERCISES_SERVER";

type Main = fn() -> ExitCode;

/// The servers of this platform, by the paths of their files.
const SERVERS: &[(&str, Main)] = &[
    #[cfg(target_os = "linux")]
    ("13_accept_queue/starter", starter_13::main),
    #[cfg(target_os = "linux")]
    ("13_accept_queue/solution", solution_13::main),
    #[cfg(target_os = "linux")]
    ("27_one_buffer/starter", starter_27::main),
    #[cfg(target_os = "linux")]
    ("27_one_buffer/solution", solution_27::main),
    #[cfg(target_os = "linux")]
    ("28_early_free/starter", starter_28::main),
    #[cfg(target_os = "linux")]
    ("28_early_free/solution", solution_28::main),
    #[cfg(target_os = "linux")]
    ("29_short_send/starter", starter_29::main),
    #[cfg(target_os = "linux")]
    ("29_short_send/solution", solution_29::main),
    #[cfg(target_os = "linux")]
    ("30_multishot/starter", starter_30::main),
    #[cfg(target_os = "linux")]
    ("30_multishot/solution", solution_30::main),
    #[cfg(target_os = "linux")]
    ("31_no_buffers/starter", starter_31::main),
    #[cfg(target_os = "linux")]
    ("31_no_buffers/solution", solution_31::main),
    #[cfg(target_os = "linux")]
    ("32_the_chain/starter", starter_32::main),
    #[cfg(target_os = "linux")]
    ("32_the_chain/solution", solution_32::main),
    #[cfg(target_os = "linux")]
    ("33_close_in_flight/starter", starter_33::main),
    #[cfg(target_os = "linux")]
    ("33_close_in_flight/solution", solution_33::main),
];

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
