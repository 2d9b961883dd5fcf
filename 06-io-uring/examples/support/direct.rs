//! Accepts into direct descriptors: slots of a table in the ring, where an operation finds its socket without a look at the
//! descriptors of the process. Such a socket has no number in /proc, and no other call can use it.
//!
//! Invariant: an accept that takes a client off the accept queue has a slot for it. (An accept that finds no slot drops the
//! client and fails with ENFILE.) So the multishot accept is in flight only while there are slots for a whole queue.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::ptr;

use anyhow::{Context, Result};
use common_server::{AcceptError, Notice, Retry, Shutdown};
use io_uring::types::{DestinationSlot, Fd, Fixed};
use io_uring::{opcode, squeue};
use uring::queues::{Completion, Queues, user_data};

/// `Completion::what` for the operations of this file. An example's own operations begin at `OWN`.
pub const ACCEPT: u8 = 0;
/// SIGINT or SIGTERM has come.
pub const SIGNAL: u8 = 1;
const CLOSE: u8 = 2;
const CANCEL: u8 = 3;
/// The first that is free.
pub const OWN: u8 = 4;

/// The longest accept queue, unless the sysctl net.core.somaxconn was raised.
const QUEUE: usize = 4096;

/// A listener whose connections become slots.
pub struct DirectListener {
    listener: TcpListener,
    _shutdown: Shutdown,
    multishot: bool,
    slots: usize,
    used: usize,
    accepting: bool,
    retry: Retry,
    out_of_fds: Notice,
}

impl DirectListener {
    /// Accepts from the next turn on. `multishot`: one accept takes all connections while there are slots enough.
    pub fn open(queues: &mut Queues, listener: TcpListener, shutdown: Shutdown, multishot: bool) -> Result<Self> {
        listener.set_nonblocking(false)?;
        let slots = slots();
        queues.submitter().register_files_sparse(slots as u32).context("io_uring: register files (Linux 5.19 can)")?;
        queues.push_signal(&shutdown, SIGNAL)?;
        let (retry, out_of_fds) = (Retry::default(), Notice::default());
        let mut direct =
            Self { listener, _shutdown: shutdown, multishot, slots, used: 0, accepting: false, retry, out_of_fds };
        direct.accept(queues)?;
        Ok(direct)
    }

    fn accept(&mut self, queues: &mut Queues) -> Result<()> {
        let (listener, free) = (Fd(self.listener.as_raw_fd()), self.slots - self.used);
        self.accepting = free > 0;
        if !self.accepting {
            return Ok(());
        }
        if self.multishot && free > QUEUE {
            return push(queues, opcode::AcceptMulti::new(listener).allocate_file_index(true).build(), ACCEPT, 0);
        }
        let one = opcode::Accept::new(listener, ptr::null_mut(), ptr::null_mut());
        push(queues, one.file_index(Some(DestinationSlot::auto_target())).build(), ACCEPT, 0)
    }

    /// What an accept gave: a slot, or nothing.
    pub fn accepted(&mut self, queues: &mut Queues, done: Completion) -> Result<Option<usize>> {
        self.accepting = done.more();
        let cancelled = done.is(libc::ECANCELED);
        let accepted = match done.result.map_err(AcceptError::from) {
            Ok(slot) => {
                self.used += 1;
                if self.accepting && self.slots - self.used == QUEUE {
                    push(queues, opcode::AsyncCancel::new(user_data(ACCEPT, 0)).build(), CANCEL, 0)?;
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
            self.accept(queues)?;
        }
        Ok(accepted)
    }

    /// Closes a socket on which nothing is in flight.
    pub fn close(&mut self, queues: &mut Queues, slot: usize) -> Result<()> {
        self.used -= 1;
        push(queues, opcode::Close::new(Fixed(slot as u32)).build(), CLOSE, slot)?;
        self.retry.now();
        if self.accepting || self.retry.timeout_ms() >= 0 {
            return Ok(());
        }
        self.accept(queues)
    }

    /// Begins a turn: hands over what was queued, and sleeps unless there is more to do at once.
    pub fn wait(&mut self, queues: &mut Queues, sleep: bool) -> Result<()> {
        if self.retry.take_due() && !self.accepting {
            self.accept(queues)?;
        }
        queues.wait(if sleep { self.retry.timeout_ms() } else { 0 }).context("io_uring_enter")
    }
}

fn push(queues: &mut Queues, entry: squeue::Entry, what: u8, slot: usize) -> Result<()> {
    // SAFETY: the entries of this file (accept without an address, cancel, close) name descriptors and slots, and no memory.
    unsafe { queues.push(entry, what, slot) }.context("io_uring_enter")
}

/// As many as this process may have descriptors: the kernel holds the table to the same limit.
fn slots() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes one rlimit, and `limit` outlives it.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur.clamp(1, 65_536) as usize
}
