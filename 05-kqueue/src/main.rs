//! `kqueue`: the echo server on kqueue(2), or on its stand-in on Linux. The lesson is in `server.rs`.

use std::process::ExitCode;

mod server;

fn main() -> ExitCode {
    common_server::main("kqueue", server::Server::new, server::Server::run)
}
