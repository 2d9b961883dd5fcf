//! The proof of the explorer: servers with one bug each, and what has to be found in them; correct ones, in which nothing
//! may be found.
//!
//! This binary is the servers too: `--serve NAME`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod uring;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve") => match table::find(&args[1]) {
            Some((base, bug)) => serve::serve(base, bug),
            None => ExitCode::from(2),
        },
        _ => ExitCode::SUCCESS,
    }
}

/// The servers use epoll and io_uring.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: the explorer's mutants run on Linux only");
    ExitCode::SUCCESS
}
