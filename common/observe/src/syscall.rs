//! System calls: their names, their arguments, and what they mean to an event loop, in one table.
//!
//! Invariant: a call that is not in the table may block, and nothing is claimed about its arguments.

use std::fmt;

use Arg::*;

/// What a call means to an event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `epoll_wait` and its variants.
    EpollWait,
    /// `poll` and `ppoll`.
    Poll,
    /// `select` and `pselect6`.
    Select,
    /// `io_uring_enter`.
    UringEnter,
    /// `accept` and `accept4`.
    Accept,
    /// Reads from a file descriptor.
    Read,
    /// Writes to a file descriptor.
    Write,
    /// `close`.
    Close,
    /// `shutdown`.
    Shutdown,
    /// `epoll_ctl`.
    EpollCtl,
    /// `listen`.
    Listen,
    /// Makes a file descriptor; `dup2` and its variants may also close one.
    Duplicate,
    /// Ends the thread or the process.
    Exit,
    /// Never blocks, and tells nothing about the event loop.
    Quick,
    /// May block.
    Other,
}

impl Kind {
    /// It may sleep until a file descriptor is ready.
    pub fn is_wait(self) -> bool {
        matches!(self, Self::EpollWait | Self::Poll | Self::Select | Self::UringEnter)
    }

    /// It belongs in a trace.
    pub fn is_shown(self) -> bool {
        self.is_wait()
            || matches!(
                self,
                Self::Accept | Self::Read | Self::Write | Self::Close | Self::Shutdown | Self::EpollCtl | Self::Listen
            )
    }
}

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// A file descriptor.
    Fd,
    /// How many bytes.
    Length,
    /// A number that a trace leaves out.
    Number,
    /// A flag or a pointer that a trace leaves out.
    Skip,
    /// `EPOLL_CTL_ADD`, `MOD` or `DEL`.
    Operation,
    /// A pointer to a `struct epoll_event`.
    Event,
    /// `SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`.
    How,
    /// Operations that `io_uring_enter` submits.
    Submit,
    /// Completions that it waits for, if its flags say so.
    WaitFor,
    /// Its flags.
    EnterFlags,
    /// A pointer to `struct pollfd`s; the next argument counts them.
    PollSet,
    /// A pointer to an `fd_set`: to be read, to be written, or with urgent data. The first argument bounds all three.
    FdSet,
    /// A timeout in milliseconds; negative for none.
    Millis,
    /// A pointer to a timeout of seconds and nanoseconds; null for none.
    Timespec,
    /// A pointer to a timeout of seconds and microseconds; null for none.
    Timeval,
    /// A pointer to the signal mask during the wait; null for the thread's own.
    SignalMask,
    /// A pointer to such a pointer.
    SignalMaskAt,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    number: i64,
    name: &'static str,
    kind: Kind,
    /// In order; what is behind the last one that says something is left out.
    pub(crate) args: &'static [Arg],
}

/// A system call: at its entry, or while a thread sleeps in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub number: i64,
    /// Its name, or `another call`.
    pub name: &'static str,
    /// What it means to an event loop.
    pub kind: Kind,
    /// Its six arguments.
    pub args: [u64; 6],
}

impl Call {
    /// The call with this number.
    pub fn new(number: i64, args: [u64; 6]) -> Self {
        let (name, kind) = row(number).map_or(("another call", Kind::Other), |row| (row.name, row.kind));
        Self { number, name, kind, args }
    }

    /// It waits for many file descriptors at once.
    pub fn is_wait(&self) -> bool {
        self.kind.is_wait()
    }

    /// The table has it.
    pub fn is_known(&self) -> bool {
        row(self.number).is_some()
    }

    /// Where its timeout stands, and in which form, if it has one.
    pub(crate) fn timeout(&self) -> Option<(Arg, u64)> {
        self.arguments().find(|(arg, _)| matches!(arg, Millis | Timespec | Timeval))
    }

    /// Only an event or a signal ends it: it has no timeout. False where that cannot be told.
    pub fn is_endless(&self) -> bool {
        // The timeouts of io_uring are operations, which the call's arguments do not show.
        if self.kind == Kind::UringEnter || !self.is_known() {
            return false;
        }
        match self.timeout() {
            Some((Millis, value)) => (value as i32) < 0,
            Some((_, pointer)) => pointer == 0,
            None => true,
        }
    }

    /// Where io_uring_enter(2) was given a `struct io_uring_getevents_arg` (IORING_ENTER_EXT_ARG), which may have a timeout.
    pub fn uring_argument(&self) -> Option<u64> {
        const EXT_ARG: u64 = 1 << 3;
        (self.kind == Kind::UringEnter && self.args[3] & EXT_ARG != 0).then_some(self.args[4])
    }

    /// Which file descriptor it is about, if it is about one.
    pub fn fd(&self) -> Option<i32> {
        match self.kind {
            Kind::EpollCtl => Some(self.args[2] as i32),
            Kind::EpollWait
            | Kind::UringEnter
            | Kind::Accept
            | Kind::Read
            | Kind::Write
            | Kind::Close
            | Kind::Shutdown
            | Kind::Listen => Some(self.args[0] as i32),
            _ => None,
        }
    }

    /// The arguments that are numbers; what is a pointer, or differs from run to run, is left out.
    pub fn numbers(&self) -> [Option<i64>; 6] {
        let mut numbers = [None; 6];
        for (number, (arg, value)) in numbers.iter_mut().zip(self.arguments()) {
            if matches!(arg, Fd | Length | Number | Operation | How | Submit | WaitFor | EnterFlags) {
                *number = Some(i64::from(value as i32));
            }
        }
        numbers
    }

    /// What each argument is, with its value.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = (Arg, u64)> + use<> {
        let args: &'static [Arg] = row(self.number).map_or(&[], |row| row.args);
        args.iter().copied().zip(self.args)
    }
}

impl fmt::Display for Call {
    /// Its name, or its number where the table has no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_known() { f.write_str(self.name) } else { write!(f, "system call {}", self.number) }
    }
}

/// Whether a call of this name belongs in a trace.
pub fn is_shown(name: &str) -> bool {
    TABLE.iter().any(|row| row.name == name && row.kind.is_shown())
}

fn row(number: i64) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.number == number)
}

/// The number of the call that goes on with one which a signal has interrupted.
#[cfg(target_os = "linux")]
pub const RESTART: i64 = libc::SYS_restart_syscall;

#[cfg(target_os = "linux")]
const fn call(number: libc::c_long, name: &'static str, kind: Kind, args: &'static [Arg]) -> Row {
    #[allow(clippy::unnecessary_cast, reason = "c_long has 32 bits where pointers have")]
    Row { number: number as i64, name, kind, args }
}

#[cfg(target_os = "linux")]
const fn quick(number: libc::c_long, name: &'static str) -> Row {
    call(number, name, Kind::Quick, &[Fd])
}

/// There is no /proc here that would show a call.
#[cfg(not(target_os = "linux"))]
const TABLE: &[Row] = &[];

#[cfg(target_os = "linux")]
const TABLE: &[Row] = &[
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_epoll_wait, "epoll_wait", Kind::EpollWait, &[Fd, Skip, Number, Millis]),
    call(libc::SYS_epoll_pwait, "epoll_pwait", Kind::EpollWait, &[Fd, Skip, Number, Millis, SignalMask]),
    call(libc::SYS_epoll_pwait2, "epoll_pwait2", Kind::EpollWait, &[Fd, Skip, Number, Timespec, SignalMask]),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_poll, "poll", Kind::Poll, &[PollSet, Number, Millis]),
    call(libc::SYS_ppoll, "ppoll", Kind::Poll, &[PollSet, Number, Timespec, SignalMask]),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_select, "select", Kind::Select, &[Number, FdSet, FdSet, FdSet, Timeval]),
    call(libc::SYS_pselect6, "pselect6", Kind::Select, &[Number, FdSet, FdSet, FdSet, Timespec, SignalMaskAt]),
    call(libc::SYS_io_uring_enter, "io_uring_enter", Kind::UringEnter, &[Fd, Submit, WaitFor, EnterFlags]),
    call(libc::SYS_accept, "accept", Kind::Accept, &[Fd]),
    call(libc::SYS_accept4, "accept4", Kind::Accept, &[Fd]),
    call(libc::SYS_read, "read", Kind::Read, &[Fd, Skip, Length]),
    call(libc::SYS_readv, "readv", Kind::Read, &[Fd]),
    call(libc::SYS_recvfrom, "recvfrom", Kind::Read, &[Fd, Skip, Length, Number]),
    call(libc::SYS_recvmsg, "recvmsg", Kind::Read, &[Fd]),
    call(libc::SYS_write, "write", Kind::Write, &[Fd, Skip, Length]),
    call(libc::SYS_writev, "writev", Kind::Write, &[Fd]),
    call(libc::SYS_sendto, "sendto", Kind::Write, &[Fd, Skip, Length, Number]),
    call(libc::SYS_sendmsg, "sendmsg", Kind::Write, &[Fd]),
    call(libc::SYS_close, "close", Kind::Close, &[Fd]),
    call(libc::SYS_shutdown, "shutdown", Kind::Shutdown, &[Fd, How]),
    call(libc::SYS_epoll_ctl, "epoll_ctl", Kind::EpollCtl, &[Fd, Operation, Fd, Event]),
    call(libc::SYS_listen, "listen", Kind::Listen, &[Fd, Number]),
    call(libc::SYS_connect, "connect", Kind::Other, &[Fd]),
    call(libc::SYS_dup, "dup", Kind::Duplicate, &[Fd]),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_dup2, "dup2", Kind::Duplicate, &[Fd]),
    call(libc::SYS_dup3, "dup3", Kind::Duplicate, &[Fd]),
    call(libc::SYS_close_range, "close_range", Kind::Duplicate, &[Fd]),
    call(libc::SYS_exit, "exit", Kind::Exit, &[]),
    call(libc::SYS_exit_group, "exit_group", Kind::Exit, &[]),
    call(libc::SYS_futex, "futex", Kind::Other, &[Skip, Skip, Skip, Timespec]),
    call(libc::SYS_nanosleep, "nanosleep", Kind::Other, &[Timespec]),
    call(libc::SYS_clock_nanosleep, "clock_nanosleep", Kind::Other, &[Skip, Skip, Timespec]),
    call(libc::SYS_wait4, "wait4", Kind::Other, &[]),
    call(libc::SYS_splice, "splice", Kind::Other, &[Fd, Skip, Fd, Skip, Length]),
    call(libc::SYS_sendfile, "sendfile", Kind::Other, &[Fd, Fd, Skip, Length]),
    call(libc::SYS_io_uring_setup, "io_uring_setup", Kind::Other, &[Number]),
    quick(libc::SYS_pread64, "pread64"),
    quick(libc::SYS_fcntl, "fcntl"),
    quick(libc::SYS_ioctl, "ioctl"),
    quick(libc::SYS_setsockopt, "setsockopt"),
    quick(libc::SYS_getsockopt, "getsockopt"),
    quick(libc::SYS_getsockname, "getsockname"),
    quick(libc::SYS_getpeername, "getpeername"),
    quick(libc::SYS_socket, "socket"),
    quick(libc::SYS_socketpair, "socketpair"),
    quick(libc::SYS_bind, "bind"),
    quick(libc::SYS_epoll_create1, "epoll_create1"),
    quick(libc::SYS_eventfd2, "eventfd2"),
    quick(libc::SYS_timerfd_settime, "timerfd_settime"),
    quick(libc::SYS_mmap, "mmap"),
    quick(libc::SYS_munmap, "munmap"),
    quick(libc::SYS_mprotect, "mprotect"),
    quick(libc::SYS_madvise, "madvise"),
    quick(libc::SYS_mremap, "mremap"),
    quick(libc::SYS_brk, "brk"),
    quick(libc::SYS_rt_sigaction, "rt_sigaction"),
    quick(libc::SYS_rt_sigprocmask, "rt_sigprocmask"),
    quick(libc::SYS_rt_sigreturn, "rt_sigreturn"),
    quick(libc::SYS_sigaltstack, "sigaltstack"),
    quick(libc::SYS_gettid, "gettid"),
    quick(libc::SYS_getpid, "getpid"),
    quick(libc::SYS_lseek, "lseek"),
    quick(libc::SYS_fstat, "fstat"),
    quick(libc::SYS_newfstatat, "newfstatat"),
    quick(libc::SYS_openat, "openat"),
    quick(libc::SYS_readlinkat, "readlinkat"),
    quick(libc::SYS_getdents64, "getdents64"),
    quick(libc::SYS_clock_gettime, "clock_gettime"),
    quick(libc::SYS_getrandom, "getrandom"),
    quick(libc::SYS_prlimit64, "prlimit64"),
    quick(libc::SYS_set_robust_list, "set_robust_list"),
    quick(libc::SYS_set_tid_address, "set_tid_address"),
    quick(libc::SYS_rseq, "rseq"),
    quick(libc::SYS_sched_getaffinity, "sched_getaffinity"),
];

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_call_once() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|other| (other.number, other.name) != (row.number, row.name)), "{row:?}");
        }
    }

    #[test]
    fn a_wait_is_endless_only_without_a_timeout() {
        let epoll = |timeout: i32| Call::new(libc::SYS_epoll_pwait, [4, 1, 64, timeout as u32 as u64, 0, 8]);
        assert!(epoll(-1).is_endless());
        assert!(!epoll(0).is_endless() && !epoll(100).is_endless());
        assert!(Call::new(libc::SYS_ppoll, [1, 1, 0, 0, 0, 0]).is_endless());
        assert!(!Call::new(libc::SYS_ppoll, [1, 1, 0x7fff_0000, 0, 0, 0]).is_endless());
        assert!(Call::new(libc::SYS_recvfrom, [5, 1, 4096, 0, 0, 0]).is_endless());
        assert!(!Call::new(libc::SYS_io_uring_enter, [3, 1, 1, 1, 0, 0]).is_endless());
        assert!(!Call::new(libc::SYS_nanosleep, [0x7fff_0000, 0, 0, 0, 0, 0]).is_endless());
        assert!(!Call::new(libc::SYS_clock_nanosleep, [0, 0, 0x7fff_0000, 0, 0, 0]).is_endless());
        assert!(!Call::new(999_999, [0; 6]).is_endless());
        assert_eq!(Call::new(999_999, [0; 6]).to_string(), "system call 999999");
    }

    #[test]
    fn pointers_are_no_numbers() {
        let read = Call::new(libc::SYS_recvfrom, [7, 0x7fff_0000, 4096, 64, 0, 0]);
        assert_eq!(read.numbers(), [Some(7), None, Some(4096), Some(64), None, None]);
        assert_eq!(Call::new(999_999, [7; 6]).numbers(), [None; 6]);
    }
}
