//! System calls: what they are called, and what they mean to an event loop.
//!
//! Invariant: a call that is not in the table may block, and takes part in no decision.

use libc::c_long;

/// What a call means to an event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// epoll_wait and its like.
    EpollWait,
    /// poll, ppoll.
    Poll,
    /// select, pselect6.
    Select,
    /// io_uring_enter.
    UringEnter,
    /// accept, accept4.
    Accept,
    /// Takes from a descriptor.
    Read,
    /// Gives to a descriptor.
    Write,
    /// close.
    Close,
    /// shutdown.
    Shutdown,
    /// epoll_ctl.
    EpollCtl,
    /// listen.
    Listen,
    /// Makes a descriptor (dup2 and its like may also close one).
    Duplicate,
    /// Ends the thread or the process.
    Exit,
    /// Never blocks, and tells nothing.
    Quick,
    /// May block.
    Other,
}

impl Kind {
    /// It may sleep until something is ready.
    pub fn is_wait(self) -> bool {
        matches!(self, Self::EpollWait | Self::Poll | Self::Select | Self::UringEnter)
    }

    /// It stands in a trace.
    pub fn is_shown(self) -> bool {
        self.is_wait()
            || matches!(
                self,
                Self::Accept | Self::Read | Self::Write | Self::Close | Self::Shutdown | Self::EpollCtl | Self::Listen
            )
    }
}

const TABLE: &[(c_long, &str, Kind)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait", Kind::EpollWait),
    (libc::SYS_epoll_pwait, "epoll_pwait", Kind::EpollWait),
    (libc::SYS_epoll_pwait2, "epoll_pwait2", Kind::EpollWait),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll", Kind::Poll),
    (libc::SYS_ppoll, "ppoll", Kind::Poll),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select", Kind::Select),
    (libc::SYS_pselect6, "pselect6", Kind::Select),
    (libc::SYS_io_uring_enter, "io_uring_enter", Kind::UringEnter),
    (libc::SYS_accept, "accept", Kind::Accept),
    (libc::SYS_accept4, "accept4", Kind::Accept),
    (libc::SYS_read, "read", Kind::Read),
    (libc::SYS_readv, "readv", Kind::Read),
    (libc::SYS_recvfrom, "recvfrom", Kind::Read),
    (libc::SYS_recvmsg, "recvmsg", Kind::Read),
    (libc::SYS_write, "write", Kind::Write),
    (libc::SYS_writev, "writev", Kind::Write),
    (libc::SYS_sendto, "sendto", Kind::Write),
    (libc::SYS_sendmsg, "sendmsg", Kind::Write),
    (libc::SYS_close, "close", Kind::Close),
    (libc::SYS_shutdown, "shutdown", Kind::Shutdown),
    (libc::SYS_epoll_ctl, "epoll_ctl", Kind::EpollCtl),
    (libc::SYS_listen, "listen", Kind::Listen),
    (libc::SYS_dup, "dup", Kind::Duplicate),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_dup2, "dup2", Kind::Duplicate),
    (libc::SYS_dup3, "dup3", Kind::Duplicate),
    (libc::SYS_close_range, "close_range", Kind::Duplicate),
    (libc::SYS_exit, "exit", Kind::Exit),
    (libc::SYS_exit_group, "exit_group", Kind::Exit),
    (libc::SYS_futex, "futex", Kind::Other),
    (libc::SYS_nanosleep, "nanosleep", Kind::Other),
    (libc::SYS_clock_nanosleep, "clock_nanosleep", Kind::Other),
    (libc::SYS_wait4, "wait4", Kind::Other),
    (libc::SYS_pread64, "pread64", Kind::Quick),
    (libc::SYS_fcntl, "fcntl", Kind::Quick),
    (libc::SYS_ioctl, "ioctl", Kind::Quick),
    (libc::SYS_setsockopt, "setsockopt", Kind::Quick),
    (libc::SYS_getsockopt, "getsockopt", Kind::Quick),
    (libc::SYS_getsockname, "getsockname", Kind::Quick),
    (libc::SYS_getpeername, "getpeername", Kind::Quick),
    (libc::SYS_socket, "socket", Kind::Quick),
    (libc::SYS_socketpair, "socketpair", Kind::Quick),
    (libc::SYS_bind, "bind", Kind::Quick),
    (libc::SYS_epoll_create1, "epoll_create1", Kind::Quick),
    (libc::SYS_eventfd2, "eventfd2", Kind::Quick),
    (libc::SYS_timerfd_settime, "timerfd_settime", Kind::Quick),
    (libc::SYS_mmap, "mmap", Kind::Quick),
    (libc::SYS_munmap, "munmap", Kind::Quick),
    (libc::SYS_mprotect, "mprotect", Kind::Quick),
    (libc::SYS_madvise, "madvise", Kind::Quick),
    (libc::SYS_mremap, "mremap", Kind::Quick),
    (libc::SYS_brk, "brk", Kind::Quick),
    (libc::SYS_rt_sigaction, "rt_sigaction", Kind::Quick),
    (libc::SYS_rt_sigprocmask, "rt_sigprocmask", Kind::Quick),
    (libc::SYS_rt_sigreturn, "rt_sigreturn", Kind::Quick),
    (libc::SYS_sigaltstack, "sigaltstack", Kind::Quick),
    (libc::SYS_gettid, "gettid", Kind::Quick),
    (libc::SYS_getpid, "getpid", Kind::Quick),
    (libc::SYS_lseek, "lseek", Kind::Quick),
    (libc::SYS_fstat, "fstat", Kind::Quick),
    (libc::SYS_newfstatat, "newfstatat", Kind::Quick),
    (libc::SYS_openat, "openat", Kind::Quick),
    (libc::SYS_readlinkat, "readlinkat", Kind::Quick),
    (libc::SYS_getdents64, "getdents64", Kind::Quick),
    (libc::SYS_clock_gettime, "clock_gettime", Kind::Quick),
    (libc::SYS_getrandom, "getrandom", Kind::Quick),
    (libc::SYS_prlimit64, "prlimit64", Kind::Quick),
    (libc::SYS_set_robust_list, "set_robust_list", Kind::Quick),
    (libc::SYS_set_tid_address, "set_tid_address", Kind::Quick),
    (libc::SYS_rseq, "rseq", Kind::Quick),
    (libc::SYS_sched_getaffinity, "sched_getaffinity", Kind::Quick),
];

/// A call's name and meaning.
pub fn classify(number: i64) -> (&'static str, Kind) {
    TABLE.iter().find(|(it, _, _)| *it == number).map_or(("another call", Kind::Other), |(_, name, kind)| (name, *kind))
}

/// The number of the call that goes on with one which a signal has interrupted.
pub const RESTART: i64 = libc::SYS_restart_syscall;

/// `EAGAIN` for 11; for the kernel's own numbers, what becomes of the call.
pub fn error_name(code: i32) -> String {
    let name = match code {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EEXIST => "EEXIST",
        libc::EINVAL => "EINVAL",
        libc::ENFILE => "ENFILE",
        libc::EMFILE => "EMFILE",
        libc::EPIPE => "EPIPE",
        libc::ENOTSOCK => "ENOTSOCK",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::ENOBUFS => "ENOBUFS",
        libc::ENOTCONN => "ENOTCONN",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ETIME => "ETIME",
        libc::ETIMEDOUT => "ETIMEDOUT",
        512..=514 | 516 => "interrupted, to be made again",
        _ => return format!("error {code}"),
    };
    name.to_owned()
}
