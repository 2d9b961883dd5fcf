//! A check that does not come back: the run ends, and says which check it was.
//!
//! Invariant: this is for faults of the harness. A check has deadlines of its own, and a server that never answers
//! comes to one of them.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use observe::Family;

/// The longest check takes a minute or two on a machine with a load of 30.
const MINUTES: u32 = 15;
const TICK: Duration = Duration::from_secs(5);

/// Does `work`. If it does not come back, the program ends with exit code 1 and tells what hangs, and where.
pub fn within_bounds<T>(check: &str, server: &str, work: impl FnOnce() -> T) -> T {
    let (done, over) = mpsc::channel::<()>();
    let what = format!("{check} on {server}");
    let watch = move || {
        // Counted in ticks: a laptop's lid, or a SIGSTOP, takes one of them only.
        for _ in 0..MINUTES * 60 / TICK.as_secs() as u32 {
            if over.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
        give_up(&what);
    };
    // Without memory for a thread the check goes unwatched.
    let _ = std::thread::Builder::new().name("overdue".into()).stack_size(256 * 1024).spawn(watch);
    let result = work();
    drop(done);
    result
}

fn give_up(what: &str) -> ! {
    eprintln!(
        "\n{what}: the check has not come back after {MINUTES} minutes. This is a fault of the harness and says nothing \
         about the server: please report it, with these lines."
    );
    for thread in Family::of(std::process::id() as i32).threads().unwrap_or_default() {
        match thread.call {
            Some(call) => eprintln!("  thread {} ({}) is in {call}", thread.tid, thread.state),
            None => eprintln!("  thread {} ({}) is in no system call", thread.tid, thread.state),
        }
    }
    std::process::exit(1)
}
