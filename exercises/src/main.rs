//! All starters and solutions in one program: `exercises 19_accept_queue/starter [ARGUMENT]...`.

use std::process::ExitCode;

mod servers;

fn main() -> ExitCode {
    exercises::program::main("exercises", servers::SERVERS)
}
