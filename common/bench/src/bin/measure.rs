//! `measure`: runs the experiments. `cargo lab measure` builds what it needs and starts it.
//!
//! Invariant: all its code is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    bench::measure::main()
}
