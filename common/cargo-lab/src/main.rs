//! `cargo lab`: what the alias in .cargo/config.toml runs.
//!
//! Invariant: all its code is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_lab::main()
}
