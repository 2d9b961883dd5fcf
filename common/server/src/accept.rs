//! What accept's errors mean, each named once.
//!
//! Invariant: only an error that says the listener itself is unusable ends a server; everything a client or the
//! machine's state can cause is survived.

use std::io;
use std::time::{Duration, Instant};

/// The most connections one call of a chapter's `accept` takes, so that a flood of connects cannot keep those already
/// connected waiting.
pub const ACCEPT_BATCH: usize = 64;

/// Why `accept` gave no connection.
#[derive(Debug)]
pub enum AcceptError {
    /// EAGAIN: the queue is empty.
    Drained,
    /// This one connection is lost, the next may be fine. Linux hands pending network errors of the new socket to
    /// accept (accept(2), "Error handling"); the BSDs say ECONNABORTED for a client that left the queue.
    Aborted,
    /// EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays queued and the listener stays readable. Trying at once
    /// would spin; forgetting it would leave the queued client waiting.
    OutOfFds(io::Error),
    /// The listener cannot be used (EBADF, EINVAL, ENOTSOCK ...).
    Broken(io::Error),
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) if code == libc::EAGAIN || code == libc::EWOULDBLOCK => Self::Drained,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Self::OutOfFds(error),
            Some(
                libc::EINTR
                | libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::ETIMEDOUT,
            ) => Self::Aborted,
            #[cfg(target_os = "linux")]
            Some(libc::ENONET) => Self::Aborted,
            _ => Self::Broken(error),
        }
    }
}

/// When a server that ran out of descriptors tries to accept again: as soon as it has closed one of its own, or after a
/// while, because another process may have freed one (ENFILE) or the limit may have been raised.
#[derive(Debug)]
pub struct Retry {
    at: Option<Instant>,
    pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { at: None, pause: Self::PAUSE }
    }
}

impl Retry {
    const PAUSE: Duration = Duration::from_millis(250);

    /// For one of several loops that accept from the same queue: together they try as often as one would.
    pub fn one_of(loops: usize) -> Self {
        Self { at: None, pause: Self::PAUSE * loops as u32 }
    }

    /// Out of descriptors: not before the pause is over, unless `now` is called.
    pub fn later(&mut self) {
        self.at = Some(Instant::now() + self.pause);
    }

    /// An edge is used up and the queue may not be empty: due in the next turn.
    pub fn at_once(&mut self) {
        self.at = Some(Instant::now());
    }

    /// A descriptor was freed: if a retry is planned, it is due.
    pub fn now(&mut self) {
        if self.at.is_some() {
            self.at = Some(Instant::now());
        }
    }

    /// Whether a retry is due; asking forgets it.
    pub fn take_due(&mut self) -> bool {
        let due = self.at.is_some_and(|at| at <= Instant::now());
        if due {
            self.at = None;
        }
        due
    }

    /// How long the wait may last, in milliseconds as poll(2) and epoll_wait(2) want it: -1 for ever, which is the
    /// normal case, so that an idle server never wakes.
    pub fn timeout_ms(&self) -> libc::c_int {
        match self.at {
            None => -1,
            // Rounded up: waking a little early would find nothing due and spin through the last millisecond.
            Some(at) => at.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000) as libc::c_int,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_descriptor_makes_a_planned_retry_due_and_plans_none() {
        let mut retry = Retry::default();
        retry.now();
        assert!(!retry.take_due());
        assert_eq!(retry.timeout_ms(), -1);
        retry.later();
        assert!(!retry.take_due());
        assert!((1..=250).contains(&retry.timeout_ms()));
        retry.now();
        assert_eq!(retry.timeout_ms(), 0);
        assert!(retry.take_due());
        assert!(!retry.take_due());
    }
}
