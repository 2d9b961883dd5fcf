//! For a tracer that wants to show kevent(2), and not the calls under it (`cargo lab explore kqueue`): which lists a call
//! was given, and which it gave back.
//!
//! A tracer sees system calls, and here kevent is none. So before and after each call the stand-in makes a system call that
//! no kernel has. Its arguments are those of kevent, and the kernel answers ENOSYS.
//!
//! Invariant: nothing is said unless `KQUEUE_ANNOUNCE` is in the environment. What is said changes nothing, errno
//! included: errno is set by `answer`, which comes later.

use std::ffi::{c_int, c_long};
use std::sync::OnceLock;

use libc::timespec;

use super::abi::kevent;
use super::calls::Result;

/// "kq": far from the numbers that kernels use. The tracer has the same (common/explorer/src/engine/kqueue.rs).
const CALL: c_long = 0x6b71;
const KQUEUE: usize = 1;
const KQUEUE_DONE: usize = 2;
const KEVENT: usize = 3;
const KEVENT_DONE: usize = 4;

fn say(arguments: impl FnOnce() -> [usize; 6]) {
    static IS_ON: OnceLock<bool> = OnceLock::new();
    if *IS_ON.get_or_init(|| std::env::var_os("KQUEUE_ANNOUNCE").is_some()) {
        let [a, b, c, d, e, f] = arguments();
        // SAFETY: no kernel has a call of this number, so nothing is done with the arguments.
        unsafe { libc::syscall(CALL, a, b, c, d, e, f) };
    }
}

/// The number, or minus the error.
fn value(result: &Result<usize>) -> usize {
    match result {
        Ok(number) => *number,
        Err(errno) => (-(*errno as isize)) as usize,
    }
}

pub fn kqueue_begins() {
    say(|| [KQUEUE, 0, 0, 0, 0, 0]);
}

pub fn kqueue_ends(result: &Result<usize>) {
    say(|| [KQUEUE_DONE, 0, value(result), 0, 0, 0]);
}

pub fn kevent_begins(kq: c_int, changes: *const kevent, nchanges: c_int, nevents: c_int, timeout: *const timespec) {
    let counts = [nchanges, nevents].map(|count| count.max(0) as usize);
    say(|| [KEVENT, kq as usize, changes.addr(), counts[0], counts[1], timeout.addr()]);
}

pub fn kevent_ends(events: *const kevent, result: &Result<usize>) {
    say(|| [KEVENT_DONE, events.addr(), value(result), 0, 0, 0]);
}
