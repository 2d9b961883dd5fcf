//! The connections that a server holds open.
//!
//! Invariant: a connection is one socket, however many descriptors and processes have it open. One that was reset counts
//! until it is closed, although the kernel's tables have it no more.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use procfs::net::TcpState;

use crate::sockets::{self, is_tcp};
use crate::{Family, Process};

impl Family {
    /// Sockets of this port that were accepted and not closed. `None` where there is no /proc.
    pub fn held_connections(self, port: u16) -> Option<usize> {
        let mut at_port: HashSet<u64> = HashSet::new();
        let mut listeners = HashSet::new();
        for row in sockets::rows(port)?.into_iter().filter(|row| row.inode != 0) {
            let listens = row.state == TcpState::Listen;
            if row.local_address.port() == port {
                if listens { &mut listeners } else { &mut at_port }.insert(row.inode);
            }
        }
        // A reset takes a socket out of the tables. It stays in the process's.
        let unlisted = |inode: u64| !at_port.contains(&inode) && !listeners.contains(&inode);
        let open = self.open_sockets();
        let reset = open.iter().filter(|(inode, at)| unlisted(**inode) && is_tcp(Path::new(at))).count();
        Some(at_port.len() + reset)
    }

    /// The inodes of all sockets that it has open, each with a place where it can be looked at.
    fn open_sockets(self) -> HashMap<u64, String> {
        let sockets = |process: Process| {
            process.sockets().into_iter().map(move |(inode, fd)| (inode, format!("/proc/{}/fd/{fd}", process.pid)))
        };
        self.processes().unwrap_or_default().into_iter().flat_map(sockets).collect()
    }
}
