//! Every clause of the contract, checked from outside on this chapter's server.

fn main() -> std::process::ExitCode {
    // Not env!: a shell between cargo and rustc, as cross builds have one, may drop a variable with a hyphen in its
    // name.
    let Some(binary) = option_env!("CARGO_BIN_EXE_epoll-et") else { panic!("cargo did not name the binary") };
    harness::conformance(harness::Subject::chapter("epoll-et", binary))
}
