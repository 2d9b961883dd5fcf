//! Looks at a server from outside: its processes, its sockets, its system calls; and starts it so that it can be looked
//! at.
//!
//! The harness and the explorer are built on this, and neither is known here.
//!
//! Invariant: looking changes nothing that the server could notice, and what cannot be seen is `None`, never a guess.
//! What only Linux shows is behind `cfg`; elsewhere the same questions have the answer `None`.

pub mod advice;
pub mod detached;
pub mod errno;
pub mod inherit;
pub mod made;
pub mod mask;
pub mod pattern;
mod port;
pub mod ring;
pub mod start;
pub mod syscall;
pub mod text;
pub mod view;

#[cfg(target_os = "linux")]
mod allocated;
#[cfg(target_os = "linux")]
mod computing;
#[cfg(target_os = "linux")]
pub mod decode;
#[cfg(target_os = "linux")]
mod ends;
#[cfg(target_os = "linux")]
mod family;
#[cfg(target_os = "linux")]
pub mod handle;
#[cfg(target_os = "linux")]
mod held;
#[cfg(target_os = "linux")]
mod process;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod ptrace;
#[cfg(target_os = "linux")]
mod sock_diag;
#[cfg(target_os = "linux")]
mod sock_dump;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(target_os = "linux")]
mod younger;

#[cfg(not(target_os = "linux"))]
mod elsewhere;

#[cfg(target_os = "linux")]
pub use computing::Work;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{
    Process, Work, accept_queue, corked, ends_under_way, io_uring_denied, is_listening, low_water, queues,
};
#[cfg(target_os = "linux")]
pub use ends::TcpEnd;
#[cfg(target_os = "linux")]
pub use handle::{Handle, corked, low_water};
pub use mask::Mask;
#[cfg(target_os = "linux")]
pub use process::Process;
#[cfg(target_os = "linux")]
pub use sockets::{accept_queue, ends_under_way, io_uring_denied, is_listening, queues};
pub use syscall::{Call, Kind};
pub use view::{Activity, Thread, View};

/// A server: the process that was started and its descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The process that was started, or the one that serves in its place.
    pub pid: i32,
    /// The other one of the two, where one was started and another serves, which is none of its descendants.
    pub besides: Option<i32>,
}

impl Family {
    /// A process and its descendants.
    pub fn of(pid: i32) -> Self {
        Self { pid, besides: None }
    }
}

/// Who listens on a port that was given to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// Nobody yet.
    Nobody,
    /// The server.
    Own(Served),
    /// A process that is none of the server's: its id and its name, where those may be seen.
    Stranger(Option<(i32, String)>),
}

/// Where a server listens, and which of its processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Where a client arrives.
    pub ip: std::net::IpAddr,
    /// The process that was started, or one that it has detached.
    pub family: Family,
}
