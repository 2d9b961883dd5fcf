//! `uring`: the echo server on io_uring. The lesson is in `server.rs`, the unsafe half of it in `flight.rs`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod server;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    common_server::main("uring", server::Server::new, server::Server::run)
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("uring", "io_uring", "Linux")
}
