//! The part that needs Linux: a server under ptrace(2), on x86-64 or aarch64.
//!
//! Invariant: what comes out of here is portable: `run` and its types.

mod client;
mod machine;
mod watchdog;

pub use machine::Order;
pub use observe::ptrace::possible;

use observe::start::{self, NoStart};

use crate::run::{Error, Run};

/// Gives this thread, and those that it starts, a table of descriptors of their own, with 0 to 2 in it. Other threads start
/// processes, each of which has a copy of all the program's descriptors until it calls exec. Were a server's borrowed socket
/// among them, that copy would keep it open and registered with the server's epoll after the server has closed it.
pub fn leave_descriptors() {
    // SAFETY: what is closed here stays open for the threads that it belongs to, and this one has none yet.
    // Before Linux 5.9 all stays as it is: a wait may then sleep although there was news a moment ago, which is watched for.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
}

/// One run, from the start of a new server to its end. A server that loses its port to somebody else is started again.
pub fn run(order: &Order<'_>) -> Result<Run, Error> {
    let watchdog = watchdog::Watchdog::new();
    start::on_a_free_port(&order.target.argv, |argv, port| {
        machine::Machine::run(order, argv, &watchdog).map_err(|error| match (&error, port) {
            (Error::Start(what), Some(port)) if start::lost_its_port(port, what) => NoStart::PortTaken(error),
            _ => NoStart::Other(error),
        })
    })
}
