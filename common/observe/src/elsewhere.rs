//! Systems without Linux's /proc: every question has the answer that nothing can be seen.
//!
//! Invariant: `None` is the only answer to a question about a process, so that what needs one is skipped with that
//! reason.

use std::net::SocketAddr;
use std::time::Duration;

use crate::start::Mark;
use crate::view::{Activity, Computing, Holder, Thread, View, Wakeups};
use crate::{Family, Listening};

/// A process, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id.
    pub pid: i32,
}

/// What a server's threads have used of the processor; never made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {}

impl Work {
    /// Never asked.
    pub fn computing_since(&self, _before: &Self) -> Option<Computing> {
        match *self {}
    }
}

impl Process {
    /// `None`: there is no /proc here.
    pub fn fds(self) -> Option<Vec<i32>> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn name(self) -> Option<String> {
        None
    }
}

impl Family {
    /// `None`: there is no /proc here.
    pub fn processes(self) -> Option<Vec<Process>> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn threads(self) -> Option<Vec<Thread>> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn activity(self) -> Option<Activity> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn wakeups(self) -> Option<Vec<Wakeups>> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn zombies(self) -> Option<usize> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn mappings(self) -> Option<usize> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn resident(self) -> Option<u64> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn allocated(self) -> Option<u64> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn fd_count(self) -> Option<usize> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn work(self) -> Option<Work> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn computing(self) -> Option<Computing> {
        None
    }

    /// No timerfd elsewhere.
    pub fn has_armed_timer(self) -> bool {
        false
    }

    /// `None`: there is no /proc here.
    pub fn sockets_and_operations(self) -> Option<(usize, usize)> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn held_connections(self, _port: u16) -> Option<usize> {
        None
    }

    /// `false`: there is no /proc to hide from.
    pub fn hides(self) -> bool {
        false
    }

    /// Nothing paces here by default.
    pub fn unpace(self) {}

    /// Nobody's socket but one's own can be set here.
    pub fn widen(self, _bytes: usize) {}

    /// `false`: nobody's socket but one's own can be set here.
    pub fn narrow(self, _bytes: usize) -> bool {
        false
    }

    /// `false`: nobody's socket but one's own can be set here.
    pub fn narrow_connection(self, _port: u16, _bytes: usize) -> bool {
        false
    }

    /// `None`: there is no /proc here.
    pub fn blocked_signals(self) -> Option<u64> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn fd_flags(self, _holder: Holder) -> Option<i32> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn settle(self, _apart: Duration, _deadline: Duration) -> Option<Vec<Thread>> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn view(self, _port: u16) -> Option<View> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn listening(self, _at: SocketAddr, _mark: &Mark) -> Option<Listening> {
        None
    }

    /// Nowhere that could be seen: there is no /proc here.
    pub fn listens_at(self, _mark: &Mark) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// The process alone: there is no /proc here.
    pub fn relatives(self, _mark: &Mark) -> Vec<Process> {
        vec![Process { pid: self.pid }]
    }
}

/// `None`: there is no /proc here.
pub fn queues(_local: SocketAddr, _remote: SocketAddr) -> Option<(u32, u32)> {
    None
}

/// `None`: there is no sock_diag here.
pub fn accept_queue(_address: SocketAddr) -> Option<(u32, u32)> {
    None
}

/// `false`: there is no /proc here.
pub fn ends_under_way(_port: u16) -> bool {
    false
}

/// `None`: this system has no io_uring, and no server asks for one.
pub fn io_uring_denied() -> Option<String> {
    None
}

/// `None`: no other process's socket can be asked here.
pub fn corked(_holder: Holder) -> Option<bool> {
    None
}

/// `None`: no other process's socket can be asked here.
pub fn low_water(_holder: Holder) -> Option<u32> {
    None
}

/// `None`: there is no /proc here.
pub fn is_listening(_port: u16) -> Option<bool> {
    None
}
