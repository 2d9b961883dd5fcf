//! A process whose file descriptors can be borrowed, and what a borrowed one tells.
//!
//! Invariant: looking changes nothing. No event and no byte is taken, and a borrowed descriptor is closed before the
//! server goes on: while it is open, a connection that the server closes would stay open.

use std::io::{Error, Result};
use std::mem::zeroed;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::SockRef;

use crate::ends::TcpEnd;
use crate::mask::Mask;
use crate::process::Process;
use crate::view::Holder;

/// A process that stays the same one: its id is not given to another while this is open.
#[derive(Debug)]
pub struct Handle {
    process: Process,
    pidfd: OwnedFd,
}

impl Deref for Handle {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Handle {
    /// Opens a handle of a process.
    ///
    /// # Errors
    /// If the process has ended, or the kernel is older than Linux 5.3.
    pub fn open(pid: i32) -> Result<Self> {
        let id = Pid::from_raw(pid).ok_or_else(|| Error::from_raw_os_error(libc::ESRCH))?;
        Ok(Self { process: Process { pid }, pidfd: pidfd_open(id, PidfdFlags::empty())? })
    }

    /// A file descriptor of the process, as one of this program's own.
    pub fn borrow(&self, fd: RawFd) -> Option<OwnedFd> {
        // A server may pass anything as a descriptor, -1 too.
        if fd < 0 {
            return None;
        }
        pidfd_getfd(&self.pidfd, fd, PidfdGetfdFlags::empty()).or_else(|_| self.borrow_of_a_thread(fd)).ok()
    }
}

impl Handle {
    /// By another thread, where the first one has ended and has no descriptors any more (Linux 6.9).
    fn borrow_of_a_thread(&self, fd: RawFd) -> rustix::io::Result<OwnedFd> {
        const PIDFD_THREAD: u32 = libc::O_EXCL as u32;
        let live = self.process.threads().into_iter().find(|thread| thread.tid != self.process.pid);
        let live = live.and_then(|thread| Pid::from_raw(thread.tid)).ok_or(rustix::io::Errno::SRCH)?;
        let thread = pidfd_open(live, PidfdFlags::from_bits_retain(PIDFD_THREAD))?;
        pidfd_getfd(&thread, fd, PidfdGetfdFlags::empty())
    }
}

/// Whether any of these file descriptors has one of its events, now.
pub fn any_ready(wanted: &[(impl AsFd, i16)]) -> bool {
    let flags = |events: i16| PollFlags::from_bits_retain(events as u16);
    let mut fds: Vec<PollFd<'_>> = wanted.iter().map(|(fd, events)| PollFd::new(fd, flags(*events))).collect();
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // An error or a hang-up is an event whether it was asked for or not.
    poll(&mut fds, Some(&at_once)).is_ok_and(|count| count > 0)
}

/// Whether a file descriptor has one of these events, now.
pub fn is_ready(fd: impl AsFd, events: i16) -> bool {
    any_ready(&[(fd, events)])
}

/// What poll(2) says of a TCP socket now: whether it can be read and written, and how it has ended.
///
/// A full socket is not polled. The kernel would note that somebody waits for room, whatever was asked, and would report room
/// to the server's epoll although the server has never met a full socket.
pub fn level(socket: &(impl AsFd + AsRawFd)) -> Mask {
    if let Some(end) = TcpEnd::of_socket(socket)
        && end.is_open
        && is_full(socket)
    {
        let (readable, finished) = (end.unread > 0 || end.fin_arrived, end.fin_arrived);
        return Mask(if readable { Mask::IN.0 } else { 0 } | if finished { Mask::RDHUP.0 } else { 0 });
    }
    let asked = PollFlags::IN | PollFlags::OUT | PollFlags::PRI | PollFlags::RDHUP;
    let mut fds = [PollFd::new(socket, asked)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = poll(&mut fds, Some(&at_once));
    Mask::of_poll(fds[0].revents().bits() as i16)
}

/// Whether a third of a socket's send buffer is not free: then it does not count as writable.
fn is_full(socket: &impl AsRawFd) -> bool {
    const SNDBUF: usize = 3;
    const WMEM_QUEUED: usize = 5;
    let mut memory = [0u32; 9];
    let mut len = size_of_val(&memory) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which is the size of `memory`; both pointers outlive the call.
    let got = unsafe {
        let at = memory.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, at, &mut len)
    };
    got == 0 && memory[SNDBUF].saturating_sub(memory[WMEM_QUEUED]) < memory[WMEM_QUEUED] / 2
}

/// Whether a call on this file descriptor would wait instead of failing with EAGAIN.
pub fn is_blocking(fd: impl AsFd) -> bool {
    fcntl_getfl(fd).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK))
}

fn queue_length(fd: RawFd, request: libc::Ioctl) -> u64 {
    let mut value: libc::c_int = 0;
    // SAFETY: FIONREAD and TIOCOUTQ, the only requests made here, write one int, and `value` is one.
    let done = unsafe { libc::ioctl(fd, request, &mut value) };
    if done == 0 { u64::try_from(value).unwrap_or(0) } else { 0 }
}

/// Bytes in a socket that the other end has not acknowledged.
pub fn out_queue(socket: &impl AsRawFd) -> u64 {
    queue_length(socket.as_raw_fd(), libc::TIOCOUTQ)
}

/// Bytes in a socket that were not read.
pub fn in_queue(socket: &impl AsRawFd) -> u64 {
    queue_length(socket.as_raw_fd(), libc::FIONREAD)
}

/// How many bytes have to wait in a process's socket until it counts as readable (SO_RCVLOWAT). `None` if that cannot be
/// asked.
pub fn low_water(holder: Holder) -> Option<u32> {
    let socket = Handle::open(holder.pid).ok()?.borrow(holder.fd)?;
    let (mut value, mut len): (libc::c_int, libc::socklen_t) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: SO_RCVLOWAT writes one int, and `value` is one; both pointers outlive the call.
    let got = unsafe {
        let at = (&raw mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, at, &mut len)
    };
    (got == 0).then_some(u32::try_from(value).ok()).flatten()
}

/// Whether a process's socket has TCP_CORK: only full segments are sent, or what is there after 200 ms. `None` if that
/// cannot be asked.
pub fn corked(holder: Holder) -> Option<bool> {
    let socket = Handle::open(holder.pid).ok()?.borrow(holder.fd)?;
    socket2::SockRef::from(&socket).tcp_cork().ok()
}

/// What the kernel says of a TCP socket.
pub fn tcp_info(socket: &impl AsRawFd) -> Option<libc::tcp_info> {
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: tcp_info has integer fields only, so zeros are a value of it; the kernel writes at most `len` bytes into
    // it.
    unsafe {
        let mut info: libc::tcp_info = zeroed();
        let fd = socket.as_raw_fd();
        let got = libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &mut len);
        (got == 0).then_some(info)
    }
}

/// What a file descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// A socket that listens.
    Listener,
    /// The server's end of a client's connection, by the client's port.
    Peer(u16),
    /// An epoll instance.
    Epoll,
    /// Something else.
    Other,
}

/// What a borrowed file descriptor stands for; `link` is asked for `Process::link` only where that is needed.
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

/// Without pacing: a congestion control that paces sends by a timer, so bytes would arrive some time later by
/// themselves. Accepted sockets inherit this from their listener.
pub fn unpace(socket: &impl AsFd) {
    // Every Linux has reno, and lets everybody use it.
    let _ = SockRef::from(socket).set_tcp_congestion(b"reno");
}
