//! The proof of the explorer: servers with one bug each, and what has to be found in them; correct ones, in which nothing
//! may be found.
//!
//! `cargo test -p explorer` explores each mutant once. `EXPLORER=all` explores each ten times, with every script, and the
//! correct ones with one placement more; `EXPLORER=table` does that for the mutants, and prints the table of README.md.
//! This binary is the servers too: a test starts it again with `--serve NAME`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod catalogue;
#[cfg(target_os = "linux")]
mod mutant;
#[cfg(target_os = "linux")]
mod proof;
#[cfg(target_os = "linux")]
mod reduction;
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
        Some("--explore") => proof::explore_for_ever(&args[1]),
        Some("--memory") => proof::memory(),
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

/// The servers use epoll and io_uring.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: the explorer's mutants run on Linux only");
    ExitCode::SUCCESS
}
