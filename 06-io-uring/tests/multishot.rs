//! Multishot operations keep the same contract.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("uring", "multishot")
}
