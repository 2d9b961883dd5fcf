//! A crowd of idle descriptors, larger than one process may hold.
//!
//! A registration in an epoll belongs to the open file and not to the descriptor's number. It stays when the number is
//! closed, as long as some process has the file open. So a forked child keeps the duplicates, this process closes its
//! own, and the numbers are free for the next ones. (A poll that is armed in a ring holds the file itself.)
//!
//! The members are eventfds. Nothing else that can be waited for is as cheap: 40 bytes and an open file, and all of
//! them share one inode. A pipe has an inode and buffers of its own, a socket also has queues.
//!
//! Invariant: a member lives until the crowd is dropped, and nobody ever writes to it. The children end with the thread
//! that made them, however it ends.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// What stays free of the memory, for everything else on the machine.
const SPARE_MEMORY_KIB: u64 = 512 * 1024;
/// Processes are limited too, and the limit is shared with all else that runs here.
const MOST_CHILDREN: usize = 128;
/// The memory is looked at after so many.
const LOOK_EVERY: usize = 4096;

/// The descriptors. Made first, it closes last.
#[derive(Debug)]
pub struct Crowd {
    own: Vec<OwnedFd>,
    /// Each holds descriptors that are closed here.
    children: Vec<Pid>,
    held: usize,
    /// What was open before the crowd: a child closes it, so that it keeps no pipe and no ring of this program alive.
    others: Vec<RawFd>,
}

impl Crowd {
    /// Nobody yet. What this program opens later, apart from the crowd, its children keep open too.
    pub fn new() -> Result<Self> {
        let listed: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        // The folder itself was open while it was read.
        // SAFETY: no pointers. F_GETFD changes nothing.
        let open = listed.into_iter().filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1);
        Ok(Self { own: Vec::new(), children: Vec::new(), held: 0, others: open.collect() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.own.len() + self.held
    }

    /// Whether there is nobody yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this process holds as many as it may.
    pub fn is_full(&self, most_open: usize) -> bool {
        self.own.len() >= most_open
    }

    /// Makes one more, which `register` gets.
    pub fn grow(&mut self, register: impl FnOnce(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
        if self.len().is_multiple_of(LOOK_EVERY) {
            let free = available_kib()?;
            ensure!(free > SPARE_MEMORY_KIB, "only {} MiB of memory are free", free / 1024);
        }
        let member = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("eventfd")?;
        register(member.as_fd())?;
        self.own.push(member);
        Ok(())
    }

    /// Lets a child hold what this process holds, and closes it here.
    pub fn hand_over(&mut self) -> Result<()> {
        ensure!(self.children.len() < MOST_CHILDREN, "{MOST_CHILDREN} children hold as many as they may");
        // A number that another thread has closed meanwhile may be a member's.
        let is_own = |fd: &RawFd| self.own.iter().any(|own| own.as_raw_fd() == *fd);
        let others: Vec<RawFd> = self.others.iter().copied().filter(|fd| !is_own(fd)).collect();
        self.children.push(fork(&others)?);
        self.held += self.own.len();
        self.own.clear();
        Ok(())
    }

    /// That nobody has been lost: each child lives, and what it has inherited stays open.
    pub fn check(&self) -> Result<()> {
        for child in &self.children {
            if let Some((_, status)) = waitpid(Some(*child), WaitOptions::NOHANG)? {
                bail!("a child that held idle descriptors has ended: {status:?}");
            }
        }
        Ok(())
    }

    /// Ends the children, and waits until the system has released `held` files or ten seconds are over: what the kernel
    /// does about them later would disturb the next measurement.
    pub fn end(mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let (before, held) = (open_files()?, self.held as u64);
        self.kill();
        drop(self);
        let end = Instant::now() + PATIENCE;
        while open_files()? + held / 2 > before && held > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn kill(&mut self) {
        for child in &self.children {
            let _ = kill_process(*child, Signal::KILL);
        }
        for child in self.children.drain(..) {
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A child that keeps every descriptor but these, and sleeps.
fn fork(others: &[RawFd]) -> Result<Pid> {
    // SAFETY: no argument.
    let parent = unsafe { libc::getpid() };
    // SAFETY: this program has threads, so the child may only make system calls until it ends, and does: it allocates
    // nothing and takes no lock.
    let pid = unsafe {
        match libc::fork() {
            0 => {
                // The handlers of this program are not the child's business: Ctrl-C goes to both.
                let mut all = std::mem::MaybeUninit::uninit();
                libc::sigfillset(all.as_mut_ptr());
                libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The parent may have ended before the prctl.
                if libc::getppid() != parent {
                    libc::_exit(0);
                }
                for &fd in others {
                    libc::close(fd);
                }
                loop {
                    libc::pause();
                }
            }
            pid => pid,
        }
    };
    match Pid::from_raw(pid) {
        Some(child) if pid > 0 => Ok(child),
        _ => Err(io::Error::last_os_error()).context("fork a child that holds descriptors"),
    }
}

/// How many files are open on this machine.
fn open_files() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/sys/fs/file-nr")?;
    text.split_whitespace().next().and_then(|word| word.parse().ok()).context("no number in /proc/sys/fs/file-nr")
}

/// The memory that is free or can be freed.
pub fn available_kib() -> Result<u64> {
    memory_kib("MemAvailable:")
}

/// A line of /proc/meminfo.
pub fn memory_kib(line: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let found = text.lines().find_map(|it| it.strip_prefix(line));
    found
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no {line} in /proc/meminfo"))
}

#[cfg(test)]
mod tests {
    use rustix::event::epoll;

    use super::*;

    #[test]
    fn registrations_outlive_the_descriptors_of_this_process() {
        const EACH: usize = 50;
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let registered = || {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", set.as_raw_fd())).unwrap();
            info.lines().filter(|line| line.starts_with("tfd:")).count()
        };
        let mut crowd = Crowd::new().unwrap();
        for _ in 0..3 {
            for _ in 0..EACH {
                crowd
                    .grow(|fd| Ok(epoll::add(&set, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?))
                    .unwrap();
            }
            crowd.hand_over().unwrap();
        }
        crowd.check().unwrap();
        assert_eq!((crowd.len(), registered()), (3 * EACH, 3 * EACH));
        assert!(crowd.own.is_empty(), "they are closed here");
        // With the children the files go, and with the files the registrations.
        drop(crowd);
        assert_eq!(registered(), 0);
    }
}
