//! The parts that all servers of this workspace share and no chapter teaches: command line, listener, pending bytes,
//! table of connections, wakeup on SIGINT and SIGTERM, and accept's errors.
//!
//! Invariant: nothing in this crate waits for readiness, registers interest, or decides how much to read and write. The
//! chapters teach these, so they do them themselves.

mod accept;
mod args;
mod connections;
mod listener;
mod notice;
mod pending;
mod platform;
mod shutdown;
mod socket;

pub use accept::{ACCEPT_BATCH, AcceptError, Retry};
pub use args::{Args, BadArgs, Given, Opt, Parsed, Takes};
pub use connections::Connections;
pub use listener::{listen, listen_beside};
pub use notice::Notice;
pub use pending::{MAX_PENDING, Pending, READ_BUFFER};
#[cfg(target_os = "linux")]
pub use platform::io_uring_is_denied;
pub use platform::not_on_this_platform;
pub use shutdown::Shutdown;
pub use socket::{Received, Sent, receive, send};

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

/// Runs a server from its command line to its exit code, so that a chapter's `main.rs` is one call.
///
/// In this order: arguments, signals, listener, the server's own set-up (`new`), the line on stdout that says where the
/// server listens, `run`. The line comes after the set-up because a program that reads it may connect at once.
///
/// Exit codes: 0 after SIGINT, SIGTERM or `--help`; 2 with the usage for bad arguments; 1 with one line on stderr when
/// the set-up or the loop itself fails.
pub fn main<S>(
    name: &str,
    new: impl FnOnce(TcpListener, Shutdown) -> anyhow::Result<S>,
    run: impl FnOnce(S) -> anyhow::Result<()>,
) -> ExitCode {
    let new = |args: Args, _, shutdown| {
        let listener = listen(args.addr, args.backlog)?;
        Ok((listener.local_addr()?, new(listener, shutdown)?))
    };
    main_with(name, &[], new, run)
}

/// Like [`main`], for a variant that has its own options or opens its own listeners. `new` also returns the address.
pub fn main_with<S>(
    name: &str,
    options: &[Opt],
    new: impl FnOnce(Args, Given, Shutdown) -> anyhow::Result<(SocketAddr, S)>,
    run: impl FnOnce(S) -> anyhow::Result<()>,
) -> ExitCode {
    let (args, given) = match Args::parse(std::env::args_os().skip(1), options) {
        Ok(Parsed::Run(args, given)) => (args, given),
        Ok(Parsed::Help) => {
            print!("{}", args::usage(name, options));
            return ExitCode::SUCCESS;
        }
        Err(bad) => {
            eprint!("{name}: {bad}\n\n{}", args::usage(name, options));
            return ExitCode::from(2);
        }
    };
    pending::return_freed_memory();
    let served = (|| {
        let shutdown = Shutdown::install()?;
        let (addr, server) = new(args, given, shutdown)?;
        let mut out = std::io::stdout().lock();
        // If nobody reads stdout any more, the server still serves.
        let _ = writeln!(out, "listening on {addr}").and_then(|()| out.flush());
        drop(out);
        run(server)
    })();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
