//! What tutorials print fails the checks that are declared for it, each for its reason, and no other.

fn main() -> std::process::ExitCode {
    harness::broken_example("poll", "textbook_blocking")
}
