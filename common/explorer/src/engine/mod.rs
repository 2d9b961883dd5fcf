//! The part that needs Linux: a server under ptrace(2), on x86-64 or aarch64.
//!
//! Invariant: what comes out of here is portable: `run` and its types.

mod client;
mod cost;
mod decisions;
mod frames;
mod independence;
mod kqueue;
mod ledger;
mod machine;
mod oracle;
mod recorder;
mod rest;
mod ring;
mod scene;
mod steps;
mod tracee;
mod watchdog;
mod world;

use observe::start::{self, NoStart};

pub use observe::ptrace::possible;

use self::world::WhichListener;
use crate::order::Order;
use crate::run::{Error, Run};

/// Gives this thread, and those that it starts, a table of file descriptors of their own, with 0 to 2 in it. Other threads
/// start processes, and each of these has copies of all file descriptors until it calls exec. A copy of a server's borrowed
/// socket would keep that socket open, and registered with the server's epoll, after the server has closed it.
pub fn leave_descriptors() {
    // SAFETY: close_range takes numbers only. What it closes stays open for the threads that it belongs to, because this
    // thread gets a table of its own first; it has opened nothing yet. Before Linux 5.9 the call fails and all stays as it
    // is: a wait may then block although it had something to report a moment ago, which `Tracee::make` watches for.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
}

/// A server may have other sockets that listen, a port for its statistics say. Without a `{port}`, the line that says where
/// it listens tells which socket is meant, and that line comes late: then the run is begun once more.
fn run_on_its_listener(
    order: &Order<'_>,
    argv: &[String],
    port: Option<u16>,
    watchdog: &watchdog::Watchdog,
) -> Result<Run, Error> {
    const LISTENERS: usize = 8;
    for passed_over in 0..LISTENERS {
        let which = WhichListener { port, passed_over };
        if let Some(run) = machine::Machine::run(order, argv, which, watchdog)? {
            return Ok(run);
        }
    }
    let name = &order.subject.name;
    Err(Error::Start(format!(
        "'{name}': none of its first {LISTENERS} listening sockets has the address that it prints"
    )))
}

/// One run, from the start of a new server to its end. A server that loses its `{port}` to another program is started again.
pub fn run(order: &Order<'_>) -> Result<Run, Error> {
    let watchdog = watchdog::Watchdog::new();
    start::on_a_free_port(&order.subject.argv, |argv, port| {
        run_on_its_listener(order, argv, port, &watchdog).map_err(|error| match (&error, port) {
            (Error::Start(said), Some(port)) if start::lost_its_port(port, said) => NoStart::PortTaken(error),
            _ => NoStart::Other(error),
        })
    })
}
