//! The shortcut of epoll(7) keeps the same contract, as long as RDHUP is watched.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("epoll-et", "short_read")
}
