//! The errors of accept(2), sorted by what a server has to do.
//!
//! Invariant: only an error of the listener itself ends a server. A server survives every error that a client or the
//! state of the machine can cause.

use std::io;
use std::time::{Duration, Instant};

/// The most connections that one call of a chapter's `accept` takes, so that a flood of connects cannot keep the
/// connected clients waiting.
pub const ACCEPT_BATCH: usize = 64;

/// Why `accept` gave no connection.
#[derive(Debug)]
pub enum AcceptError {
    /// EAGAIN: the accept queue is empty.
    Drained,
    /// This connection is lost, but the next one may be fine. On Linux, accept returns pending network errors of the
    /// new socket (accept(2), "Error handling"). On the BSDs, ECONNABORTED means that the client has left the queue.
    Aborted,
    /// EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the accept queue, and the listener stays readable. A
    /// server that tries again at once spins. A server that never tries again leaves the queued client waiting.
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

/// When a server that ran out of descriptors tries to accept again. It tries as soon as it has closed a descriptor of
/// its own. It also tries after a pause, because another process may have freed a descriptor (ENFILE), or the limit may
/// have been raised.
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

    /// For several event loops that accept from the same queue: together they try as often as a single loop would.
    pub fn one_of(loops: usize) -> Self {
        Self { at: None, pause: Self::PAUSE * loops as u32 }
    }

    /// Out of descriptors: plans a retry at the end of the pause. `now` makes it due earlier.
    pub fn later(&mut self) {
        self.at = Some(Instant::now() + self.pause);
    }

    /// The edge is used up, and the queue may not be empty: plans a retry in the next turn.
    pub fn at_once(&mut self) {
        self.at = Some(Instant::now());
    }

    /// A descriptor was freed: a planned retry becomes due.
    pub fn now(&mut self) {
        if self.at.is_some() {
            self.at = Some(Instant::now());
        }
    }

    /// Whether a retry is due. A retry that is due is taken off the plan.
    pub fn take_due(&mut self) -> bool {
        let due = self.at.is_some_and(|at| at <= Instant::now());
        if due {
            self.at = None;
        }
        due
    }

    /// The timeout of the next wait, in milliseconds for poll(2) and epoll_wait(2). Normally it is -1 (no timeout), so
    /// that an idle server never wakes.
    pub fn timeout_ms(&self) -> libc::c_int {
        match self.at {
            None => -1,
            // Rounded up. A wait that ends a little early would find nothing due, and spin through the last
            // millisecond.
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
