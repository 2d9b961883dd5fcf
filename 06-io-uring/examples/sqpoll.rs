//! SQPOLL: a thread of the kernel looks for submissions, so handing them over takes no call. This is the chapter's server,
//! unchanged, on such a ring.
//!
//! `--wait sleep`: it still sleeps in io_uring_enter(2) until something has landed, which is a call. `--wait spin`: it looks
//! at the completion queue again and again instead. Then there is no call at all, and two cores are busy, whether there
//! is work or not. `--idle-ms`: how long the kernel's thread looks for work before it sleeps, and so how long after the last
//! byte a core is busy for nothing.
//!
//! Invariant: a submission is never forgotten while the kernel's thread sleeps: `submit` comes after every push, sees that
//! it sleeps (IORING_SQ_NEED_WAKEUP) and wakes it.

#[cfg(target_os = "linux")]
#[allow(dead_code)] // Its own `new`.
#[path = "../src/server.rs"]
mod server;

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("sqpoll", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common_server::main_with("sqpoll", linux::OPTIONS, linux::new, server::Server::run)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::SocketAddr;

    use anyhow::{Context, Result};
    use common_server::{Args, Given, Opt, Shutdown, Takes, listen};
    use flight::{Flight, setup};
    use io_uring::IoUring;

    use crate::server::Server;

    const ENTRIES: u32 = 64;
    const COMPLETIONS: u32 = 1024;
    const IDLE_MS: usize = 1;

    pub const OPTIONS: &[Opt] = &[
        Opt {
            name: "--wait",
            takes: Takes::OneOf(&["sleep", "spin"]),
            help: "sleep until something lands (default), or spin: one more core",
        },
        Opt {
            name: "--idle-ms",
            takes: Takes::Number(1, 10_000),
            help: "the kernel's thread sleeps after so long without work (default 1)",
        },
    ];

    pub fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, Server)> {
        let listener = listen(args.addr, args.backlog)?;
        let addr = listener.local_addr()?;
        let idle_ms = given.number("--idle-ms").unwrap_or(IDLE_MS) as u32;
        // No DEFER_TASKRUN: the kernel's thread does that work too.
        let mut builder = IoUring::builder();
        let ring = builder.setup_cqsize(COMPLETIONS).setup_sqpoll(idle_ms).build(ENTRIES);
        let ring = ring.map_err(|error| setup::explain(&error)).context("io_uring_setup with SQPOLL")?;
        let mut flight = Flight::new(ring).context("io_uring: register a buffer ring (Linux 5.19 can)")?;
        if given.word("--wait") == Some("spin") {
            flight.spin();
        }
        Ok((addr, Server::on(flight, listener, shutdown)?))
    }
}
