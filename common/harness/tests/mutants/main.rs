//! The proof of the harness: servers with one bug each, and what the harness has to say about them.
//!
//! A mutant is a correct small server with one mistake that real servers make. Its test demands that the named checks
//! fail, with the right symptom and the right words, and that no other check does, except those listed as consequences.
//!
//! `cargo test -p harness` runs on each mutant its named checks and a few others, which have to pass. A named check that
//! is long runs only with LONG in the environment, or with more than that. MUTANTS in the
//! environment asks for more: `all` runs the whole suite on each, `record` does too and lists what fails besides in
//! consequences.toml, `causes` prints each mutant's cause beside its bug, `table` prints the table of README.md, and `fuzz`
//! measures the fuzz on all mutants. This binary is the servers too: a test starts it again
//! with `--serve NAME`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod blocking;
#[cfg(target_os = "linux")]
mod catalogue;
#[cfg(target_os = "linux")]
mod causes;
#[cfg(target_os = "linux")]
mod consequences;
#[cfg(target_os = "linux")]
mod forking;
#[cfg(target_os = "linux")]
mod fuzz;
#[cfg(target_os = "linux")]
mod limited;
#[cfg(target_os = "linux")]
mod mutant;
#[cfg(target_os = "linux")]
mod oddities;
#[cfg(target_os = "linux")]
mod pollers;
mod pool;
#[cfg(target_os = "linux")]
mod proof;
#[cfg(target_os = "linux")]
mod readiness;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod uring;
#[cfg(target_os = "linux")]
mod workers;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve") => {
            let (base, bug) = mutant::find(&args[1]);
            serve::serve(base, bug, &args[2..])
        }
        _ => proof::main(),
    }
}

/// The mutants use epoll and io_uring, and the proof looks into /proc.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("the mutants run on Linux only");
    ExitCode::SUCCESS
}
