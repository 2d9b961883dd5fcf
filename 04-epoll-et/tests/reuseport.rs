//! Workers with a listener each keep the same contract.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("epoll-et", "reuseport")
}
