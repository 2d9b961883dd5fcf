//! Accepting into direct descriptors: slots of a table in the ring, in which an operation finds its socket without a look
//! at the process's descriptors. Such a socket has no number in /proc, and no other call can use it.
//!
//! Invariant: an accept that takes a client off the queue has a slot for it. (One that finds none drops the client and
//! says ENFILE.) So the accept that goes on by itself is in flight only while there are slots for a whole queue.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::ptr;

use anyhow::{Context, Result};
use common_server::{AcceptError, Notice, Retry, Shutdown};
use io_uring::opcode;
use io_uring::types::{DestinationSlot, Fd, Fixed};

use crate::ring::{Landed, Ring};

/// What `Landed::what` is for the operations of this file; an example's own begin at `OWN`.
pub const ACCEPT: u8 = 0;
/// SIGINT or SIGTERM has come.
pub const SIGNAL: u8 = 1;
const CLOSE: u8 = 2;
const CANCEL: u8 = 3;
/// The first that is free.
pub const OWN: u8 = 4;

/// The longest accept queue, unless the sysctl net.core.somaxconn was raised.
const QUEUE: usize = 4096;

/// The listener and the slots.
pub struct Door {
    listener: TcpListener,
    _shutdown: Shutdown,
    multishot: bool,
    slots: usize,
    used: usize,
    accepting: bool,
    retry: Retry,
    out_of_fds: Notice,
}

impl Door {
    /// Accepts from the next turn on; `multishot`: with one operation for all, where there is room.
    pub fn open(ring: &mut Ring, listener: TcpListener, shutdown: Shutdown, multishot: bool) -> Result<Self> {
        listener.set_nonblocking(false)?;
        let slots = slots();
        ring.ring
            .submitter()
            .register_files_sparse(slots as u32)
            .context("io_uring: register files (Linux 5.19 can)")?;
        let byte = Box::leak(Box::new(0u8));
        let signal = opcode::Recv::new(Fd(shutdown.as_raw_fd()), byte, 1).build();
        // SAFETY: the byte is never freed.
        unsafe { ring.push(signal, SIGNAL, 0)? };
        let (retry, out_of_fds) = (Retry::default(), Notice::default());
        let mut door =
            Self { listener, _shutdown: shutdown, multishot, slots, used: 0, accepting: false, retry, out_of_fds };
        door.accept(ring)?;
        Ok(door)
    }

    fn accept(&mut self, ring: &mut Ring) -> Result<()> {
        let (listener, free) = (Fd(self.listener.as_raw_fd()), self.slots - self.used);
        self.accepting = free > 0;
        let one = opcode::Accept::new(listener, ptr::null_mut(), ptr::null_mut());
        let entry = match self.multishot && free > QUEUE {
            true => opcode::AcceptMulti::new(listener).allocate_file_index(true).build(),
            false => one.file_index(Some(DestinationSlot::auto_target())).build(),
        };
        // SAFETY: no memory of ours.
        if self.accepting { unsafe { ring.push(entry, ACCEPT, 0) }.context("io_uring_enter") } else { Ok(()) }
    }

    /// What an accept gave: a slot, or nothing.
    pub fn accepted(&mut self, ring: &mut Ring, landed: Landed) -> Result<Option<usize>> {
        self.accepting = landed.more();
        let cancelled = landed.is(libc::ECANCELED);
        let accepted = match landed.result.map_err(AcceptError::from) {
            Ok(slot) => {
                self.used += 1;
                if self.accepting && self.slots - self.used == QUEUE {
                    // SAFETY: no memory of ours.
                    unsafe { ring.push(opcode::AsyncCancel::new(u64::from(ACCEPT)).build(), CANCEL, 0)? };
                }
                Some(slot)
            }
            Err(AcceptError::OutOfFds(error)) => {
                self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                self.retry.later();
                return Ok(None);
            }
            Err(AcceptError::Broken(error)) if !cancelled => return Err(error).context("accept"),
            Err(_) => None,
        };
        if !self.accepting {
            self.accept(ring)?;
        }
        Ok(accepted)
    }

    /// Closes a socket on which nothing is in flight.
    pub fn close(&mut self, ring: &mut Ring, slot: usize) -> Result<()> {
        self.used -= 1;
        // SAFETY: no memory of ours.
        unsafe { ring.push(opcode::Close::new(Fixed(slot as u32)).build(), CLOSE, slot)? };
        self.retry.now();
        if !self.accepting && self.retry.timeout_ms() < 0 { self.accept(ring) } else { Ok(()) }
    }

    /// Begins a turn: hands over what was queued, and sleeps unless there is more to do at once.
    pub fn wait(&mut self, ring: &mut Ring, sleep: bool) -> Result<()> {
        if self.retry.take_due() && !self.accepting {
            self.accept(ring)?;
        }
        ring.wait(if sleep { self.retry.timeout_ms() } else { 0 }).context("io_uring_enter")
    }
}

/// As many as this process may have descriptors: a table is held to the same limit.
fn slots() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call, which fills it in.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur.clamp(1, 65_536) as usize
}
