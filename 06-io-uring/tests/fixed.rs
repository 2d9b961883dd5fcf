//! Registered files and buffers keep the same contract.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("uring", "fixed")
}
