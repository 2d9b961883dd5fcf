//! The server with a thread per connection keeps the contract, except for its declared exceptions.

fn main() -> std::process::ExitCode {
    harness::conformance_of_example("common-server", "thread_per_connection")
}
