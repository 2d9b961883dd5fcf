//! A registration belongs to the open file description, not to the descriptor. So a dup keeps it alive after the close,
//! and epoll goes on reporting a descriptor that is closed, or that now belongs to another connection.
//!
//! /proc/self/fdinfo and the events show it. There are two cures: EPOLL_CTL_DEL before the close, or a generation in
//! the token, which makes stale events harmless but does not end them.
//!
//! Invariant: the kernel gives out the lowest free number, so the next socket gets the number that was closed last.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match linux::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stale_fd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("stale_fd", "epoll", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, Write};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::net::UnixStream;

    use anyhow::{Context, Result, ensure};

    pub fn main() -> Result<()> {
        println!("close alone");
        let (epoll, near, mut far) = registered(0)?;
        let number = near.as_raw_fd();
        let dup = near.try_clone()?;
        drop(near);
        far.write_all(b"late")?;
        println!("  the descriptor is closed, a dup is open; registered: {}", watched(&epoll, number)?);
        let events: Vec<_> = (0..3).map(|_| wait(&epoll)).collect::<io::Result<_>>()?;
        ensure!(events.iter().all(|token| *token == Some(token_of(number, 0))), "events: {events:?}");
        println!("  3 waits return 3 events for the closed descriptor, so the loop spins");
        println!("  read from it: {}", describe(read(number)));
        println!("  EPOLL_CTL_DEL: {}", describe(ctl(&epoll, libc::EPOLL_CTL_DEL, number, 0)));

        let (newcomer, _far) = UnixStream::pair()?;
        ensure!(newcomer.as_raw_fd() == number, "the number was not given out again");
        newcomer.set_nonblocking(true)?;
        println!("  a new, unregistered connection gets the number, and the old event seems to be for it");
        println!("  read from it: {}", describe(read(number)));
        println!("  EPOLL_CTL_DEL: {}", describe(ctl(&epoll, libc::EPOLL_CTL_DEL, number, 0)));
        ctl(&epoll, libc::EPOLL_CTL_ADD, number, token_of(number, 1)).context("register the new connection")?;
        println!("  the new connection is registered too; registered under this number: {}", watched(&epoll, number)?);

        println!("a generation in the token");
        let token = wait(&epoll)?.context("no event")?;
        let (fd, generation) = (token as RawFd, token >> 32);
        println!(
            "  the event has generation {generation}, the table has 1 for this number: the loop ignores the event"
        );
        ensure!(fd == number && generation == 0, "fd {fd}, generation {generation}");
        let again = wait(&epoll)? == Some(token);
        println!("  the next wait: {}", if again { "the same event, so the loop still spins" } else { "no event" });
        drop(dup);
        println!("  the dup is closed; registered under this number: {}", watched(&epoll, number)?);
        ensure!(wait(&epoll)?.is_none(), "events are left");

        println!("EPOLL_CTL_DEL before the close");
        let (epoll, near, mut far) = registered(0)?;
        let number = near.as_raw_fd();
        let dup = near.try_clone()?;
        ctl(&epoll, libc::EPOLL_CTL_DEL, number, 0)?;
        drop(near);
        far.write_all(b"late")?;
        println!("  the descriptor is closed, a dup is open; registered: {}", watched(&epoll, number)?);
        println!("  events: {}", if wait(&epoll)?.is_none() { "none" } else { "some" });
        drop(dup);
        Ok(())
    }

    /// An epoll with one socket, and the socket's other end.
    fn registered(generation: u64) -> Result<(OwnedFd, UnixStream, UnixStream)> {
        // SAFETY: the call takes no memory. Nothing else knows the new descriptor, so `OwnedFd` is its only owner.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            ensure!(fd >= 0, "epoll_create1: {}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        ctl(&epoll, libc::EPOLL_CTL_ADD, near.as_raw_fd(), token_of(near.as_raw_fd(), generation))?;
        Ok((epoll, near, far))
    }

    /// 32 bits for each part. epoll returns all 64 bits of a token unchanged.
    fn token_of(fd: RawFd, generation: u64) -> u64 {
        generation << 32 | fd as u64
    }

    fn ctl(epoll: &OwnedFd, operation: libc::c_int, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: `event` outlives the call, which only reads it.
        match unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &mut event) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// The token of an event, if one is there.
    fn wait(epoll: &OwnedFd) -> io::Result<Option<u64>> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the kernel writes at most one entry.
        match unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, 0) } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(None),
            _ => Ok(Some(event.u64)),
        }
    }

    /// Reads by number, as a loop does that trusts the event.
    fn read(fd: RawFd) -> io::Result<()> {
        let mut buffer = [0u8; 16];
        // SAFETY: the kernel writes at most `buffer.len()` bytes.
        match unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// How often the kernel's list of an epoll's registrations has this number (proc(5), fdinfo).
    fn watched(epoll: &OwnedFd, fd: RawFd) -> Result<String> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", epoll.as_raw_fd()))?;
        let of = |line: &str| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse::<RawFd>().ok();
        Ok(match info.lines().filter(|line| of(line) == Some(fd)).count() {
            0 => "no".into(),
            1 => "yes".into(),
            more => format!("{more} times"),
        })
    }

    fn describe(result: io::Result<()>) -> &'static str {
        match result.err().and_then(|error| error.raw_os_error()) {
            None => "done",
            Some(libc::EBADF) => "EBADF",
            Some(libc::ENOENT) => "ENOENT",
            Some(libc::EAGAIN) => "EAGAIN",
            Some(_) => "another error",
        }
    }
}
