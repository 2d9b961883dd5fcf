//! The part that needs Linux: a server under ptrace(2), on x86-64 or aarch64.
//!
//! Invariant: what comes out of here is portable: `run` and its types.

mod calls;
mod client;
mod kernel;
mod machine;
mod probe;
mod ptrace;
mod watchdog;

pub use machine::Order;
pub use probe::probe as possible;

use crate::run::{Error, Run};

/// Gives this thread, and those that it starts, a table of descriptors of their own, with 0 to 2 in it. Other threads start
/// processes, each of which has a copy of all the program's descriptors until it calls exec. Were a server's borrowed socket
/// among them, that copy would keep it open and registered with the server's epoll after the server has closed it.
pub fn leave_descriptors() {
    // SAFETY: no pointers. What is closed here stays open for the threads that it belongs to, and this one has none yet.
    // Before Linux 5.9 all stays as it is: a wait may then sleep although there was news a moment ago, which is watched for.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
}

/// One run, from the start of a new server to its end.
pub fn run(order: &Order<'_>) -> Result<Run, Error> {
    let watchdog = watchdog::Watchdog::new();
    machine::Machine::run(order, &watchdog)
}
