//! `poll`: the echo server on poll(2). The lesson is in `server.rs`.

use std::process::ExitCode;

mod server;

fn main() -> ExitCode {
    common_server::main("poll", server::Server::new, server::Server::run)
}
