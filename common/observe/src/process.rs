//! One process, as /proc shows it.
//!
//! Invariant: looking changes nothing. A question about a process that has ended, or that may not be looked at, has no
//! answer (`None`, or nothing in a list), and never a made-up one.

use std::fs;
use std::io::{self, ErrorKind, IoSliceMut};
use std::os::fd::RawFd;

use procfs::ProcResult;
use procfs::process::{LimitValue, Status};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::mask::Mask;
use crate::syscall::Call;
use crate::view::{Activity, Descriptors, Epoll, Registration, Ring, Thread, Wakeups};

/// A process, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id.
    pub pid: i32,
}

impl Process {
    fn read_file(self, name: &str) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{}/{name}", self.pid)).ok();
        text.filter(|text| !text.is_empty())
            .or_else(|| fs::read_to_string(format!("{}/{name}", self.of_another_thread()?)).ok())
    }

    /// The folder of a thread that runs, where the first one has ended: `main` may end with pthread_exit(3), and what
    /// the process shares (descriptors, memory) is shown no more under the process's own id then.
    fn of_another_thread(self) -> Option<String> {
        if !self.leader_has_ended() {
            return None;
        }
        let tasks = procfs::process::Process::new(self.pid).and_then(|process| process.tasks()).ok()?;
        let lives = |task: &procfs::process::Task| task.stat().is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'));
        let live = tasks.flatten().find(lives)?;
        Some(format!("/proc/{}/task/{}", self.pid, live.tid))
    }

    fn leader_has_ended(self) -> bool {
        procfs::process::Process::new(self.pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.state == 'Z')
    }

    /// Its children, but for zombies: a process that has ended and was not waited for does nothing any more.
    pub(crate) fn children(self) -> Vec<i32> {
        self.all_children().into_iter().filter(|pid| !Process { pid: *pid }.is_zombie()).collect()
    }

    /// Its children, with those that have ended and were not waited for.
    pub(crate) fn all_children(self) -> Vec<i32> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return Vec::new() };
        let of_task = |path: std::path::PathBuf| fs::read_to_string(path.join("children")).unwrap_or_default();
        let listed: Vec<String> = tasks.flatten().map(|task| of_task(task.path())).collect();
        listed.iter().flat_map(|pids| pids.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
    }

    /// How many of its children have ended and were not waited for.
    pub(crate) fn zombies(self) -> usize {
        self.all_children().into_iter().filter(|pid| Process { pid: *pid }.is_zombie()).count()
    }

    /// Its parent.
    pub(crate) fn parent(self) -> Option<i32> {
        procfs::process::Process::new(self.pid).and_then(|process| process.stat()).ok().map(|stat| stat.ppid)
    }

    /// Its process group.
    pub fn group(self) -> Option<i32> {
        procfs::process::Process::new(self.pid).and_then(|process| process.stat()).ok().map(|stat| stat.pgrp)
    }

    /// Its session: with setsid(2) a process leaves that of its parent.
    pub fn session(self) -> Option<i32> {
        procfs::process::Process::new(self.pid).and_then(|process| process.stat()).ok().map(|stat| stat.session)
    }

    /// Whether all its threads have ended, and nobody has waited for it.
    pub fn is_zombie(self) -> bool {
        self.leader_has_ended() && self.threads().iter().all(Thread::has_ended)
    }

    /// Whether any of its threads has not ended.
    pub fn lives(self) -> bool {
        self.threads().iter().any(|thread| !thread.has_ended())
    }

    /// Its threads, each with the call that it sleeps in. A first thread that has ended before the others is left out:
    /// it stays as a zombie until they end too.
    pub fn threads(self) -> Vec<Thread> {
        let tasks = procfs::process::Process::new(self.pid).and_then(|process| process.tasks());
        let tasks = tasks.into_iter().flatten().flatten();
        let mut threads: Vec<Thread> = tasks.filter_map(|task| self.one_thread(&task)).collect();
        if threads.iter().any(|thread| !thread.has_ended()) {
            threads.retain(|thread| thread.tid != self.pid || !thread.has_ended());
        }
        threads
    }

    fn one_thread(self, task: &procfs::process::Task) -> Option<Thread> {
        // The state before the call: the other order can pair an old call with a new state, and is slow besides.
        let stat = task.stat().ok()?;
        let call = self.read_file(&format!("task/{}/syscall", task.tid)).unwrap_or_default();
        let status = task.status().ok()?;
        let switches = status.voluntary_ctxt_switches.unwrap_or(0) + status.nonvoluntary_ctxt_switches.unwrap_or(0);
        Some(Thread { tid: task.tid, state: stat.state, call: parse_call(&call), switches })
    }

    /// The state letter of one thread and, if it sleeps in a call, the number of that call. Read by hand: the explorer
    /// asks this thousands of times a second.
    pub fn glance(self, tid: i32) -> (char, Option<i64>) {
        // In this order: the other one waits until the thread has left its processor.
        let stat = self.read_file(&format!("task/{tid}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('X');
        if state == 'R' {
            return (state, None);
        }
        let call = self.read_file(&format!("task/{tid}/syscall")).unwrap_or_default();
        (state, call.split(' ').next().and_then(|number| number.parse().ok()))
    }

    /// CPU time and wakeups since its start.
    pub fn activity(self) -> Option<Activity> {
        let read = || -> ProcResult<Activity> {
            let process = procfs::process::Process::new(self.pid)?;
            let stat = process.stat()?;
            // A thread may end meanwhile.
            let statuses = process.tasks()?.flatten().filter_map(|task| task.status().ok());
            let wakeups = statuses.map(|status| status.voluntary_ctxt_switches.unwrap_or(0)).sum();
            Ok(Activity { ticks: stat.utime + stat.stime, wakeups })
        };
        read().ok()
    }

    /// How often each of its threads has gone to sleep by itself (voluntary context switches).
    pub fn wakeups(self) -> Vec<Wakeups> {
        let tasks = procfs::process::Process::new(self.pid).and_then(|process| process.tasks());
        let of_thread = |task: procfs::process::Task| {
            let status = task.status().ok()?;
            Some(Wakeups { tid: task.tid, name: status.name, count: status.voluntary_ctxt_switches.unwrap_or(0) })
        };
        tasks.into_iter().flatten().flatten().filter_map(of_thread).collect()
    }

    /// CPU time that it has used, in ticks of 10 ms.
    pub fn ticks(self) -> u64 {
        let stat = procfs::process::Process::new(self.pid).and_then(|process| process.stat());
        stat.map_or(0, |stat| stat.utime + stat.stime)
    }

    /// Resident memory in bytes. From smaps_rollup, because VmRSS is an estimate on kernels since 6.2.
    pub fn resident(self) -> Option<u64> {
        let rollup = self.read_file("smaps_rollup")?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// How many pieces its address space has: the program's own, and two or so for each thread's stack.
    pub fn mappings(self) -> Option<usize> {
        Some(self.read_file("maps")?.lines().count())
    }

    /// Its open file descriptors, in order; `None` if they may not be seen.
    pub fn fds(self) -> Option<Vec<RawFd>> {
        let of = |folder: String| -> Option<Vec<RawFd>> {
            let entries = fs::read_dir(format!("{folder}/fd")).ok()?;
            Some(entries.flatten().filter_map(|fd| fd.file_name().to_str()?.parse().ok()).collect())
        };
        let fds = of(format!("/proc/{}", self.pid));
        let mut fds = match fds {
            Some(fds) if !fds.is_empty() => fds,
            // None at all are rare, and what the first thread shows when it has ended.
            none => self.of_another_thread().and_then(of).or(none)?,
        };
        fds.sort_unstable();
        Some(fds)
    }

    /// The lowest number that the next file descriptor can get.
    pub fn first_free_fd(self) -> RawFd {
        let open = self.fds().unwrap_or_default();
        (0..).find(|fd| open.binary_search(fd).is_err()).unwrap_or(0)
    }

    /// What a file descriptor is, as the link in /proc names it: `socket:[123]`, `anon_inode:[eventpoll]`.
    pub fn link(self, fd: RawFd) -> String {
        let link = fs::read_link(format!("/proc/{}/fd/{fd}", self.pid)).ok();
        let link = link.or_else(|| fs::read_link(format!("{}/fd/{fd}", self.of_another_thread()?)).ok());
        link.map_or_else(String::new, |path| path.to_string_lossy().into_owned())
    }

    /// The `flags:` of a file descriptor in `/proc/PID/fdinfo`, as open(2) has them.
    pub fn fd_flags(self, fd: RawFd) -> Option<i32> {
        let info = self.read_file(&format!("fdinfo/{fd}"))?;
        i32::from_str_radix(info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim(), 8).ok()
    }

    /// Its sockets: inode and descriptor.
    pub fn sockets(self) -> Vec<(u64, RawFd)> {
        let inode = |fd: RawFd| self.link(fd).strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
        self.fds().unwrap_or_default().into_iter().filter_map(|fd| Some((inode(fd)?, fd))).collect()
    }

    /// What it has open, a list for each kind that an event loop is made of.
    pub fn descriptors(self) -> Descriptors {
        let mut found = Descriptors::default();
        for fd in self.fds().unwrap_or_default() {
            found.open.push(fd);
            let link = self.link(fd);
            if let Some(inode) = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')?.parse().ok()) {
                found.sockets.push((inode, fd));
            } else if link.starts_with("anon_inode:") && link.contains("eventpoll") {
                found.epolls.push(Epoll { fd, registrations: self.registrations(fd) });
            } else if link.starts_with("anon_inode:") && link.contains("io_uring") {
                let info = self.read_file(&format!("fdinfo/{fd}")).unwrap_or_default();
                found.rings.push(Ring::parse(fd, &info));
            }
        }
        found
    }

    /// `/proc/PID/fdinfo` of a file descriptor; empty if there is nothing to see.
    pub fn fd_info(self, fd: RawFd) -> String {
        self.read_file(&format!("fdinfo/{fd}")).unwrap_or_default()
    }

    /// What is registered with an epoll instance, in the order of the file descriptors.
    pub fn registrations(self, epoll: RawFd) -> Vec<Registration> {
        let info = self.read_file(&format!("fdinfo/{epoll}")).unwrap_or_default();
        let mut found: Vec<Registration> = info.lines().filter_map(parse_registration).collect();
        found.sort_unstable_by_key(|registration| registration.fd);
        found
    }

    /// Whether it has a timerfd that will go off.
    pub fn has_armed_timer(self) -> bool {
        let armed = |fd: RawFd| {
            let info = self.read_file(&format!("fdinfo/{fd}")).unwrap_or_default();
            info.contains("it_value:") && !info.contains("it_value: (0, 0)")
        };
        let fds = self.fds().unwrap_or_default();
        fds.into_iter().any(|fd| self.link(fd).contains("[timerfd]") && armed(fd))
    }

    /// Whether it hides itself: it is ours, and what is ours can be looked at unless it has asked the kernel not to let
    /// anybody (PR_SET_DUMPABLE).
    pub fn hides(self) -> bool {
        // A process that ends, or that exec is giving another program, cannot be looked at for a moment either.
        const LOOKS: u32 = 40;
        const APART: std::time::Duration = std::time::Duration::from_millis(25);
        (0..LOOKS).all(|look| {
            if look > 0 {
                std::thread::sleep(APART);
            }
            self.is_hidden()
        })
    }

    fn is_hidden(self) -> bool {
        // Of a first thread that has ended, another one's folder is asked.
        let folder = self.of_another_thread().unwrap_or_else(|| format!("/proc/{}", self.pid));
        let denied = fs::read_dir(folder + "/fd").is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        // What a process that has ended leaves under /proc belongs to root.
        denied && self.lives() && self.status().is_some_and(|status| status.euid == rustix::process::geteuid().as_raw())
    }

    /// `/proc/PID/status`; the id of a thread will do, for what is the thread's own.
    pub fn status(self) -> Option<Status> {
        procfs::process::Process::new(self.pid).and_then(|process| process.status()).ok()
    }

    /// Its name, as in `ps`: for a message.
    pub fn name(self) -> Option<String> {
        Some(self.read_file("comm")?.trim_end().to_owned())
    }

    /// Copies a piece of its memory, and says whether all of it could be read; what could not stays zero.
    pub fn read_memory(self, at: u64, bytes: &mut [u8]) -> bool {
        let len = bytes.len();
        let local = IoSliceMut::new(bytes);
        let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: len };
        // SAFETY: `local` is layout-compatible with iovec (std says so) and borrows `bytes`, so the kernel writes at most
        // `len` bytes there. `remote` is an address of the other process, which this one does not dereference.
        let read = unsafe { libc::process_vm_readv(self.pid, (&raw const local).cast(), 1, &remote, 1, 0) };
        usize::try_from(read) == Ok(len)
    }

    /// A number in its memory, as bytes; zero if it cannot be read.
    pub fn word<const N: usize>(self, at: u64) -> [u8; N] {
        self.readable(at).unwrap_or([0; N])
    }

    /// A number in its memory, as bytes; `None` if it cannot be read, which is so when the process has ended.
    pub fn readable<const N: usize>(self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read_memory(at, &mut bytes).then_some(bytes)
    }

    /// Its soft and its hard limit of file descriptors.
    fn fd_limits(self) -> Option<(u64, u64)> {
        let limits = procfs::process::Process::new(self.pid).and_then(|process| process.limits()).ok()?;
        let number = |limit: LimitValue| match limit {
            LimitValue::Value(value) => value,
            LimitValue::Unlimited => u64::MAX,
        };
        Some((number(limits.max_open_files.soft_limit), number(limits.max_open_files.hard_limit)))
    }

    /// Its soft limit of file descriptors.
    pub fn fd_limit(self) -> Option<u64> {
        self.fd_limits().map(|(soft, _)| soft)
    }

    /// Sets its soft limit of file descriptors, at most to the hard one.
    ///
    /// # Errors
    /// If it has ended, or is another user's.
    pub fn set_fd_limit(self, soft: u64) -> io::Result<()> {
        let (_, hard) = self.fd_limits().ok_or(ErrorKind::NotFound)?;
        let finite = |limit: u64| Some(limit).filter(|limit| *limit != u64::MAX);
        let limit = Rlimit { current: finite(soft.min(hard)), maximum: finite(hard) };
        prlimit(Pid::from_raw(self.pid), Resource::Nofile, limit)?;
        Ok(())
    }
}

fn parse_call(line: &str) -> Option<Call> {
    let mut fields = line.split_whitespace();
    let number = fields.next()?.parse::<i64>().ok().filter(|number| *number >= 0)?;
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some(Call::new(number, args))
}

/// `tfd:        7 events: 80002019 data:                7  pos:0 ino:1b3 sdev:8`
fn parse_registration(line: &str) -> Option<Registration> {
    let value = |name: &str| line.split(name).nth(1)?.split_whitespace().next();
    let fd = value("tfd:")?.parse().ok()?;
    // NVAL marks the last call that armed it (see `Mask::of_epoll`), and is no part of what is asked for.
    let mask = Mask::of_epoll(u32::from_str_radix(value("events:")?, 16).ok()? & !Mask::NVAL.0);
    Some(Registration { fd, mask, data: u64::from_str_radix(value("data:")?, 16).ok()? })
}
