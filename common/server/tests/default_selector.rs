//! One server with each of its backends: the same contract four times.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("common-server", "default_selector")
}
