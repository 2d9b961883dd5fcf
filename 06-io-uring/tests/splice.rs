//! Bytes that never come to the program keep the same contract.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("uring", "splice")
}
