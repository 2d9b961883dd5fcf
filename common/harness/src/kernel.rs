//! What the kernel shows of a running server: where its threads sleep, what waits in its sockets, what it registered.
//!
//! Invariant: looking changes nothing. Everything is read from /proc; where that is missing (macOS, the BSDs) every
//! question answers `None`, and the checks that depend on it are skipped with that reason.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A server's process, by its id. The server's children belong to it.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Process id.
    pub pid: i32,
}

/// A system call that a thread is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name, or `syscall 123` where the number is not one that an event loop sleeps in.
    pub name: String,
    /// Its six arguments.
    pub args: [u64; 6],
}

/// One thread of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Thread id.
    pub tid: i32,
    /// As in proc(5): R running, S sleeping, T stopped, Z gone.
    pub state: char,
    /// Where it sleeps.
    pub call: Option<Call>,
    /// Voluntary and involuntary context switches so far.
    pub switches: u64,
}

/// One TCP socket with the server's port on one end.
#[derive(Debug, Clone)]
pub struct Socket {
    /// The server's descriptor for it, if it has one: a queued connection has none.
    pub fd: Option<i32>,
    /// A file stands for it (its inode is not 0). One that waits in the accept queue has none yet, and one that was closed
    /// has none any more; one that is held and has no descriptor is kept alive by the kernel, for an operation under way.
    pub held: bool,
    /// Waits for connections; `rx` then counts those in the accept queue.
    pub listening: bool,
    /// The server's end, for a listener too.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Bytes that arrived and were not read (or connections not accepted).
    pub rx: u32,
    /// Bytes sent and not acknowledged.
    pub tx: u32,
}

/// One registration in an epoll set, as in `/proc/PID/fdinfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// The epoll descriptor.
    pub epoll: i32,
    /// The watched descriptor.
    pub fd: i32,
    /// The event mask with its flags.
    pub events: u32,
    /// The watched number is an open descriptor. (Where it is not, another one of the same socket keeps the registration.)
    pub open: bool,
}

/// A picture of the server at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// All threads of all its processes.
    pub threads: Vec<Thread>,
    /// All its sockets on the server's port: listeners, connections, and connections not accepted yet.
    pub sockets: Vec<Socket>,
    /// The other ends of its connections, where they are on this machine; from the same reading of the table, so that
    /// what has left one end has reached the other.
    pub peers: Vec<Socket>,
    /// All epoll registrations.
    pub watches: Vec<Watch>,
    /// Open descriptors.
    pub fds: usize,
    /// Operations of its io_urings that wait for their socket.
    pub armed: usize,
    /// A line for each io_uring.
    pub rings: Vec<String>,
}

/// CPU and wake-ups since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// User and system time in clock ticks (10 ms).
    pub ticks: u64,
    /// Voluntary context switches: each wake-up ends in one.
    pub wakeups: u64,
}

impl Activity {
    /// What came after `before`. Never negative: a thread that ended takes its numbers with it.
    pub fn since(&self, before: Self) -> Self {
        Self { ticks: self.ticks.saturating_sub(before.ticks), wakeups: self.wakeups.saturating_sub(before.wakeups) }
    }
}

impl Call {
    /// A call that waits for many descriptors at once.
    pub fn is_wait(&self) -> bool {
        matches!(
            self.name.as_str(),
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "poll" | "ppoll" | "select" | "pselect6" | "io_uring_enter"
        )
    }

    /// Whether nothing but an event or a signal ends it: it has no timeout.
    pub fn is_endless(&self) -> bool {
        match self.name.as_str() {
            "epoll_wait" | "epoll_pwait" => self.args[3] as i32 == -1,
            "epoll_pwait2" | "futex" => self.args[3] == 0,
            "poll" => self.args[2] as i32 == -1,
            "ppoll" => self.args[2] == 0,
            "select" | "pselect6" => self.args[4] == 0,
            // Its timeouts are operations of their own and not visible here.
            "io_uring_enter" => false,
            name => !name.starts_with("syscall"),
        }
    }
}

impl View {
    /// Every thread sleeps.
    pub fn asleep(&self) -> bool {
        !self.threads.is_empty() && self.threads.iter().all(|thread| thread.state == 'S')
    }

    /// Every thread sleeps in a call without a timeout.
    pub fn asleep_for_good(&self) -> bool {
        self.asleep() && self.threads.iter().all(|t| t.call.as_ref().is_some_and(Call::is_endless))
    }

    /// The call that the event loop sleeps in: the first thread's wait, or that of any other.
    pub fn wait(&self) -> Option<&Call> {
        self.threads.iter().filter_map(|thread| thread.call.as_ref()).find(|call| call.is_wait())
    }

    /// The server's end of the connection from this client port.
    pub fn connection(&self, client: SocketAddr) -> Option<&Socket> {
        self.sockets.iter().find(|socket| !socket.listening && socket.remote.port() == client.port())
    }

    /// The other end of the connection from this client's address: the client's own socket.
    pub fn peer(&self, client: SocketAddr) -> Option<&Socket> {
        self.peers.iter().find(|socket| socket.local.port() == client.port())
    }

    /// Connections that wait to be accepted, over all listeners.
    pub fn accept_queue(&self) -> u32 {
        self.sockets.iter().filter(|socket| socket.listening).map(|socket| socket.rx).sum()
    }

    /// How a descriptor is registered, in the words of `epoll_ctl`: `IN|ET`, `none` for an empty mask.
    pub fn watch(&self, fd: i32) -> Option<&Watch> {
        self.watches.iter().find(|watch| watch.fd == fd)
    }
}

impl Watch {
    /// Whether any of these `EPOLL*` bits are in the mask.
    pub fn has(&self, bits: u32) -> bool {
        self.events & bits != 0
    }

    /// The mask as `IN|OUT|ET`.
    pub fn mask(&self) -> String {
        let names = [
            (0x1, "IN"),
            (0x4, "OUT"),
            (0x2000, "RDHUP"),
            (0x8000_0000, "ET"),
            (0x4000_0000, "ONESHOT"),
            (0x1000_0000, "EXCLUSIVE"),
        ];
        let named: Vec<_> = names.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name).collect();
        if named.is_empty() { "nothing".into() } else { named.join("|") }
    }
}

impl Process {
    /// Waits until every thread sleeps and stays asleep: two looks, `apart`, with not one context switch between them.
    /// `None` if that does not happen before the deadline, or cannot be seen here.
    pub fn settle(&self, apart: Duration, deadline: Duration) -> Option<Vec<Thread>> {
        let end = Instant::now() + deadline;
        let mut before = self.threads()?;
        loop {
            std::thread::sleep(apart);
            let now = self.threads()?;
            if !now.is_empty() && now == before && now.iter().all(|thread| thread.state == 'S') {
                return Some(now);
            }
            // A dead process never sleeps again.
            if Instant::now() > end || now.iter().all(|thread| matches!(thread.state, 'Z' | 'X')) {
                return None;
            }
            before = now;
        }
    }
}

#[cfg(target_os = "linux")]
mod proc {
    use std::collections::{HashMap, HashSet};
    use std::fs;
    use std::net::SocketAddr;
    use std::os::fd::{FromRawFd, OwnedFd};

    use procfs::net::{TcpNetEntries, TcpNetEntry, TcpState};
    use procfs::process::FDTarget;
    use procfs::{FromBufReadSI, LocalSystemInfo, ProcResult};

    use super::{Activity, Call, Process, Socket, Thread, View, Watch};

    impl Process {
        /// The process and its descendants; `None` where there is no /proc.
        pub fn family(&self) -> Option<Vec<i32>> {
            let mut family = vec![self.pid];
            let mut next = 0;
            while let Some(&pid) = family.get(next) {
                next += 1;
                let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
                for task in tasks.flatten() {
                    let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                    let children = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
                    // One that has ended and was not waited for does nothing any more, whatever it was.
                    family.extend(children.filter(|pid| !is_zombie(*pid)));
                }
            }
            Some(family)
        }

        /// All threads of the family.
        pub fn threads(&self) -> Option<Vec<Thread>> {
            Some(self.family()?.into_iter().flat_map(|pid| threads(pid).unwrap_or_default()).collect())
        }

        /// CPU time and wake-ups of the family; `None` if it has ended.
        pub fn activity(&self) -> Option<Activity> {
            let mut sum = Activity { ticks: 0, wakeups: 0 };
            for pid in self.family()? {
                match one_activity(pid) {
                    Ok(one) => sum = Activity { ticks: sum.ticks + one.ticks, wakeups: sum.wakeups + one.wakeups },
                    // A child that ended meanwhile takes its figures along; the server itself must be there.
                    Err(_) if pid != self.pid => {}
                    Err(_) => return None,
                }
            }
            Some(sum)
        }

        /// Resident memory in bytes. From smaps_rollup, because VmRSS is an estimate on kernels since 6.2.
        pub fn resident(&self) -> Option<u64> {
            let mut sum = 0;
            for pid in self.family()? {
                let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
                let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
                sum += line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
            }
            Some(sum)
        }

        /// Open descriptors of the family.
        pub fn fd_count(&self) -> Option<usize> {
            let family = self.family()?;
            Some(
                family.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok()).map(Iterator::count).sum(),
            )
        }

        /// The numbers of its own open descriptors (not of its children's), in order.
        pub fn fd_numbers(&self) -> Option<Vec<i32>> {
            let fds = fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?;
            let mut numbers: Vec<i32> = fds.flatten().filter_map(|fd| fd.file_name().to_str()?.parse().ok()).collect();
            numbers.sort_unstable();
            Some(numbers)
        }

        /// The `flags:` of a descriptor in `/proc/PID/fdinfo`, as open(2) has them.
        pub fn fd_flags(&self, fd: i32) -> Option<i32> {
            let info = fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.pid)).ok()?;
            i32::from_str_radix(info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim(), 8).ok()
        }

        /// Whether it hides itself: it is ours, and what is ours can be looked at unless it has asked the kernel not to let
        /// anybody (PR_SET_DUMPABLE).
        pub fn hides(&self) -> bool {
            let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
            let ours = || {
                let status = procfs::process::Process::new(self.pid).and_then(|process| process.status());
                status.is_ok_and(|status| status.euid == rustix::process::geteuid().as_raw())
            };
            fs::read_dir(format!("/proc/{}/fd", self.pid)).is_err_and(denied) && ours()
        }

        /// Takes pacing off the connections that its listeners accept from here on: accepted sockets inherit the congestion
        /// control. Where that may not be done (no pidfd_getfd(2), before Linux 5.6), all stays as it is.
        pub fn unpace(&self) {
            use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
            for pid in self.family().unwrap_or_default() {
                let Some(Ok(handle)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
                    continue;
                };
                for fd in (Process { pid }).fd_numbers().unwrap_or_default() {
                    let Ok(borrowed) = pidfd_getfd(&handle, fd, PidfdGetfdFlags::empty()) else { continue };
                    let socket = socket2::SockRef::from(&borrowed);
                    if socket.is_listener().is_ok_and(|listens| listens) {
                        let _ = socket.set_tcp_congestion(b"reno");
                    }
                }
            }
        }

        /// The signals it ignores, a bit each, as in `/proc/PID/status`.
        pub fn ignored_signals(&self) -> Option<u64> {
            Some(procfs::process::Process::new(self.pid).ok()?.status().ok()?.sigign)
        }

        /// The signals it blocks, a bit each, as in `/proc/PID/status`.
        pub fn blocked_signals(&self) -> Option<u64> {
            Some(procfs::process::Process::new(self.pid).ok()?.status().ok()?.sigblk)
        }

        /// The whole picture of the server on `port`.
        pub fn view(&self, port: u16) -> Option<View> {
            let mut view = View { threads: self.threads()?, ..View::default() };
            let mut owners = HashMap::new();
            let mut open = HashSet::new();
            for pid in self.family()? {
                // One that has just ended shows nothing, and that is the truth.
                let _ = descriptors(pid, &mut view, &mut owners, &mut open);
            }
            view.watches.iter_mut().for_each(|watch| watch.open = open.contains(&watch.fd));
            for row in rows(port).unwrap_or_default() {
                let ends = if row.local_address.port() == port { &mut view.sockets } else { &mut view.peers };
                ends.push(Socket {
                    fd: owners.get(&row.inode).copied(),
                    held: row.inode != 0,
                    listening: row.state == TcpState::Listen,
                    local: row.local_address,
                    remote: row.remote_address,
                    rx: row.rx_queue,
                    tx: row.tx_queue,
                });
            }
            Some(view)
        }
    }

    /// (unread, unacknowledged) bytes of the socket at `local`, connected to `remote`: one end of a connection.
    pub fn queues(local: SocketAddr, remote: SocketAddr) -> Option<(u32, u32)> {
        if let Ok(queues) = crate::sock_diag::queues(local, remote) {
            return queues;
        }
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let is = |row: &TcpNetEntry| (canonical(row.local_address), canonical(row.remote_address)) == (local, remote);
        // Of a connection on loopback both ends are listed; either of its ports finds both.
        let row = rows(remote.port())?.into_iter().find(is)?;
        Some((row.rx_queue, row.tx_queue))
    }

    /// Why a process on this machine gets no io_uring; `None` if it does.
    pub fn io_uring_denied() -> Option<String> {
        // A struct io_uring_params: 120 bytes.
        let mut params = [0u64; 15];
        // SAFETY: the call reads and writes those 120 bytes; a descriptor that it returns has no other owner.
        let ring = unsafe {
            match libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) {
                -1 => Err(std::io::Error::last_os_error()),
                fd => Ok(OwnedFd::from_raw_fd(fd as i32)),
            }
        };
        ring.err().map(|error| {
            format!("io_uring is denied here ({error}): by seccomp, as in most containers, by kernel.io_uring_disabled, or for its age")
        })
    }

    /// Whether something listens on this port.
    pub fn is_listening(port: u16) -> Option<bool> {
        Some(rows(port)?.iter().any(|row| row.state == TcpState::Listen && row.local_address.port() == port))
    }

    /// Whether the end of a connection has not arrived yet: the server's socket on `port` is established, and nobody
    /// owns the client's any more. On a machine with much to do the kernel's own threads deliver packets, and late.
    pub fn ends_under_way(port: u16) -> bool {
        let rows = rows(port).unwrap_or_default();
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let pair = |row: &TcpNetEntry| (canonical(row.local_address), canonical(row.remote_address));
        let owned: HashSet<_> = rows.iter().filter(|row| row.inode != 0).map(pair).collect();
        let servers = rows.iter().filter(|row| row.state == TcpState::Established && row.local_address.port() == port);
        servers.map(pair).any(|(local, remote)| !owned.contains(&(remote, local)))
    }

    /// The TCP sockets with this port on either end, but for those in TIME_WAIT, which belong to nobody. After a few
    /// suites there are tens of thousands of them, so lines are left out before they are parsed.
    fn rows(port: u16) -> Option<Vec<TcpNetEntry>> {
        let port = format!(":{port:04X} ");
        let mut rows = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            // Without IPv6 there is no second table.
            let Ok(table) = fs::read_to_string(table) else { continue };
            let wanted = |line: &&str| line.contains(&port) && line.split_ascii_whitespace().nth(3) != Some("06");
            let mut lines = table.lines();
            let head = lines.next()?;
            let kept: Vec<_> = std::iter::once(head).chain(lines.filter(wanted)).collect();
            rows.extend(TcpNetEntries::from_buf_read(kept.join("\n").as_bytes(), &LocalSystemInfo).ok()?.0);
        }
        Some(rows)
    }

    fn is_zombie(pid: i32) -> bool {
        procfs::process::Process::new(pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.state == 'Z')
    }

    fn one_activity(pid: i32) -> ProcResult<Activity> {
        let process = procfs::process::Process::new(pid)?;
        let stat = process.stat()?;
        let mut wakeups = 0;
        for task in process.tasks()?.flatten() {
            wakeups += task.status()?.voluntary_ctxt_switches.unwrap_or(0);
        }
        Ok(Activity { ticks: stat.utime + stat.stime, wakeups })
    }

    fn threads(pid: i32) -> ProcResult<Vec<Thread>> {
        let mut threads = Vec::new();
        for task in procfs::process::Process::new(pid)?.tasks()?.flatten() {
            // The state before the call: the other order can pair an old call with a new state, and is slow besides.
            let Ok(stat) = task.stat() else { continue };
            let call = fs::read_to_string(format!("/proc/{pid}/task/{}/syscall", task.tid)).unwrap_or_default();
            let Ok(status) = task.status() else { continue };
            let switches = status.voluntary_ctxt_switches.unwrap_or(0) + status.nonvoluntary_ctxt_switches.unwrap_or(0);
            threads.push(Thread { tid: task.tid, state: stat.state, call: parse_call(&call), switches });
        }
        Ok(threads)
    }

    fn parse_call(line: &str) -> Option<Call> {
        let mut fields = line.split_whitespace();
        let number = fields.next()?.parse::<i64>().ok().filter(|number| *number >= 0)?;
        let mut args = [0; 6];
        for arg in &mut args {
            *arg = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
        }
        let name = super::names::NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
        Some(Call { name: name.unwrap_or_else(|| format!("syscall {number}")), args })
    }

    fn descriptors(
        pid: i32,
        view: &mut View,
        owners: &mut HashMap<u64, i32>,
        open: &mut HashSet<i32>,
    ) -> ProcResult<()> {
        for fd in procfs::process::Process::new(pid)?.fd()?.flatten() {
            view.fds += 1;
            open.insert(fd.fd);
            match fd.target {
                FDTarget::Socket(inode) => {
                    owners.insert(inode, fd.fd);
                }
                FDTarget::AnonInode(kind) if kind.contains("eventpoll") => {
                    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.fd))?;
                    view.watches.extend(info.lines().filter_map(|line| parse_watch(fd.fd, line)));
                }
                FDTarget::AnonInode(kind) if kind.contains("io_uring") => {
                    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.fd))?;
                    let wanted = ["SqHead:", "SqTail:", "CqHead:", "CqTail:"];
                    let heads: Vec<_> = info.lines().filter(|l| wanted.iter().any(|w| l.starts_with(w))).collect();
                    let armed = info.lines().skip_while(|line| !line.starts_with("PollList")).skip(1);
                    let armed = armed.take_while(|line| line.trim_start().starts_with("op=")).count();
                    view.armed += armed;
                    let heads = heads.join(", ").replace('\t', " ");
                    view.rings.push(format!("ring fd {}: {heads}; {armed} operations wait for their socket", fd.fd));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn parse_watch(epoll: i32, line: &str) -> Option<Watch> {
        let mut fields = line.strip_prefix("tfd:")?.split_whitespace();
        let fd = fields.next()?.parse().ok()?;
        let events = fields.nth(1)?;
        Some(Watch { epoll, fd, events: u32::from_str_radix(events, 16).ok()?, open: true })
    }
}

#[cfg(target_os = "linux")]
pub use proc::{ends_under_way, io_uring_denied, is_listening, queues};

#[cfg(target_os = "linux")]
mod names {
    /// The calls an event loop or a blocking server sleeps in.
    pub const NAMES: &[(i64, &str)] = &[
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_epoll_wait, "epoll_wait"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_poll, "poll"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_select, "select"),
        (libc::SYS_epoll_pwait, "epoll_pwait"),
        (libc::SYS_epoll_pwait2, "epoll_pwait2"),
        (libc::SYS_ppoll, "ppoll"),
        (libc::SYS_pselect6, "pselect6"),
        (libc::SYS_io_uring_enter, "io_uring_enter"),
        (libc::SYS_futex, "futex"),
        (libc::SYS_nanosleep, "nanosleep"),
        (libc::SYS_clock_nanosleep, "clock_nanosleep"),
        (libc::SYS_read, "read"),
        (libc::SYS_readv, "readv"),
        (libc::SYS_write, "write"),
        (libc::SYS_writev, "writev"),
        (libc::SYS_recvfrom, "recvfrom"),
        (libc::SYS_recvmsg, "recvmsg"),
        (libc::SYS_sendto, "sendto"),
        (libc::SYS_sendmsg, "sendmsg"),
        (libc::SYS_accept, "accept"),
        (libc::SYS_accept4, "accept4"),
        (libc::SYS_connect, "connect"),
        (libc::SYS_wait4, "wait4"),
    ];
}

#[cfg(not(target_os = "linux"))]
mod no_proc {
    use super::{Activity, Process, Thread, View};

    impl Process {
        /// `None`: there is no /proc here.
        pub fn family(&self) -> Option<Vec<i32>> {
            None
        }

        /// `None`: there is no /proc here.
        pub fn threads(&self) -> Option<Vec<Thread>> {
            None
        }

        /// `None`: there is no /proc here.
        pub fn activity(&self) -> Option<Activity> {
            None
        }

        /// `None`: there is no /proc here.
        pub fn resident(&self) -> Option<u64> {
            None
        }

        /// `None`: there is no /proc here.
        pub fn fd_count(&self) -> Option<usize> {
            None
        }

        /// `None`: there is no /proc here.
        pub fn fd_numbers(&self) -> Option<Vec<i32>> {
            None
        }

        /// `None`: there is no /proc here.
        pub fn fd_flags(&self, _fd: i32) -> Option<i32> {
            None
        }

        /// `false`: there is no /proc here.
        pub fn hides(&self) -> bool {
            false
        }

        /// Nothing paces here by default.
        pub fn unpace(&self) {}

        /// `None`: there is no /proc here.
        pub fn ignored_signals(&self) -> Option<u64> {
            None
        }

        /// `None`: there is no /proc here.
        pub fn blocked_signals(&self) -> Option<u64> {
            None
        }

        /// `None`: there is no /proc here.
        pub fn view(&self, _port: u16) -> Option<View> {
            None
        }
    }

    /// `None`: there is no /proc here.
    pub fn queues(_local: std::net::SocketAddr, _remote: std::net::SocketAddr) -> Option<(u32, u32)> {
        None
    }

    /// `false`: there is no /proc here.
    pub fn ends_under_way(_port: u16) -> bool {
        false
    }

    /// There is none, and nobody asks.
    pub fn io_uring_denied() -> Option<String> {
        None
    }

    /// `None`: there is no /proc here.
    pub fn is_listening(_port: u16) -> Option<bool> {
        None
    }
}

#[cfg(not(target_os = "linux"))]
pub use no_proc::{ends_under_way, io_uring_denied, is_listening, queues};
