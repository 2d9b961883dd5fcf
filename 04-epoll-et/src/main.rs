//! `epoll-et`: the echo server on edge-triggered epoll. The lesson is in `server.rs`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod server;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    common_server::main("epoll-et", server::Server::new, server::Server::run)
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("epoll-et", "epoll", "Linux")
}
