//! `cargo lab`: the one command of the course.
//!
//! Invariant: all of it is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::main()
}
