//! `cargo lab show`: what `cargo-lab` runs for it.
//!
//! Invariant: all its code is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab_show::main()
}
