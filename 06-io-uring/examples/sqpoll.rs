//! SQPOLL: a thread of the kernel looks for submissions, so handing them over takes no call. This is the chapter's
//! `server.rs`, unchanged, on such a ring.
//!
//! - `--wait sleep`: the server still sleeps in io_uring_enter(2) until something has landed, which is a call.
//! - `--wait spin`: the server looks at the completion queue again and again instead. Then it makes no call at all, and two
//!   cores are busy, whether or not there is work.
//! - `--idle-ms N`: the kernel's thread looks for work this long before it sleeps. So a core is busy for nothing this long
//!   after the last byte.
//!
//! Invariant: a submission is never forgotten while the kernel's thread sleeps. `submit` comes after every push, sees that
//! the thread sleeps (IORING_SQ_NEED_WAKEUP) and wakes it.

#[cfg(target_os = "linux")]
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

/// What `server.rs` uses: the chapter's `Flight`, with another wait.
#[cfg(target_os = "linux")]
mod flight {
    use std::io;
    use std::time::{Duration, Instant};

    pub use uring::flight::{Bytes, Landed, Op, is_transient};

    pub struct Flight {
        pub chapters: uring::flight::Flight,
        pub spins: bool,
    }

    impl Flight {
        pub fn start(&mut self, op: Op) -> io::Result<()> {
            self.chapters.start(op)
        }

        pub fn wait(&mut self, timeout_ms: libc::c_int) -> io::Result<()> {
            if self.spins { self.spin(timeout_ms) } else { self.chapters.wait(timeout_ms) }
        }

        fn spin(&mut self, timeout_ms: libc::c_int) -> io::Result<()> {
            let queues = self.chapters.queues();
            // This is a call only if the kernel's thread has gone to sleep.
            queues.submit()?;
            let deadline = u64::try_from(timeout_ms).ok().map(|ms| Instant::now() + Duration::from_millis(ms));
            while queues.reap()? == 0 && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                std::hint::spin_loop();
            }
            Ok(())
        }

        pub fn land(&mut self) -> Option<Landed> {
            self.chapters.land()
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::SocketAddr;

    use anyhow::{Context, Result};
    use common_server::{Args, Given, Opt, Shutdown, Takes, io_uring_is_denied, listen};
    use io_uring::IoUring;
    use uring::queues::Queues;

    use crate::flight::Flight;
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
        let ring = IoUring::builder().setup_cqsize(COMPLETIONS).setup_sqpoll(idle_ms).build(ENTRIES);
        let ring = ring.map_err(|error| io_uring_is_denied(&error)).context("io_uring_setup with SQPOLL")?;
        let chapters = uring::flight::Flight::new(Queues::new(ring))?;
        let flight = Flight { chapters, spins: given.word("--wait") == Some("spin") };
        Ok((addr, Server::new(flight, listener, shutdown)?))
    }
}
