//! A server's processes: the one that was started, and its descendants.
//!
//! Invariant: a figure of the family is the sum over its processes at that moment; a child that ends takes its part
//! along.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use procfs::net::TcpState;

use crate::decode;
use crate::process::Process;
use crate::sockets;
use crate::start::{self, Mark};
use crate::view::{Activity, Holder, ProcessView, Socket, Thread, View};
use crate::{Family, Listening};

impl Family {
    /// The process and its descendants; `None` where there is no /proc.
    pub fn processes(self) -> Option<Vec<Process>> {
        let mut family = vec![Process { pid: self.pid }];
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

    /// Resident memory in bytes.
    pub fn resident(self) -> Option<u64> {
        self.processes()?.into_iter().map(Process::resident).sum()
    }

    /// How many file descriptors it has open.
    pub fn fd_count(self) -> Option<usize> {
        Some(self.processes()?.into_iter().filter_map(Process::fds).map(|fds| fds.len()).sum())
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

    /// Whether the process hides from whoever looks into /proc.
    pub fn hides(self) -> bool {
        Process { pid: self.pid }.hides()
    }

    /// Takes pacing off the connections that its listeners accept from here on. Where that may not be done (no
    /// pidfd_getfd(2), before Linux 5.6), all stays as it is.
    pub fn unpace(self) {
        use crate::handle::{Handle, Label, label, unpace};
        for process in self.processes().unwrap_or_default() {
            let Ok(handle) = Handle::open(process.pid) else { continue };
            for fd in process.fds().unwrap_or_default() {
                let Some(borrowed) = handle.borrow(fd) else { continue };
                if label(&borrowed, String::new) == Label::Listener {
                    unpace(&borrowed);
                }
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
            if Instant::now() > end || now.iter().all(|thread| matches!(thread.state, 'Z' | 'X')) {
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

    /// Who listens where a client of 127.0.0.1 and this port arrives; `None` where that cannot be seen.
    pub fn listening(self, port: u16, mark: &Mark) -> Option<Listening> {
        let listeners = sockets::listeners(port)?;
        if listeners.is_empty() {
            return Some(Listening::Nobody);
        }
        let processes = self.relatives(mark);
        let descriptors: Vec<_> = processes.iter().map(|process| process.descriptors()).collect();
        let holds = |inode: u64| {
            let in_table = descriptors.iter().flat_map(|it| &it.sockets).any(|(socket, _)| *socket == inode);
            in_table || descriptors.iter().flat_map(|it| &it.rings).any(|ring| ring.sockets.contains(&inode))
        };
        let (own, others): (Vec<_>, Vec<_>) = listeners.into_iter().partition(|(_, inode)| holds(*inode));
        let arrives = |ip: IpAddr| ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Some((_, inode)) = others.into_iter().find(|(ip, _)| arrives(*ip)) else {
            return Some(if own.is_empty() { Listening::Nobody } else { Listening::Own });
        };
        let holder = holder_of(inode);
        // Older kernels do not show the direct descriptors of a ring, and a process may hide its descriptors.
        let shows_all = |process: &Process| process.fds().is_some();
        let opaque = !processes.iter().all(shows_all) || descriptors.iter().any(|it| !it.rings.is_empty());
        if holder.is_none() && opaque {
            return Some(Listening::Own);
        }
        Some(Listening::Stranger(holder.map(|process| (process.pid, process.name().unwrap_or_default()))))
    }

    /// The processes of the family, and those that have left it: they are in the process group, or carry the mark.
    fn relatives(self, mark: &Mark) -> Vec<Process> {
        let mut relatives = self.processes().unwrap_or_default();
        let in_group = |process: &Process| {
            let stat = procfs::process::Process::new(process.pid).and_then(|process| process.stat());
            stat.is_ok_and(|stat| stat.pgrp == self.pid)
        };
        relatives.extend(every_process().filter(in_group));
        relatives.extend(start::marked_with(mark).into_iter().map(|pid| Process { pid }));
        relatives.sort_unstable_by_key(|process| process.pid);
        relatives.dedup();
        relatives
    }
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
