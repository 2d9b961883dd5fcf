//! `cargo lab`: the one command of the course.
//!
//! Invariant: all its code is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::main()
}
