//! A pool that hands connections from thread to thread keeps the same contract.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("kqueue", "dispatch")
}
