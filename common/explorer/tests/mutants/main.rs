//! The proof of the explorer: it must find the bug of each mutant, and nothing in a correct server.
//!
//! `cargo test -p explorer` explores each mutant once. `EXPLORER=all` explores each mutant ten times, and the correct
//! servers with one more placement. `EXPLORER=table` explores the mutants with every script and prints a table with the
//! runs and seconds. This binary also contains the servers: a test starts it again with `--serve NAME`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod blocking;
#[cfg(target_os = "linux")]
mod catalogue;
#[cfg(target_os = "linux")]
mod edge;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod mutant;
#[cfg(target_os = "linux")]
mod oneshot;
#[cfg(target_os = "linux")]
mod outside;
#[cfg(target_os = "linux")]
mod proof;
#[cfg(target_os = "linux")]
#[path = "../recorded/mod.rs"]
mod recorded;
#[cfg(target_os = "linux")]
mod recordings;
#[cfg(target_os = "linux")]
mod reduction;
#[cfg(target_os = "linux")]
mod replays;
#[cfg(target_os = "linux")]
mod select;
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
        Some("--serve") => match catalogue::find(&args[1]) {
            Some((base, bug)) => serve::serve(base, bug),
            None => {
                eprintln!("no mutant has the name '{}'", args[1]);
                ExitCode::from(2)
            }
        },
        Some("--explore") => outside::explore_for_ever(&args[1]),
        Some("--memory") => outside::memory(),
        Some("--table") => {
            print!("{}", table::markdown());
            ExitCode::SUCCESS
        }
        Some("--reduction") => match reduction::table() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        },
        _ => proof::main(),
    }
}

/// The mutants use epoll and io_uring.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: the explorer's mutants run on Linux only");
    ExitCode::SUCCESS
}
