//! `uring`: the echo server on io_uring. The lesson is in `server.rs`, and what may be in flight in `flight.rs`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod server;

// `server.rs` takes it from here, so that an example can give it another one.
#[cfg(target_os = "linux")]
use uring::flight;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let new = |listener, shutdown| server::Server::new(flight::Flight::open()?, listener, shutdown);
    common_server::main("uring", new, server::Server::run)
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("uring", "io_uring", "Linux")
}
