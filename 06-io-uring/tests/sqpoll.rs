//! The chapter's server keeps the same contract when a thread of the kernel submits for it.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("uring", "sqpoll")
}
