//! The kernel's tables of TCP sockets.
//!
//! Invariant: a table that could not be read is `None`, and never an empty one.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd};

use procfs::net::{TcpNetEntries, TcpState};
use procfs::{FromBufReadSI, LocalSystemInfo};

/// (unread, unacknowledged) bytes of the socket at `local`, connected to `remote`: one end of a connection.
pub fn queues(local: SocketAddr, remote: SocketAddr) -> Option<(u32, u32)> {
    if let Ok(queues) = crate::sock_diag::queues(local, remote) {
        return queues;
    }
    let is = |row: &TcpRow| ends(row) == (local, remote);
    // Of a connection on loopback both ends are listed; either of its ports finds both.
    let row = rows(remote.port())?.into_iter().find(is)?;
    Some((row.rx_queue, row.tx_queue))
}

/// (connections that wait, how many there may be) of the accept queue that a connection to this address gets into.
pub fn accept_queue(address: SocketAddr) -> Option<(u32, u32)> {
    crate::sock_diag::accept_queue(address).ok()?
}

/// Whether this open file of a process is a TCP socket; one of which that cannot be told may be.
pub(crate) fn is_tcp(at: &std::path::Path) -> bool {
    let mut name = [0u8; 16];
    match rustix::fs::getxattr(at, "system.sockprotoname", &mut name) {
        Ok(len) => name[..len].starts_with(b"TCP"),
        Err(error) => error != rustix::io::Errno::NOENT,
    }
}

/// Whether anybody listens on this port.
pub fn is_listening(port: u16) -> Option<bool> {
    Some(!listeners(port)?.is_empty())
}

/// The addresses and inodes of the sockets that listen on this port.
pub(crate) fn listeners(port: u16) -> Option<Vec<(IpAddr, u64)>> {
    let rows = match crate::sock_dump::listening(port) {
        Ok(rows) => rows,
        Err(_) => rows_of_proc(port)?,
    };
    let listen = rows.iter().filter(|row| row.state == TcpState::Listen && row.local_address.port() == port);
    Some(listen.map(|row| (ends(row).0.ip(), row.inode)).collect())
}

/// The addresses and inodes of all sockets that listen.
pub(crate) fn all_listeners() -> Option<Vec<(SocketAddr, u64)>> {
    let listens = |line: &str| line.split_ascii_whitespace().nth(3) == Some("0A");
    Some(rows_where(listens)?.iter().map(|row| (ends(row).0, row.inode)).collect())
}

/// Whether the end of a connection has not arrived yet: the server's socket on `port` is established, and nobody
/// owns the client's any more. On a machine with much to do the kernel's own threads deliver packets, and late.
pub fn ends_under_way(port: u16) -> bool {
    let rows = rows(port).unwrap_or_default();
    let owned: HashSet<_> = rows.iter().filter(|row| row.inode != 0).map(ends).collect();
    let servers = rows.iter().filter(|row| row.state == TcpState::Established && row.local_address.port() == port);
    servers.map(ends).any(|(local, remote)| !owned.contains(&(remote, local)))
}

/// Both addresses, an IPv4-mapped one as IPv4.
fn ends(row: &TcpRow) -> (SocketAddr, SocketAddr) {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    (canonical(row.local_address), canonical(row.remote_address))
}

/// A TCP socket, as /proc/net/tcp shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TcpRow {
    pub local_address: SocketAddr,
    pub remote_address: SocketAddr,
    pub state: TcpState,
    /// Unread bytes; of a listener, the connections in its accept queue.
    pub rx_queue: u32,
    /// Unacknowledged bytes.
    pub tx_queue: u32,
    /// 0 if no process has it.
    pub inode: u64,
}

/// The TCP sockets with this port on either end, but for those in TIME_WAIT, which belong to nobody.
pub(crate) fn rows(port: u16) -> Option<Vec<TcpRow>> {
    if let Ok(rows) = crate::sock_dump::with_port(port) {
        return Some(rows);
    }
    rows_of_proc(port)
}

/// As [`rows`], where sock_diag(7) cannot be asked. After a few suites there are tens of thousands of sockets in TIME_WAIT,
/// so lines are left out before they are parsed.
pub(crate) fn rows_of_proc(port: u16) -> Option<Vec<TcpRow>> {
    let port = format!(":{port:04X} ");
    rows_where(|line| line.contains(&port) && line.split_ascii_whitespace().nth(3) != Some("06"))
}

fn rows_where(wanted: impl Fn(&str) -> bool) -> Option<Vec<TcpRow>> {
    let mut rows = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // Without IPv6 there is no second table.
        let Ok(table) = fs::read_to_string(table) else { continue };
        let mut lines = table.lines();
        let head = lines.next()?;
        let kept: Vec<_> = std::iter::once(head).chain(lines.filter(|line| wanted(line))).collect();
        let entries = TcpNetEntries::from_buf_read(kept.join("\n").as_bytes(), &LocalSystemInfo).ok()?.0;
        rows.extend(entries.into_iter().map(|entry| TcpRow {
            local_address: entry.local_address,
            remote_address: entry.remote_address,
            state: entry.state,
            rx_queue: entry.rx_queue,
            tx_queue: entry.tx_queue,
            inode: entry.inode,
        }));
    }
    Some(rows)
}

/// Why a process on this machine gets no io_uring; `None` if it does.
pub fn io_uring_denied() -> Option<String> {
    // A struct io_uring_params: 120 bytes.
    let mut params = [0u64; 15];
    // SAFETY: `params` is as large and as aligned as the struct that the call reads and writes; a descriptor that it
    // returns has no other owner.
    let ring = unsafe {
        match libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) {
            -1 => Err(std::io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd as i32)),
        }
    };
    ring.err().map(|error| {
        format!(
            "io_uring is denied here ({error}): by seccomp, as in most containers, by kernel.io_uring_disabled, or \
             because the kernel is too old"
        )
    })
}
