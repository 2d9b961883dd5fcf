//! The two queues of a ring: operations go in through one, and their completions come out of the other.
//!
//! Invariant: a completion is handed back exactly once, in the order in which the operations landed, even if the
//! completion queue has overflowed. A turn hands back what had landed when it began. What lands while the program is at
//! work waits for the next turn: clients whose operations never have to wait could otherwise keep a turn going for ever.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common_server::Shutdown;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, Submitter, cqueue, opcode, squeue};

/// Opens a ring of this size with the best flags, or with those that this kernel knows.
pub fn open(entries: u32, completions: u32) -> Result<IoUring> {
    // Only this thread submits (6.0), and the kernel's part of a completion runs inside its waits, not between (6.1).
    let mut best = IoUring::builder();
    best.setup_cqsize(completions).setup_single_issuer().setup_defer_taskrun();
    let ring = match best.build(entries) {
        // A kernel that does not know a flag says so. The ring can do without.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            IoUring::builder().setup_cqsize(completions).build(entries)
        }
        result => result,
    };
    ring.map_err(|error| common_server::io_uring_is_denied(&error)).context("io_uring_setup")
}

/// The name of an operation, which its completion brings back.
pub fn user_data(what: u8, index: usize) -> u64 {
    u64::from(what) | (index as u64) << 8
}

/// The end of an operation, or one of several ends (multishot, zero-copy).
pub struct Completion {
    /// Which operation, as `push` was told.
    pub what: u8,
    /// Of which connection, as `push` was told.
    pub index: usize,
    /// The number that the operation gave, or its error.
    pub result: io::Result<usize>,
    /// The same number as the kernel wrote it: an error is negative.
    pub raw: i32,
    /// The IORING_CQE_F_* that came with it.
    pub flags: u32,
}

impl Completion {
    /// The operation goes on, and completes again.
    pub fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The number of the provided buffer that holds what was received.
    pub fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The operation failed with this errno.
    pub fn is(&self, errno: i32) -> bool {
        self.result.as_ref().is_err_and(|error| error.raw_os_error() == Some(errno))
    }
}

/// A ring, and what has come out of it.
pub struct Queues {
    ring: IoUring,
    /// Has come out of the completion queue and was not yet handed back.
    landed: VecDeque<cqueue::Entry>,
    /// The completions that this turn still hands back; None between two turns.
    turn: Option<usize>,
}

impl Queues {
    /// Opens a ring that knows every operation of the chapter's server.
    pub fn open(entries: u32, completions: u32) -> Result<Self> {
        let queues = Self::new(open(entries, completions)?);
        queues.require(&[
            ("ACCEPT", opcode::Accept::CODE, "5.5"),
            ("ASYNC_CANCEL", opcode::AsyncCancel::CODE, "5.5"),
            ("RECV", opcode::Recv::CODE, "5.6"),
            ("SEND", opcode::Send::CODE, "5.6"),
        ])?;
        Ok(queues)
    }

    /// The queues of a ring that was opened otherwise.
    pub fn new(ring: IoUring) -> Self {
        Self { ring, landed: VecDeque::new(), turn: None }
    }

    /// The ring's own functions, for registrations.
    pub fn submitter(&self) -> Submitter<'_> {
        self.ring.submitter()
    }

    /// Fails if this kernel lacks one of these operations. For each: its name, its code and the Linux that has it.
    pub fn require(&self, operations: &[(&str, u8, &str)]) -> Result<()> {
        let mut probe = Probe::new();
        self.submitter().register_probe(&mut probe).context("io_uring: list the operations (Linux 5.6 can)")?;
        for (name, code, since) in operations {
            if !probe.is_supported(*code) {
                bail!("io_uring: this kernel lacks the operation {name}, which Linux {since} has");
            }
        }
        Ok(())
    }

    /// Queues an operation. The next `wait` hands it to the kernel, or an earlier call if the queue is full.
    ///
    /// # Safety
    /// The memory that the entry names must stay where it is, and be touched by nobody else, until the last completion of
    /// the operation has been handed back.
    pub unsafe fn push(&mut self, entry: squeue::Entry, what: u8, index: usize) -> io::Result<()> {
        let entry = entry.user_data(user_data(what, index));
        // SAFETY: the caller promises it.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // The queue is full: make room. To drop the entry would leave its connection waiting for ever.
            self.submit()?;
        }
        Ok(())
    }

    /// Queues a receive that lands when SIGINT or SIGTERM comes.
    pub fn push_signal(&mut self, shutdown: &Shutdown, what: u8) -> io::Result<()> {
        let byte = Box::leak(Box::new(0));
        // SAFETY: the byte is leaked, so the kernel may write to it at any time, and nothing else knows of it.
        unsafe { self.push(opcode::Recv::new(Fd(shutdown.as_raw_fd()), byte, 1).build(), what, 0) }
    }

    /// How many entries fit before the next submission.
    pub fn room(&mut self) -> usize {
        let queue = self.ring.submission();
        queue.capacity() - queue.len()
    }

    /// Hands over what was queued, without a wait.
    pub fn submit(&mut self) -> io::Result<()> {
        survive(self.ring.submit())?;
        self.reap().map(drop)
    }

    /// One io_uring_enter(2): hands over what was queued, and sleeps until something has landed or the timeout has passed
    /// (-1: no timeout, as in poll(2) and epoll_wait(2)).
    pub fn wait(&mut self, timeout_ms: libc::c_int) -> io::Result<()> {
        let timeout_ms = if self.landed.is_empty() { timeout_ms } else { 0 };
        survive(match u64::try_from(timeout_ms).map(|ms| Timespec::from(Duration::from_millis(ms))) {
            Err(_) => self.ring.submit_and_wait(1),
            Ok(timeout) => self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)),
        })?;
        self.reap().map(drop)
    }

    /// Empties the completion queue, so that the kernel has all of it for what comes next. Returns how many completions
    /// are to be handed back.
    pub fn reap(&mut self) -> io::Result<usize> {
        loop {
            self.landed.extend(self.ring.completion());
            if !self.ring.submission().cq_overflow() {
                return Ok(self.landed.len());
            }
            // More has landed than fits. The kernel keeps the rest, and delivers it when it is entered again.
            survive(self.ring.submit())?;
        }
    }

    /// Hands back the next completion of this turn. None ends the turn.
    pub fn land(&mut self) -> Option<Completion> {
        let left = self.turn.unwrap_or(self.landed.len());
        self.turn = left.checked_sub(1);
        self.turn?;
        let done = self.landed.pop_front()?;
        let raw = done.result();
        let result = usize::try_from(raw).map_err(|_| io::Error::from_raw_os_error(raw.wrapping_neg()));
        let (what, index) = (done.user_data() as u8, (done.user_data() >> 8) as usize);
        Some(Completion { what, index, result, raw, flags: done.flags() })
    }
}

/// Errors of io_uring_enter(2) that end nothing: a signal or a debugger (EINTR), the timeout (ETIME), completions that
/// have to be fetched first (EBUSY), memory that is short at the moment (EAGAIN).
fn survive(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

/// The operation has not failed, and is started again. EAGAIN: it would have had to wait. EINTR: its wait was interrupted.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
