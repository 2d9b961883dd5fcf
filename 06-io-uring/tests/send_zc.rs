//! Zero-copy sends keep the same contract.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("uring", "send_zc")
}
