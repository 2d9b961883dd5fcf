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
    let what = format!("{check} on {server}");
    // Counted in ticks: a laptop's lid, or a SIGSTOP, takes one of them only.
    watched(MINUTES * 60 / TICK.as_secs() as u32, TICK, move || give_up(&what), work)
}

fn watched<T>(ticks: u32, tick: Duration, give_up: impl FnOnce() + Send + 'static, work: impl FnOnce() -> T) -> T {
    let (done, over) = mpsc::channel::<()>();
    let watch = move || {
        let goes_on = |_| over.recv_timeout(tick) == Err(RecvTimeoutError::Timeout);
        if (0..ticks).all(goes_on) {
            give_up();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    #[test]
    fn what_does_not_come_back_is_given_up() {
        let (given_up, told) = mpsc::channel();
        let give_up = move || given_up.send(()).expect("it is waited for");
        watched(3, TICK, give_up, || told.recv()).expect("it was given up");
    }

    #[test]
    fn what_comes_back_is_not() {
        let (given_up, told) = mpsc::channel();
        watched(u32::MAX, TICK, move || given_up.send(()).expect("it is waited for"), || ());
        // The watcher has ended, and has not sent.
        assert!(told.recv().is_err());
    }
}
