//! The servers by name, and the calls that they share.
//!
//! Invariant: without a bug each server is correct, and a bug is one `if`.

use std::io;
use std::net::TcpListener;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Duration;

use super::{blocking, edge, oneshot, select, uring};

pub const BUFFER: usize = 4096;
/// The pause before another accept, when the server is out of descriptors.
pub const PAUSE: Duration = Duration::from_millis(100);

/// The correct servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    EpollEt,
    /// Listens on another port first, and prints which of the two is for clients.
    SecondListener,
    Oneshot,
    Select,
    Uring,
    Threads,
    Forks,
    /// Not correct: it computes for ever.
    Spins,
}

impl Base {
    pub const ALL: &[Self] = &[
        Self::EpollEt,
        Self::SecondListener,
        Self::Oneshot,
        Self::Select,
        Self::Uring,
        Self::Threads,
        Self::Forks,
        Self::Spins,
    ];

    /// The name of its test, and the argument of `--serve`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EpollEt => "et",
            Self::SecondListener => "second_listener",
            Self::Oneshot => "oneshot",
            Self::Select => "select",
            Self::Uring => "uring",
            Self::Threads => "threads",
            Self::Forks => "forks",
            Self::Spins => "spins",
        }
    }
}

/// Runs the server until it ends.
pub fn serve(base: Base, bug: Option<&str>) -> ExitCode {
    super::mutant::set(bug);
    let served = TcpListener::bind("127.0.0.1:0").and_then(|listener| match base {
        Base::EpollEt => edge::run(listener),
        Base::SecondListener => second_listener(listener),
        Base::Oneshot => oneshot::run(&listener),
        Base::Select => select::run(&listener),
        Base::Uring => uring::run(&listener),
        Base::Threads => blocking::threads(&listener),
        Base::Forks => blocking::forks(&listener),
        Base::Spins => blocking::spins(&listener),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutant: {error}");
            ExitCode::FAILURE
        }
    }
}

fn second_listener(first: TcpListener) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    let served = edge::run(listener);
    drop(first);
    served
}

pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub fn epoll_ctl(epoll: RawFd, operation: libc::c_int, fd: RawFd, events: libc::c_int) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
    // SAFETY: the event outlives the call.
    check(unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) }).map(drop)
}

pub fn epoll_wait(epoll: RawFd, events: &mut [libc::epoll_event], timeout: libc::c_int) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `events.len()` entries.
    check(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as libc::c_int, timeout) })
        .map(|count| count as usize)
}
