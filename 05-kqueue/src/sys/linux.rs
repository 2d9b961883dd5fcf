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
//! - SIGNAL puts a handler before the program's action, so poll(2) and sleeps end with EINTR even if the program ignores
//!   the signal, and a program that is executed does not inherit that it was ignored. An action that the program sets
//!   after EV_ADD is found at the next wait, and one that it sets later at one of the next 256. Of a signal that the
//!   thread blocks, one kqueue is told, and several that are pending may count as one.
//! - PROC knows children only, and only their end: no NOTE_FORK, NOTE_EXEC or NOTE_TRACK. After somebody has reaped the
//!   child, its status reads 0.
//! - VNODE needs /proc, and an inotify instance for each knote; a user has 128 by default. So does READ of a regular
//!   file. There is no NOTE_REVOKE, and the removal of an open directory is not seen.
//! - NOTE_LOWAT is for READ only. READ of a regular file is silent at its end; of /proc, `data` is 1.
//! - The `fflags` of EV_EOF are told from the socket's state: ECONNREFUSED before a connection was made, ECONNRESET
//!   afterwards, even if it was a timeout. The program gets the error itself, from SO_ERROR or a read. WRITE has no
//!   EV_EOF after the program's own shutdown of a UNIX socket.
//! - With threads, delete the knotes of a descriptor before you close it. Another thread's epoll_wait may be looking at
//!   the descriptor, and then keeps it open until that wait returns (since Linux 6.10).
//! - What a closed kqueue held is freed when others are made, each of which looks at two, or when there are no
//!   descriptors left. Until then another thread's wait for it goes on. A program with many descriptors frees several
//!   kqueues at a time, because it may have a duplicate under any number.
//! - A child of fork(2) has no kqueue (EBADF), but has the descriptors until it executes a program. That the parent has
//!   such a child does not matter to the parent.
//! - A kqueue in a kqueue in a kqueue works, but not many more: ELOOP.
//! - In a signal handler that has interrupted a call of the stand-in, kevent may fail with EDEADLK. A pointer that is
//!   null gives EFAULT, and any other that is wrong ends the process.
//!
//! What is not supported is refused, with EINVAL or ENOTSUP: EV_FORCEONESHOT and EV_KEEPUDATA among others.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use libc::timespec;

mod abi;
mod announce;
mod calls;
mod filters;
mod knotes;
mod made;
mod process;
mod queues;

pub use abi::*;
use calls::*;
use filters::signal;
use knotes::Knotes;
use process::Busy;
use queues::StandIn;

/// # Safety
/// There is nothing to promise. It is `unsafe` because libc's is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kqueue() -> c_int {
    announce::kqueue_begins();
    let call = || {
        let _busy = Busy::begin()?;
        queues::make().map(|number| number as usize)
    };
    let made = call();
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
        if nchanges > 0 && changes.is_null() || room > 0 && events.is_null() {
            return Err(libc::EFAULT);
        }
        let busy = Busy::begin()?;
        let stand_in = queues::find(kq)?;
        let mut output = Vec::new();
        for i in 0..nchanges {
            // SAFETY: `i` is below `nchanges`. `events`, which may be the same array, is written to only at the end.
            let change = unsafe { changes.add(i).read() };
            let result = make_change(&stand_in, kq, &change);
            let has_answer = result.is_err() || change.flags & EV_RECEIPT != 0;
            if has_answer && output.len() == room {
                // As on BSD, a change whose answer finds no room is the last. Without an error it was made.
                result?;
                break;
            }
            if has_answer {
                let data = result.err().unwrap_or(0).into();
                output.push(kevent { flags: change.flags | EV_ERROR, data, ..change });
            }
        }
        drop(busy);
        if output.is_empty() && room > 0 {
            // SAFETY: null or a timespec, as the caller promises.
            let timeout = unsafe { timeout.as_ref() }.map(to_duration).transpose()?;
            output = wait(kq, &stand_in, room, timeout)?;
        }
        if !output.is_empty() {
            // SAFETY: `output` has at most `room` entries, and the caller promises as much room at `events`.
            unsafe { events.copy_from(output.as_ptr(), output.len()) };
        }
        Ok(output.len())
    };
    let result = call();
    announce::kevent_ends(events, &result);
    answer(result)
}

/// The knotes, for one look under the number that the program has called by.
fn knotes(stand_in: &StandIn, kq: RawFd) -> MutexGuard<'_, Knotes> {
    let mut knotes = stand_in.knotes.lock().unwrap();
    knotes.outer = kq;
    knotes
}

fn make_change(stand_in: &StandIn, kq: RawFd, change: &kevent) -> Result {
    let result = knotes(stand_in, kq).change(change);
    if result != Err(libc::EMFILE) {
        return result;
    }
    // Closed kqueues may hold descriptors that nobody needs.
    queues::free_all_closed();
    knotes(stand_in, kq).change(change)
}

fn wait(kq: RawFd, stand_in: &StandIn, room: usize, timeout: Option<Duration>) -> Result<Vec<kevent>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (mut ready, mut output) = (vec![NO_EVENT; room.min(MOST)], Vec::new());
    {
        let _busy = Busy::begin()?;
        signal::keep_listening();
    }
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let unfelt = signal::unfelt();
        let (count, interrupted) = match epoll_wait(kq, &mut ready, left) {
            Err(libc::EINTR) => (epoll_wait(kq, &mut ready, Some(Duration::ZERO))?, true),
            // EINVAL: the number is in use again, and what it names now is no epoll.
            Err(libc::EINVAL) => return Err(libc::EBADF),
            result => (result?, false),
        };
        stand_in.check_not_closed()?;
        {
            let _busy = Busy::begin()?;
            knotes(stand_in, kq).collect(&ready[..count], room, &mut output);
        }
        // What epoll reported may come to nothing: another thread took it, or the knote did not ask for it.
        if !output.is_empty() || left == Some(Duration::ZERO) {
            return Ok(output);
        }
        if interrupted && signal::unfelt() == unfelt {
            return Err(libc::EINTR);
        }
        if count == 0 && !interrupted {
            return Ok(output);
        }
    }
}
