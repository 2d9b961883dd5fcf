//! Every clause of the contract, checked from outside on this chapter's server.

fn main() -> std::process::ExitCode {
    harness::conformance(harness::Subject::chapter("kqueue", env!("CARGO_BIN_EXE_kqueue")))
}
