//! Every check of the harness on this crate's server, each as a test: `cargo test --test conformance drain`.

use harness::Subject;

fn main() -> std::process::ExitCode {
    // {port} is a port that is free.
    let command = vec![env!("CARGO_BIN_EXE_outside-echo").to_owned(), "{port}".to_owned()];
    harness::conformance(Subject {
        // A check or a group that this server does not keep on purpose, and why. It is shown as ignored, with the reason.
        differs: &[("fairness", "each client has a thread, and the kernel's scheduler is fair to threads")],
        ..Subject::command("outside-echo", command)
    })
}
