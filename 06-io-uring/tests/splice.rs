//! A server whose bytes never enter the program keeps the same contract.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("uring", "splice")
}
