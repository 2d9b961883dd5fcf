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
#[path = "../14_large_messages/solution.rs"]
mod solution_14;
#[cfg(target_os = "linux")]
#[path = "../15_short_read/solution.rs"]
mod solution_15;
#[cfg(target_os = "linux")]
#[path = "../16_goodbye/solution.rs"]
mod solution_16;
#[cfg(target_os = "linux")]
#[path = "../17_back_pressure/solution.rs"]
mod solution_17;
#[cfg(target_os = "linux")]
#[path = "../18_ready_flag/solution.rs"]
mod solution_18;
#[cfg(target_os = "linux")]
#[path = "../19_registration/solution.rs"]
mod solution_19;
#[cfg(target_os = "linux")]
#[path = "../20_oneshot/solution.rs"]
mod solution_20;
#[cfg(target_os = "linux")]
#[path = "../21_out_of_fds/solution.rs"]
mod solution_21;
#[cfg(target_os = "linux")]
#[path = "../22_firehose/solution.rs"]
mod solution_22;
#[cfg(target_os = "linux")]
#[path = "../23_the_herd/solution.rs"]
mod solution_23;
#[path = "../24_end_of_file/solution.rs"]
mod solution_24;
#[path = "../25_clear/solution.rs"]
mod solution_25;
#[path = "../26_second_event/solution.rs"]
mod solution_26;
#[cfg(target_os = "linux")]
#[path = "../13_accept_queue/starter.rs"]
mod starter_13;
#[cfg(target_os = "linux")]
#[path = "../14_large_messages/starter.rs"]
mod starter_14;
#[cfg(target_os = "linux")]
#[path = "../15_short_read/starter.rs"]
mod starter_15;
#[cfg(target_os = "linux")]
#[path = "../16_goodbye/starter.rs"]
mod starter_16;
#[cfg(target_os = "linux")]
#[path = "../17_back_pressure/starter.rs"]
mod starter_17;
#[cfg(target_os = "linux")]
#[path = "../18_ready_flag/starter.rs"]
mod starter_18;
#[cfg(target_os = "linux")]
#[path = "../19_registration/starter.rs"]
mod starter_19;
#[cfg(target_os = "linux")]
#[path = "../20_oneshot/starter.rs"]
mod starter_20;
#[cfg(target_os = "linux")]
#[path = "../21_out_of_fds/starter.rs"]
mod starter_21;
#[cfg(target_os = "linux")]
#[path = "../22_firehose/starter.rs"]
mod starter_22;
#[cfg(target_os = "linux")]
#[path = "../23_the_herd/starter.rs"]
mod starter_23;
#[path = "../24_end_of_file/starter.rs"]
mod starter_24;
#[path = "../25_clear/starter.rs"]
mod starter_25;
#[path = "../26_second_event/starter.rs"]
mod starter_26;

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
    ("14_large_messages/starter", starter_14::main),
    #[cfg(target_os = "linux")]
    ("14_large_messages/solution", solution_14::main),
    #[cfg(target_os = "linux")]
    ("15_short_read/starter", starter_15::main),
    #[cfg(target_os = "linux")]
    ("15_short_read/solution", solution_15::main),
    #[cfg(target_os = "linux")]
    ("16_goodbye/starter", starter_16::main),
    #[cfg(target_os = "linux")]
    ("16_goodbye/solution", solution_16::main),
    #[cfg(target_os = "linux")]
    ("17_back_pressure/starter", starter_17::main),
    #[cfg(target_os = "linux")]
    ("17_back_pressure/solution", solution_17::main),
    #[cfg(target_os = "linux")]
    ("18_ready_flag/starter", starter_18::main),
    #[cfg(target_os = "linux")]
    ("18_ready_flag/solution", solution_18::main),
    #[cfg(target_os = "linux")]
    ("19_registration/starter", starter_19::main),
    #[cfg(target_os = "linux")]
    ("19_registration/solution", solution_19::main),
    #[cfg(target_os = "linux")]
    ("20_oneshot/starter", starter_20::main),
    #[cfg(target_os = "linux")]
    ("20_oneshot/solution", solution_20::main),
    #[cfg(target_os = "linux")]
    ("21_out_of_fds/starter", starter_21::main),
    #[cfg(target_os = "linux")]
    ("21_out_of_fds/solution", solution_21::main),
    #[cfg(target_os = "linux")]
    ("22_firehose/starter", starter_22::main),
    #[cfg(target_os = "linux")]
    ("22_firehose/solution", solution_22::main),
    #[cfg(target_os = "linux")]
    ("23_the_herd/starter", starter_23::main),
    #[cfg(target_os = "linux")]
    ("23_the_herd/solution", solution_23::main),
    ("24_end_of_file/starter", starter_24::main),
    ("24_end_of_file/solution", solution_24::main),
    ("25_clear/starter", starter_25::main),
    ("25_clear/solution", solution_25::main),
    ("26_second_event/starter", starter_26::main),
    ("26_second_event/solution", solution_26::main),
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
