//! The edge-triggered variant keeps the same contract.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("kqueue", "ev_clear")
}
