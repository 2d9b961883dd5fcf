//! What cargo calls as `cargo lab` where the lab was installed (`cargo install --path common/lab`). In a clone, `cargo lab`
//! is an alias, and this program has no part in it.
//!
//! Invariant: `lab`, which is installed beside this, takes the place of this process with the same words.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    // Cargo passes the subcommand's own name first.
    if words.peek().is_some_and(|word| word == "lab") {
        words.next();
    }
    let lab = match std::env::current_exe() {
        Ok(this) => this.with_file_name("lab"),
        Err(error) => {
            eprintln!("error: cannot find the folder of this program: {error}");
            return ExitCode::FAILURE;
        }
    };
    let error = Command::new(&lab).args(words).exec();
    eprintln!("error: cannot start {}: {error}; install it again: cargo install --path common/lab", lab.display());
    ExitCode::FAILURE
}
