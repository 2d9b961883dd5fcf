//! kqueue for Linux: the same two calls with the same meanings, over the descriptors that Linux has instead.
//!
//! epoll watches descriptors, kqueue watches events. So an event that is not about a socket or a pipe must first become
//! a descriptor. Each file in `linux/filters` shows the descriptor that one filter needs. `linux/knotes.rs` ties the
//! descriptors together with three epolls, and the two calls are here.
//!
//! Invariant: the number of a kqueue is the number of its outer epoll. So poll and epoll can wait for a kqueue, and
//! closing the number is all that a program has to do. close(2) does not tell the stand-in, which finds out at the next
//! call.
//!
//! Limits:
//! - Linux 5.11 or newer, of 64 bits.
//! - SIGNAL blocks the signal in the calling thread. The other threads must block it too, so add the knote before they
//!   start. No handler of the signal runs meanwhile. If two kqueues watch one signal, one of them is told.
//! - PROC knows children only, and only their end: no NOTE_FORK, NOTE_EXEC or NOTE_TRACK. After somebody has reaped the
//!   child, its status reads 0.
//! - VNODE needs /proc, and an inotify instance for each knote; a user has 128 by default. So do READ and WRITE of a
//!   regular file. There is no NOTE_REVOKE, and the removal of an open directory is not seen.
//! - NOTE_LOWAT is for READ of a TCP socket only. It is SO_RCVLOWAT there, so a blocking read waits for as much.
//! - Reporting a socket's error clears it (SO_ERROR): a later read sees a plain end of file.
//! - A descriptor that is closed while a dup of it lives is forgotten when it next becomes ready, not at once.
//! - With threads, delete the knotes of a descriptor before you close it. Another thread's epoll_wait may be looking at
//!   the descriptor, and then keeps it open until that wait returns (since Linux 6.10).
//! - A kqueue is known by one descriptor, not by a dup of it. A thread that waits for a kqueue is not woken when
//!   another thread closes it. What a closed kqueue held is freed when the next one is made.
//!
//! What is not supported is refused, with EINVAL or ENOTSUP.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::mem;
use std::os::fd::RawFd;
use std::process;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libc::timespec;

mod abi;
mod announce;
mod calls;
mod filters;
mod knotes;

pub use abi::*;
use calls::*;
use knotes::Knotes;

/// All kqueues of this process, by number.
static STAND_INS: Mutex<BTreeMap<RawFd, Arc<StandIn>>> = Mutex::new(BTreeMap::new());

/// What is behind the number of one kqueue.
struct StandIn {
    /// A child of fork(2) inherits the descriptor, but not the kqueue.
    process: u32,
    knotes: Mutex<Knotes>,
}

/// # Safety
/// There is nothing to promise. It is `unsafe` because libc's is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kqueue() -> c_int {
    announce::kqueue_begins();
    let made = Knotes::new().map(|knotes| {
        let (fd, process) = (knotes.outer(), process::id());
        let mut stand_ins = STAND_INS.lock().unwrap();
        // close(2) tells us nothing, so look now which of the others were closed.
        stand_ins.retain(|&other, it| {
            it.process != process || other != fd && it.knotes.lock().unwrap().check_open().is_ok()
        });
        // What was left under this number is a parent's, and its descriptors are not ours to close.
        mem::forget(stand_ins.insert(fd, Arc::new(StandIn { process, knotes: Mutex::new(knotes) })));
        fd as usize
    });
    announce::kqueue_ends(&made);
    answer(made)
}

/// # Safety
/// `changes` points to `nchanges` entries and `events` to room for `nevents`; both may be the same array. `timeout` is
/// null or points to a timespec.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kevent(
    kq: c_int,
    changes: *const kevent,
    nchanges: c_int,
    events: *mut kevent,
    nevents: c_int,
    timeout: *const timespec,
) -> c_int {
    announce::kevent_begins(kq, changes, nchanges, nevents, timeout);
    let call = || {
        let (nchanges, room) = (to_usize(nchanges)?, to_usize(nevents)?);
        let stand_in = find(kq)?;
        if nchanges > 0 {
            stand_in.knotes.lock().unwrap().check_open()?;
        }
        let mut output = Vec::new();
        for i in 0..nchanges {
            // SAFETY: `i` is below `nchanges`. `events`, which may be the same array, is written to only at the end.
            let change = unsafe { changes.add(i).read() };
            let result = stand_in.knotes.lock().unwrap().change(&change);
            if output.len() < room && (result.is_err() || change.flags & EV_RECEIPT != 0) {
                let data = result.err().unwrap_or(0).into();
                output.push(kevent { flags: change.flags | EV_ERROR, data, ..change });
            } else {
                result?;
            }
        }
        if output.is_empty() && room > 0 {
            // SAFETY: null or a timespec, as the caller promises.
            let timeout = unsafe { timeout.as_ref() }.map(to_duration).transpose()?;
            output = wait(kq, &stand_in.knotes, room, timeout)?;
        }
        // SAFETY: `output` has at most `room` entries, and the caller promises as much room at `events`.
        unsafe { events.copy_from(output.as_ptr(), output.len()) };
        Ok(output.len())
    };
    let result = call();
    announce::kevent_ends(events, &result);
    answer(result)
}

fn find(kq: c_int) -> Result<Arc<StandIn>> {
    match STAND_INS.lock().unwrap().get(&kq) {
        Some(stand_in) if stand_in.process == process::id() => Ok(Arc::clone(stand_in)),
        _ => Err(libc::EBADF),
    }
}

fn wait(kq: RawFd, knotes: &Mutex<Knotes>, room: usize, timeout: Option<Duration>) -> Result<Vec<kevent>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (mut ready, mut output) = ([NO_EVENT; BATCH], Vec::new());
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // EINVAL: the number is in use again, and what it names now is no epoll.
        let count = epoll_wait(kq, &mut ready, left).map_err(|e| if e == libc::EINVAL { libc::EBADF } else { e })?;
        knotes.lock().unwrap().collect(&ready[..count], room, &mut output);
        // What epoll reported may come to nothing: another thread took it, or the knote did not ask for it.
        if count == 0 || !output.is_empty() || left == Some(Duration::ZERO) {
            return Ok(output);
        }
    }
}
