//! The naive server keeps the contract, but for what it is declared to cost.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("common-server", "thread_per_connection")
}
