//! What the stand-in keeps for the whole process, and what becomes of it in a child of fork(2) and in a signal handler.
//!
//! Invariant: a child begins with nothing. On BSD a child inherits no kqueue, and here its parent's locks may have been
//! held at the fork by a thread that the child does not have. So the child never looks at what its parent has left.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use super::calls::*;
use super::filters::signal::{self, Listeners};
use super::queues::Queues;

/// The locks are taken in the order of the fields, after that of a kqueue's knotes.
#[derive(Default)]
pub struct State {
    pub queues: Mutex<Queues>,
    pub listeners: Mutex<BTreeMap<c_int, Listeners>>,
    /// The waits since a SIGNAL knote was changed.
    pub waits: AtomicU32,
    /// For each descriptor that the stand-in has made, a number that no other has.
    pub made: Mutex<Vec<u32>>,
}

static STATE: AtomicPtr<State> = AtomicPtr::new(ptr::null_mut());

/// The state of this process.
pub fn state() -> &'static State {
    static WATCHES_FORKS: AtomicBool = AtomicBool::new(false);
    // SAFETY: the pointer is null or comes from `Box::into_raw` below, and what it points to is never freed.
    if let Some(state) = unsafe { STATE.load(Ordering::Acquire).as_ref() } {
        return state;
    }
    if !WATCHES_FORKS.swap(true, Ordering::AcqRel) {
        at_fork(begin_with_nothing);
    }
    let new = Box::into_raw(Box::default());
    match STATE.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: `new` was made here and is never freed.
        Ok(_) => unsafe { &*new },
        Err(others) => {
            // SAFETY: nobody else has seen `new`. `others` came from `into_raw` in another thread.
            unsafe {
                drop(Box::from_raw(new));
                &*others
            }
        }
    }
}

/// Runs in a child of fork(2).
extern "C" fn begin_with_nothing() {
    STATE.store(ptr::null_mut(), Ordering::Release);
    signal::silence();
}

thread_local! {
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, this thread holds locks of the stand-in, or may.
///
/// On BSD a signal handler may call kevent(2). Here the handler may have interrupted a thread that holds a lock. It would
/// wait for the lock for ever, so its call fails instead.
pub struct Busy;

impl Busy {
    pub fn begin() -> Result<Self> {
        if IS_BUSY.replace(true) { Err(libc::EDEADLK) } else { Ok(Self) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        IS_BUSY.set(false);
    }
}
