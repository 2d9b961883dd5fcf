//! A server's processes: the one that was started, and its descendants.
//!
//! Invariant: a figure of the family is the sum over its processes at that moment; a child that ends takes its part
//! along.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use procfs::net::TcpState;
use socket2::SockRef;

use crate::decode;
use crate::handle::{Handle, Label, label};
use crate::process::Process;
use crate::sockets;
use crate::start::{self, Mark};
use crate::view::{Activity, Holder, ProcessView, Socket, Thread, View, Wakeups};
use crate::younger::{self, Younger};
use crate::{Family, Listening, Served, detached};

impl Family {
    /// The process and its descendants; `None` where there is no /proc.
    pub fn processes(self) -> Option<Vec<Process>> {
        let roots = std::iter::once(self.pid).chain(self.besides);
        let mut family: Vec<Process> = roots.map(|pid| Process { pid }).collect();
        let mut next = 0;
        while let Some(process) = family.get(next) {
            let children = process.children();
            family.extend(children.into_iter().map(|pid| Process { pid }));
            next += 1;
        }
        Some(family)
    }

    /// All threads of the family.
    pub fn threads(self) -> Option<Vec<Thread>> {
        Some(self.processes()?.into_iter().flat_map(Process::threads).collect())
    }

    /// CPU time and wakeups of the family; `None` if the server has ended.
    pub fn activity(self) -> Option<Activity> {
        let mut sum = Activity::default();
        for process in self.processes()? {
            match process.activity() {
                Some(one) => sum = Activity { ticks: sum.ticks + one.ticks, wakeups: sum.wakeups + one.wakeups },
                // A child may have ended meanwhile; the server itself must be there.
                None if process.pid != self.pid => {}
                None => return None,
            }
        }
        Some(sum)
    }

    /// How often each of its threads has gone to sleep by itself.
    pub fn wakeups(self) -> Option<Vec<Wakeups>> {
        Some(self.processes()?.into_iter().flat_map(Process::wakeups).collect())
    }

    /// How many processes of the family have ended and were not waited for.
    pub fn zombies(self) -> Option<usize> {
        Some(self.processes()?.into_iter().map(Process::zombies).sum())
    }

    /// How many pieces the address spaces of its processes have.
    pub fn mappings(self) -> Option<usize> {
        Some(self.processes()?.into_iter().filter_map(Process::mappings).sum())
    }

    /// Resident memory in bytes.
    pub fn resident(self) -> Option<u64> {
        let mut processes = self.processes()?;
        // One that has ended holds none.
        processes.retain(|process| process.pid == self.pid || !process.is_zombie());
        processes.into_iter().map(Process::resident).sum()
    }

    /// Resident memory of malloc (glibc's), in bytes.
    pub fn allocated(self) -> Option<u64> {
        Some(self.processes()?.into_iter().filter_map(Process::allocated).sum())
    }

    /// How many file descriptors it has open.
    pub fn fd_count(self) -> Option<usize> {
        Some(self.processes()?.into_iter().filter_map(Process::fds).map(|fds| fds.len()).sum())
    }

    /// Whether one of its processes has a timerfd that will go off.
    pub fn has_armed_timer(self) -> bool {
        self.processes().is_some_and(|processes| processes.into_iter().any(Process::has_armed_timer))
    }

    /// How many sockets its processes have open, those of a ring's table included, and how many operations of its
    /// io_urings wait for their socket.
    pub fn sockets_and_operations(self) -> Option<(usize, usize)> {
        let descriptors: Vec<_> = self.processes()?.into_iter().map(Process::descriptors).collect();
        let in_tables = descriptors.iter().flat_map(|it| &it.sockets).map(|(inode, _)| *inode);
        let in_rings = descriptors.iter().flat_map(|it| &it.rings).flat_map(|ring| ring.sockets.iter().copied());
        let sockets: HashSet<u64> = in_tables.chain(in_rings).collect();
        let armed = descriptors.iter().flat_map(|it| &it.rings).map(|ring| ring.armed).sum();
        Some((sockets.len(), armed))
    }

    /// Whether one of its processes hides from whoever looks into /proc.
    pub fn hides(self) -> bool {
        self.processes().is_some_and(|processes| processes.into_iter().any(Process::hides))
    }

    /// Takes pacing off the connections that its listeners accept from here on. Where that may not be done (no
    /// pidfd_getfd(2), before Linux 5.6), all stays as it is.
    pub fn unpace(self) {
        self.each_listener(crate::handle::unpace);
    }

    /// Gives the connections that its listeners accept from here on a send buffer of `bytes`, as a system with a small
    /// tcp_wmem does. Whether that was possible.
    pub fn narrow(self, bytes: usize) -> bool {
        let mut done = false;
        self.each_listener(|listener| done |= SockRef::from(listener).set_send_buffer_size(bytes).is_ok());
        done
    }

    /// Gives the connections that its listeners accept from here on buffers of `bytes` in both directions, where that is
    /// allowed: a user may go up to net.core.rmem_max, and root further. Elsewhere the kernel goes on sizing them itself.
    pub fn widen(self, bytes: usize) {
        use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
        self.each_listener(|listener| {
            let _ = set_socket_recv_buffer_size_force(listener, bytes);
            let _ = set_socket_send_buffer_size_force(listener, bytes);
        });
    }

    /// Gives its end of the connection to a client's `port` a send buffer of `bytes`. Whether that was possible.
    pub fn narrow_connection(self, port: u16, bytes: usize) -> bool {
        let mut done = false;
        self.each_socket(|label, socket| {
            done |= label == Label::Peer(port) && SockRef::from(socket).set_send_buffer_size(bytes).is_ok();
        });
        done
    }

    fn each_listener(self, mut act: impl FnMut(&OwnedFd)) {
        self.each_socket(|label, socket| {
            if label == Label::Listener {
                act(socket);
            }
        });
    }

    fn each_socket(self, mut act: impl FnMut(Label, &OwnedFd)) {
        for process in self.processes().unwrap_or_default() {
            let Ok(handle) = Handle::open(process.pid) else { continue };
            for fd in process.fds().unwrap_or_default() {
                let Some(borrowed) = handle.borrow(fd) else { continue };
                act(label(&borrowed, String::new), &borrowed);
            }
        }
    }

    /// The signals that the process blocks, a bit each.
    pub fn blocked_signals(self) -> Option<u64> {
        Some(Process { pid: self.pid }.status()?.sigblk)
    }

    /// The `flags:` of a file descriptor, as open(2) has them.
    pub fn fd_flags(self, holder: Holder) -> Option<i32> {
        Process { pid: holder.pid }.fd_flags(holder.fd)
    }

    /// Waits until every thread sleeps and stays asleep: two looks, `apart`, with not one context switch between them.
    /// `None` if that does not happen before the deadline, or cannot be seen here.
    pub fn settle(self, apart: Duration, deadline: Duration) -> Option<Vec<Thread>> {
        let end = Instant::now() + deadline;
        let mut before = self.threads()?;
        loop {
            std::thread::sleep(apart);
            let now = self.threads()?;
            if !now.is_empty() && now == before && now.iter().all(|thread| thread.state == 'S') {
                return Some(now);
            }
            // A dead process never sleeps again.
            if Instant::now() > end || now.iter().all(Thread::has_ended) {
                return None;
            }
            before = now;
        }
    }

    /// The whole picture of the server on `port`.
    pub fn view(self, port: u16) -> Option<View> {
        // All threads first: what they sleep in is judged by what is in the sockets then, and not the other way round.
        let with_threads = |process: Process| (process, process.threads());
        let processes: Vec<_> = self.processes()?.into_iter().map(with_threads).collect();
        let with_descriptors = |(process, threads): (Process, Vec<Thread>)| ProcessView {
            pid: process.pid,
            sets: threads.iter().filter_map(|thread| decode::wait_set(process, thread)).collect(),
            threads,
            descriptors: process.descriptors(),
            name: process.name().unwrap_or_default(),
        };
        let processes: Vec<ProcessView> = processes.into_iter().map(with_descriptors).collect();
        let mut holders: HashMap<u64, Vec<Holder>> = HashMap::new();
        for process in &processes {
            for (inode, fd) in &process.descriptors.sockets {
                holders.entry(*inode).or_default().push(Holder { pid: process.pid, fd: *fd });
            }
        }
        let (mut sockets, mut peers) = (Vec::new(), Vec::new());
        for row in sockets::rows(port).unwrap_or_default() {
            let ends = if row.local_address.port() == port { &mut sockets } else { &mut peers };
            ends.push(Socket {
                holders: holders.get(&row.inode).cloned().unwrap_or_default(),
                held: row.inode != 0,
                listening: row.state == TcpState::Listen,
                local: row.local_address,
                remote: row.remote_address,
                rx: row.rx_queue,
                tx: row.tx_queue,
            });
        }
        Some(View { processes, sockets, peers })
    }

    /// Who listens where a client that connects to this address arrives; `None` where that cannot be seen.
    ///
    /// The port alone does not tell: somebody else may have the same number at the other family's loopback address.
    pub fn listening(self, at: SocketAddr, mark: &Mark) -> Option<Listening> {
        let listeners = sockets::listeners(at.port())?;
        if listeners.is_empty() {
            return Some(Listening::Nobody);
        }
        let table = |process: &Process| process.descriptors();
        let mut processes = self.processes().unwrap_or_default();
        let mut tables: Vec<_> = processes.iter().map(table).collect();
        // As a rule the family has them all, and nobody else needs to be looked for.
        if !listeners.iter().all(|(_, inode)| tables.iter().any(|table| table.has_socket(*inode))) {
            processes = self.relatives(mark);
            tables = processes.iter().map(table).collect();
        }
        if !listeners.iter().any(|(_, inode)| tables.iter().any(|table| table.has_socket(*inode))) {
            let adopted = self.adopted_holders(&processes, &listeners, mark);
            tables.extend(adopted.iter().map(table));
            processes.extend(adopted);
        }
        let own_of = |inode: u64| {
            let holders = processes.iter().zip(&tables).filter(|(_, table)| table.has_socket(inode));
            holders.map(|(process, _)| *process).collect::<Vec<_>>()
        };
        let (own, others): (Vec<_>, Vec<_>) = listeners.into_iter().partition(|(_, inode)| !own_of(*inode).is_empty());
        let Some((_, inode)) = others.into_iter().find(|(ip, _)| arrives(at.ip(), *ip)) else {
            let Some((_, first)) = own.first() else { return Some(Listening::Nobody) };
            let family = self.led_by(&own_of(*first));
            let own: Vec<_> = own.into_iter().map(|(ip, inode)| (ip, leaves_v4_alone(&own_of(inode), inode))).collect();
            return Some(Listening::Own(Served { ip: reachable(&own), family }));
        };
        let holder = holder_of(inode);
        // Older kernels do not show the direct descriptors of a ring, and a process may hide its descriptors.
        let shows_all = |process: &Process| process.fds().is_some();
        let opaque = !processes.iter().all(shows_all) || tables.iter().any(|it| !it.rings.is_empty());
        if holder.is_none() && opaque {
            return Some(Listening::Own(Served { ip: Ipv4Addr::LOCALHOST.into(), family: self }));
        }
        Some(Listening::Stranger(holder.map(|process| (process.pid, process.name().unwrap_or_default()))))
    }

    /// Where else the server listens: a server that was told a port and listens on another is found by this.
    pub fn listens_at(self, mark: &Mark) -> Vec<SocketAddr> {
        let tables: Vec<_> = self.relatives(mark).iter().map(|process| process.descriptors()).collect();
        let own = |inode: u64| tables.iter().any(|table| table.has_socket(inode));
        let all = sockets::all_listeners().unwrap_or_default();
        all.into_iter().filter(|(_, inode)| own(*inode)).map(|(addr, _)| addr).collect()
    }

    /// The processes of the family, and those that have left it: they are in the process group or the session that the
    /// server was started in, or carry the mark.
    pub fn relatives(self, mark: &Mark) -> Vec<Process> {
        let mut relatives = self.processes().unwrap_or_default();
        let stayed = |it: &Younger| it.group == self.pid || it.session == self.pid;
        let belongs = |it: &Younger| stayed(it) || start::is_marked_with(it.process.pid, mark);
        relatives.extend(younger::all().filter(belongs).map(|it| it.process));
        relatives.sort_unstable_by_key(|process| process.pid);
        relatives.dedup();
        relatives
    }

    /// Orphans that listen on a port which only this server was told, and whoever below them does: they have left the
    /// group and the environment, and kept the port.
    fn adopted_holders(self, known: &[Process], listeners: &[(IpAddr, u64)], mark: &Mark) -> Vec<Process> {
        let is_known = |process: &Process| known.contains(process);
        let holds = |process: &Process| {
            let table = process.descriptors();
            listeners.iter().any(|(_, inode)| table.has_socket(*inode))
        };
        let orphans = detached::orphans().into_iter().map(Family::of);
        let below = orphans.filter(|orphan| !start::has_other_mark(orphan.pid, mark));
        let below = below.flat_map(|orphan| orphan.processes().unwrap_or_default());
        below.filter(|process| !is_known(process) && holds(process)).collect()
    }

    /// The family of those who hold the listener: this one, or an orphan and this one besides.
    fn led_by(self, holders: &[Process]) -> Self {
        let family = self.processes().unwrap_or_default();
        if holders.iter().any(|holder| family.contains(holder)) {
            return self;
        }
        let Some(orphan) = holders.iter().find_map(|holder| detached::orphan_above(*holder)) else { return self };
        let starter = Process { pid: self.pid };
        let starter = (!starter.threads().is_empty() && !starter.is_zombie()).then_some(self.pid);
        Self { pid: orphan.pid, besides: starter }
    }
}

/// Whether a client that connects to one address arrives at a listener with the other. One at `::` may serve IPv4 too.
fn arrives(at: IpAddr, listener: IpAddr) -> bool {
    // To connect to the unspecified address is to connect to this machine.
    let at = if at.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { at.to_canonical() };
    listener.to_canonical() == at || listener.is_unspecified() && (listener.is_ipv6() || at.is_ipv4())
}

/// Where a client reaches one of these listeners: at 127.0.0.1 if any of them can be reached there. With each address
/// it is told whether the listener is for IPv6 only.
fn reachable(listeners: &[(IpAddr, bool)]) -> IpAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if listeners.iter().any(|(ip, only_v6)| arrives(loopback, *ip) && !only_v6) {
        return loopback;
    }
    match listeners.first() {
        Some((ip, _)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        Some((ip, _)) => *ip,
        None => loopback,
    }
}

/// Whether a listener has IPV6_V6ONLY, where that can be seen: one at `::` may serve IPv4 too.
fn leaves_v4_alone(holders: &[Process], inode: u64) -> bool {
    let only_v6 = |process: &Process| {
        let fd = process.descriptors().sockets.into_iter().find(|(socket, _)| *socket == inode)?.1;
        let borrowed = Handle::open(process.pid).ok()?.borrow(fd)?;
        socket2::SockRef::from(&borrowed).only_v6().ok()
    };
    holders.iter().find_map(only_v6).unwrap_or(false)
}

fn every_process() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(Process { pid: entry.file_name().to_str()?.parse().ok()? }))
}

/// A process that has this socket open, of those that may be looked at.
fn holder_of(inode: u64) -> Option<Process> {
    let link = format!("socket:[{inode}]");
    every_process().find(|process| process.fds().unwrap_or_default().into_iter().any(|fd| process.link(fd) == link))
}
