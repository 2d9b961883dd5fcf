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

/// One run, from the start of a new server to its end.
pub fn run(order: &Order<'_>) -> Result<Run, Error> {
    let watchdog = watchdog::Watchdog::new();
    machine::Machine::run(order, &watchdog)
}
