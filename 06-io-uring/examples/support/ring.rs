//! The part that the variants' loops have in common: a ring, and a name for each operation on it.
//!
//! Invariant: a turn hands back what had landed when it began, in the order in which it landed; what lands meanwhile
//! waits for the next. Nothing that landed is lost when the completion queue overflows.

#![allow(dead_code)] // Each example uses its part.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use flight::setup;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

/// Completions are small; a queue that overflows costs a syscall more.
const COMPLETIONS: u32 = 2048;

/// A ring, and what has come out of it.
pub struct Ring {
    /// For registrations.
    pub ring: IoUring,
    landed: VecDeque<cqueue::Entry>,
    this_turn: usize,
}

/// A completion.
pub struct Landed {
    /// Which operation, as `push` was told.
    pub what: u8,
    /// Of which connection, as `push` was told.
    pub index: usize,
    /// What it gave.
    pub result: io::Result<usize>,
    /// The same, as it came.
    pub raw: i32,
    /// IORING_CQE_F_*.
    pub flags: u32,
}

impl Landed {
    /// The operation goes on, and completes again (multishot, zero-copy).
    pub fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The errno, if it is this one.
    pub fn is(&self, errno: i32) -> bool {
        self.result.as_ref().is_err_and(|error| error.raw_os_error() == Some(errno))
    }
}

impl Ring {
    /// Opens a ring with this many entries.
    pub fn new(entries: u32) -> Result<Self> {
        let ring = setup::build(entries, COMPLETIONS).map_err(|error| setup::explain(&error));
        Ok(Self { ring: ring.context("io_uring_setup")?, landed: VecDeque::new(), this_turn: 0 })
    }

    /// Queues an operation; the next `wait` hands it over.
    ///
    /// # Safety
    /// What the entry points to must stay where it is, and be touched by nobody else, until its last completion has landed.
    pub unsafe fn push(&mut self, entry: squeue::Entry, what: u8, index: usize) -> io::Result<()> {
        let entry = entry.user_data(u64::from(what) | (index as u64) << 8);
        // SAFETY: the caller's promise.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            survive(self.ring.submit())?;
            self.reap()?;
        }
        Ok(())
    }

    /// How many entries fit before the next submission.
    pub fn room(&mut self) -> usize {
        let queue = self.ring.submission();
        queue.capacity() - queue.len()
    }

    /// Hands over what was queued, without a wait.
    pub fn submit(&mut self) -> io::Result<()> {
        survive(self.ring.submit())?;
        self.reap()
    }

    /// Hands over what was queued, and sleeps until something has landed or the timeout has passed (-1: none).
    pub fn wait(&mut self, timeout_ms: libc::c_int) -> io::Result<()> {
        let timeout_ms = if self.landed.is_empty() { timeout_ms } else { 0 };
        survive(match u64::try_from(timeout_ms).map(|ms| Timespec::from(Duration::from_millis(ms))) {
            Err(_) => self.ring.submit_and_wait(1),
            Ok(timeout) => self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)),
        })?;
        self.reap()?;
        self.this_turn = self.landed.len();
        Ok(())
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            self.landed.extend(self.ring.completion());
            if !self.ring.submission().cq_overflow() {
                return Ok(());
            }
            survive(self.ring.submit())?;
        }
    }

    /// The next completion of this turn.
    pub fn land(&mut self) -> Option<Landed> {
        self.this_turn = self.this_turn.checked_sub(1)?;
        let done = self.landed.pop_front()?;
        let result =
            usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(done.result().wrapping_neg()));
        let (what, index) = (done.user_data() as u8, (done.user_data() >> 8) as usize);
        Some(Landed { what, index, result, raw: done.result(), flags: done.flags() })
    }
}

/// Errors of io_uring_enter(2) that end nothing; see `src/flight.rs`.
fn survive(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)) => {
            Err(error)
        }
        _ => Ok(()),
    }
}
