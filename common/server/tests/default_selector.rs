//! The server keeps the same contract with each of its four backends.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("common-server", "default_selector")
}
