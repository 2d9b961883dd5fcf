//! The edge-triggered variant keeps the same contract.

use harness::{Model, Subject};

fn main() -> std::process::ExitCode {
    harness::conformance(Subject::example("kqueue", "ev_clear", Model::Readiness))
}
