//! What the kernel knows of the server: its descriptors, its memory, its queues.
//!
//! Invariant: looking changes nothing: a descriptor that was borrowed from the server is closed before the server goes
//! on, and no event is taken from it.

use std::fs;
use std::io::{Error, IoSliceMut, Result};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use socket2::{SockRef, Socket};

use crate::run::Interest;

/// A process, to borrow descriptors from.
#[derive(Debug)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    handle: OwnedFd,
}

impl Process {
    /// Opens a handle.
    pub fn open(pid: i32) -> Result<Self> {
        // SAFETY: no pointers; the descriptor that comes back has no other owner.
        unsafe {
            match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
                fd if fd >= 0 => Ok(Self { pid, handle: OwnedFd::from_raw_fd(fd as RawFd) }),
                _ => Err(Error::last_os_error()),
            }
        }
    }

    /// The server's descriptor, as one of this process's own.
    pub fn borrow(&self, fd: RawFd) -> Option<OwnedFd> {
        // SAFETY: as above.
        unsafe {
            match libc::syscall(libc::SYS_pidfd_getfd, self.handle.as_raw_fd(), fd, 0) {
                fd if fd >= 0 => Some(OwnedFd::from_raw_fd(fd as RawFd)),
                _ => None,
            }
        }
    }

    /// Its open descriptors, in order.
    pub fn fds(&self) -> Vec<RawFd> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid));
        let mut fds: Vec<RawFd> =
            entries.into_iter().flatten().flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
        fds.sort_unstable();
        fds
    }

    /// What a descriptor is, as /proc shows it.
    pub fn link(&self, fd: RawFd) -> String {
        let link = fs::read_link(format!("/proc/{}/fd/{fd}", self.pid));
        link.map_or_else(|_| String::new(), |path| path.to_string_lossy().into_owned())
    }

    /// Whether it has a timerfd that will go off.
    pub fn has_armed_timer(&self) -> bool {
        let armed = |fd: RawFd| {
            let info = fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.pid)).unwrap_or_default();
            info.contains("it_value:") && !info.contains("it_value: (0, 0)")
        };
        self.fds().into_iter().any(|fd| self.link(fd).contains("[timerfd]") && armed(fd))
    }

    /// Reads its memory; what could not be read stays zero.
    pub fn read(&self, at: u64, bytes: &mut [u8]) {
        let len = bytes.len();
        let local = IoSliceMut::new(bytes);
        let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: len };
        // SAFETY: the local vector is `bytes`, and IoSliceMut is an iovec; the remote one is only an address.
        unsafe { libc::process_vm_readv(self.pid, (&raw const local).cast(), 1, &remote, 1, 0) };
    }

    /// A number in its memory.
    pub fn word<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.read(at, &mut bytes);
        bytes
    }

    /// The registrations of an epoll instance, with their data.
    pub fn interests(&self, epoll: RawFd) -> Vec<(RawFd, u32, u64)> {
        let text = fs::read_to_string(format!("/proc/{}/fdinfo/{epoll}", self.pid)).unwrap_or_default();
        let mut found: Vec<_> = text.lines().filter(|line| line.starts_with("tfd:")).filter_map(interest).collect();
        found.sort_unstable();
        found
    }

    /// The state letter of a thread and, if it sleeps in a call, that call's number.
    pub fn thread(&self, tid: i32) -> (char, Option<i64>) {
        // In this order: the other one waits until the thread has left its processor.
        let stat = fs::read_to_string(format!("/proc/{}/task/{tid}/stat", self.pid)).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('X');
        if state == 'R' {
            return (state, None);
        }
        let call = fs::read_to_string(format!("/proc/{}/task/{tid}/syscall", self.pid)).unwrap_or_default();
        (state, call.split(' ').next().and_then(|number| number.parse().ok()))
    }

    /// CPU time that it has used, in ticks of 10 ms.
    pub fn ticks(pid: i32) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some(rest) = stat.rsplit(") ").next() else { return 0 };
        rest.split(' ').skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum()
    }

    /// A field of /proc/PID/status, in hexadecimal or decimal.
    pub fn status(tid: i32, field: &str, radix: u32) -> u64 {
        let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|value| u64::from_str_radix(value.trim(), radix).ok()).unwrap_or(0)
    }
}

/// `tfd:        7 events: 80002019 data:                7  pos:0 ino:1b3 sdev:8`
fn interest(line: &str) -> Option<(RawFd, u32, u64)> {
    let value = |name: &str| line.split(name).nth(1)?.split_whitespace().next();
    let fd = value("tfd:")?.parse().ok()?;
    let events = u32::from_str_radix(value("events:")?, 16).ok()?;
    Some((fd, events, u64::from_str_radix(value("data:")?, 16).ok()?))
}

/// Which of these descriptors are ready, now.
pub fn ready(fds: &mut [libc::pollfd]) -> bool {
    // SAFETY: the array is as long as said.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 0) > 0 }
}

/// Whether a descriptor is ready for these events, now.
pub fn is_ready(fd: &OwnedFd, events: i16) -> bool {
    ready(&mut [libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }])
}

/// Whether a call on this descriptor would wait instead of failing with EAGAIN.
pub fn is_blocking(fd: &OwnedFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK == 0 }
}

fn ioctl(fd: RawFd, request: libc::Ioctl) -> u64 {
    let mut value: libc::c_int = 0;
    // SAFETY: both requests used here write one int.
    match unsafe { libc::ioctl(fd, request, &mut value) } {
        0 => u64::try_from(value).unwrap_or(0),
        _ => 0,
    }
}

/// Bytes in a socket that the peer's has not acknowledged.
pub fn out_queue(socket: &impl AsRawFd) -> u64 {
    ioctl(socket.as_raw_fd(), libc::TIOCOUTQ)
}

/// Bytes in a socket that were not read.
pub fn in_queue(socket: &impl AsRawFd) -> u64 {
    ioctl(socket.as_raw_fd(), libc::FIONREAD)
}

/// The kernel's view of a TCP socket.
pub fn tcp_info(socket: &impl AsRawFd) -> Option<libc::tcp_info> {
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: plain integers, of which the kernel fills in as many bytes as there are.
    unsafe {
        let mut info: libc::tcp_info = zeroed();
        let got =
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &mut len);
        (got == 0).then_some(info)
    }
}

/// CLOSE_WAIT and behind: a FIN has arrived.
pub fn fin_arrived(info: &libc::tcp_info) -> bool {
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;
    matches!(info.tcpi_state, CLOSE_WAIT | LAST_ACK | CLOSING)
}

/// What a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// Listens.
    Listener,
    /// The server's end of a client's connection, by the client's port.
    Peer(u16),
    /// epoll.
    Epoll,
    /// Something else.
    Other,
}

/// What a borrowed descriptor is.
pub fn label(fd: &OwnedFd, link: impl FnOnce() -> String) -> Label {
    let socket = SockRef::from(fd);
    match socket.is_listener() {
        Ok(true) => return Label::Listener,
        Ok(false) => {}
        Err(_) => return if link().contains("eventpoll") { Label::Epoll } else { Label::Other },
    }
    match socket.peer_addr().ok().and_then(|addr| addr.as_socket()) {
        Some(addr) => Label::Peer(addr.port()),
        None => Label::Other,
    }
}

/// A borrowed descriptor as a socket.
pub fn socket(fd: OwnedFd) -> Socket {
    Socket::from(fd)
}

/// A registration for a person.
pub fn describe(fd: RawFd, events: u32, label: String) -> Interest {
    // The kernel adds these to every registration; only what was asked for tells something.
    let implied = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
    Interest { fd, label, mask: mask(events & !implied) }
}

/// An epoll mask as its manual page writes it, without EPOLL.
pub fn mask(events: u32) -> String {
    let names = [
        (libc::EPOLLIN, "IN"),
        (libc::EPOLLPRI, "PRI"),
        (libc::EPOLLOUT, "OUT"),
        (libc::EPOLLRDHUP, "RDHUP"),
        (libc::EPOLLERR, "ERR"),
        (libc::EPOLLHUP, "HUP"),
        (libc::EPOLLEXCLUSIVE, "EXCLUSIVE"),
        (libc::EPOLLONESHOT, "ONESHOT"),
        (libc::EPOLLET, "ET"),
    ];
    let on: Vec<&str> = names.iter().filter(|(bit, _)| events & *bit as u32 != 0).map(|(_, name)| *name).collect();
    if on.is_empty() { "nothing".into() } else { on.join("|") }
}

/// A poll mask, without POLL.
pub fn poll_mask(events: i16) -> String {
    mask(events as u16 as u32 & !((libc::EPOLLET | libc::EPOLLONESHOT | libc::EPOLLEXCLUSIVE) as u32))
}
