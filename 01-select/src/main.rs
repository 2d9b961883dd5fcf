//! `select`: the echo server on select(2). The lesson is in `server.rs`.

use std::process::ExitCode;

mod server;

fn main() -> ExitCode {
    common_server::main("select", server::Server::new, server::Server::run)
}
