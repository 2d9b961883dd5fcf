//! One wait of each API: a set of idle descriptors, and one descriptor that is ready.
//!
//! Invariant: `once` makes one wait, and it is an error if it does not report the ready descriptor and no other. Nothing
//! blocks, because that descriptor is an eventfd whose count nobody reads.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{io, ptr};

use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, opcode, types};
use kqueue::sys::{EV_ADD, EVFILT_READ, Kevent, Kqueue};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::time::{ClockId, clock_gettime};

/// A sample shorter than this would be mostly the reading of the clock, which costs about 0.2 µs.
const SAMPLE: Duration = Duration::from_millis(2);

/// How far a way of waiting reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Descriptors below FD_SETSIZE.
    Set,
    /// What this process has open.
    Open,
    /// Whatever is registered, wherever it is open.
    Registered,
}

/// A way of waiting, and what it watches.
pub trait Wait {
    /// Its limit.
    fn reach(&self) -> Reach;
    /// Watches one more. The registrations that are collected are made by `settle`.
    fn watch(&mut self, fd: BorrowedFd<'_>) -> Result<()>;
    /// To be called after `watch`, before `once`.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
    /// Waits once.
    fn once(&mut self) -> Result<()>;
}

/// The CPU time of one wait in microseconds: of as many waits as fill a sample.
pub fn sample(wait: &mut dyn Wait) -> Result<f64> {
    let mut times = 1u32;
    loop {
        let before = thread_cpu();
        for _ in 0..times {
            wait.once()?;
        }
        let cpu = thread_cpu() - before;
        if cpu >= SAMPLE {
            return Ok(cpu.as_secs_f64() * 1e6 / f64::from(times));
        }
        times *= 2;
    }
}

/// The CPU time of this thread, in user mode and in the kernel.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn ready() -> Result<OwnedFd> {
    eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("eventfd")
}

/// select(2), with a bitmap as large as it has to be.
pub struct Select {
    _ready: OwnedFd,
    set: Vec<u64>,
    scratch: Vec<u64>,
    nfds: i32,
    reach: Reach,
}

impl Select {
    /// With an fd_set, or with a larger bitmap: the kernel has no such limit.
    pub fn new(larger: bool) -> Result<Self> {
        let ready = ready()?;
        let reach = if larger { Reach::Open } else { Reach::Set };
        let mut select =
            Self { set: vec![0; libc::FD_SETSIZE / 64], scratch: Vec::new(), nfds: 0, reach, _ready: ready };
        select.add(select._ready.as_raw_fd());
        Ok(select)
    }

    fn add(&mut self, fd: RawFd) {
        let word = fd as usize / 64;
        if word >= self.set.len() {
            self.set.resize(word + 1, 0);
        }
        self.set[word] |= 1 << (fd % 64);
        self.nfds = self.nfds.max(fd + 1);
    }
}

impl Wait for Select {
    fn reach(&self) -> Reach {
        self.reach
    }

    fn watch(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        let fd = fd.as_raw_fd();
        ensure!(
            self.reach == Reach::Open || (fd as usize) < libc::FD_SETSIZE,
            "descriptor {fd} is not below FD_SETSIZE"
        );
        self.add(fd);
        Ok(())
    }

    fn once(&mut self) -> Result<()> {
        // select writes its answer over the set, so each wait begins with a copy. It belongs to the price.
        self.scratch.clone_from(&self.set);
        let mut timeout = libc::timeval { tv_sec: 10, tv_usec: 0 };
        // SAFETY: the bitmap has a bit for each descriptor below `nfds`, and outlives the call, which writes no other.
        let found = unsafe {
            let none = ptr::null_mut();
            libc::select(self.nfds, self.scratch.as_mut_ptr().cast(), none, none, &mut timeout)
        };
        one(found, "select")
    }
}

fn one(found: i32, call: &'static str) -> Result<()> {
    if found < 0 {
        return Err(io::Error::last_os_error()).context(call);
    }
    ensure!(found == 1, "{call} reported {found} descriptors, and one is ready");
    Ok(())
}

/// poll(2).
pub struct Poll {
    _ready: OwnedFd,
    list: Vec<libc::pollfd>,
}

impl Poll {
    /// With the ready one only.
    pub fn new() -> Result<Self> {
        let ready = ready()?;
        let list = vec![libc::pollfd { fd: ready.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        Ok(Self { _ready: ready, list })
    }
}

impl Wait for Poll {
    fn reach(&self) -> Reach {
        Reach::Open
    }

    fn watch(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.list.push(libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        Ok(())
    }

    fn once(&mut self) -> Result<()> {
        // SAFETY: the call reads and writes as many entries as the list has.
        let found = unsafe { libc::poll(self.list.as_mut_ptr(), self.list.len() as _, 10_000) };
        one(found, "poll")
    }
}

/// epoll(7).
pub struct Epoll {
    set: OwnedFd,
    ready: OwnedFd,
    flags: epoll::EventFlags,
    events: Vec<epoll::Event>,
}

impl Epoll {
    /// Level-triggered, or edge-triggered.
    pub fn new(edge: bool) -> Result<Self> {
        let (set, ready) = (epoll::create(epoll::CreateFlags::CLOEXEC)?, ready()?);
        let flags = if edge { epoll::EventFlags::IN | epoll::EventFlags::ET } else { epoll::EventFlags::IN };
        epoll::add(&set, &ready, epoll::EventData::new_u64(1), flags)?;
        Ok(Self { set, ready, flags, events: Vec::with_capacity(16) })
    }
}

impl Wait for Epoll {
    fn reach(&self) -> Reach {
        Reach::Registered
    }

    fn watch(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        epoll::add(&self.set, fd, epoll::EventData::new_u64(0), self.flags)
            .context("epoll_ctl (ENOSPC: /proc/sys/fs/epoll/max_user_watches)")
    }

    fn once(&mut self) -> Result<()> {
        if self.flags.contains(epoll::EventFlags::ET) {
            // Without a new edge there is nothing to report. The write belongs to the figure.
            rustix::io::write(&self.ready, &1u64.to_ne_bytes()).context("write to an eventfd")?;
        }
        self.events.clear();
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout))?;
        let found = self.events.iter().filter(|event| event.data.u64() == 1).count();
        ensure!(found == 1 && self.events.len() == 1, "epoll_wait reported {}, and one is ready", self.events.len());
        Ok(())
    }
}

/// kqueue(2): here the stand-in of 05-kqueue.
pub struct Queue {
    queue: Kqueue,
    _ready: OwnedFd,
    changes: Vec<Kevent>,
    events: Vec<Kevent>,
}

impl Queue {
    /// With the ready one only.
    pub fn new() -> Result<Self> {
        let (queue, ready) = (Kqueue::new().context("kqueue")?, ready()?);
        let events = vec![Kevent::new(0, EVFILT_READ, 0); 16];
        let mut queue = Self { queue, changes: Vec::new(), events, _ready: ready };
        let change = Kevent::new(queue._ready.as_raw_fd() as usize, EVFILT_READ, EV_ADD);
        queue.changes.push(change);
        queue.settle()?;
        Ok(queue)
    }
}

impl Wait for Queue {
    fn reach(&self) -> Reach {
        Reach::Open
    }

    fn watch(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.changes.push(Kevent::new(fd.as_raw_fd() as usize, EVFILT_READ, EV_ADD));
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.queue.kevent(&self.changes, &mut [], None).context("kevent")?;
        self.changes.clear();
        Ok(())
    }

    fn once(&mut self) -> Result<()> {
        let found = self.queue.kevent(&[], &mut self.events, Some(Duration::from_secs(10))).context("kevent")?;
        ensure!(found.len() == 1, "kevent reported {}, and one is ready", found.len());
        Ok(())
    }
}

/// io_uring: a poll of each descriptor is armed. Each reports once, so the ready one is armed again with each wait.
pub struct Ring {
    ring: IoUring,
    ready: OwnedFd,
}

impl Ring {
    /// With nothing armed.
    pub fn new() -> Result<Self> {
        Ok(Self { ring: uring::queues::open(256, 512)?, ready: ready()? })
    }

    fn arm(&mut self, fd: RawFd, name: u64) -> Result<()> {
        let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32).build().user_data(name);
        // SAFETY: a poll has no memory of this program.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().context("io_uring_enter")?;
        }
        Ok(())
    }
}

impl Wait for Ring {
    fn reach(&self) -> Reach {
        Reach::Registered
    }

    fn watch(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.arm(fd.as_raw_fd(), 0)
    }

    fn settle(&mut self) -> Result<()> {
        self.ring.submit().context("io_uring_enter").map(drop)
    }

    fn once(&mut self) -> Result<()> {
        self.arm(self.ready.as_fd().as_raw_fd(), 1)?;
        self.ring.submit_and_wait(1).context("io_uring_enter")?;
        let mut found = 0;
        for completion in self.ring.completion() {
            ensure!(completion.user_data() == 1 && completion.result() > 0, "a poll of an idle descriptor completed");
            found += 1;
        }
        ensure!(found == 1, "the ring completed {found} polls, and one is ready");
        Ok(())
    }
}
