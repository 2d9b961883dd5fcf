//! The system calls under the stand-in, each in a safe function.

use std::ffi::{CStr, c_int, c_void};
use std::fs::{self, File, Metadata};
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use libc::{epoll_event, itimerspec, timespec};

/// The most events that are taken from one epoll at a time.
pub const MOST: usize = 1 << 16;
pub const NO_EVENT: epoll_event = epoll_event { events: 0, u64: 0 };

/// The error is an errno, for the C caller to get.
pub type Result<T = ()> = std::result::Result<T, c_int>;

pub const IN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
pub const HUP: u32 = libc::EPOLLHUP as u32;
pub const ERR: u32 = libc::EPOLLERR as u32;
pub const ET: u32 = libc::EPOLLET as u32;
pub const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
/// For a registration that is to report nothing. No mask keeps HUP and ERR away, but after EPOLLONESHOT they come at
/// most once.
pub const SILENT: u32 = ONESHOT;
/// No poll(2) reports these two. They tell a tracer (`common/observe`) what a registration is for: the first, that the
/// program did not ask for EPOLLONESHOT; the second, that the program did not ask for the call.
pub const LEVEL: u32 = libc::EPOLLMSG as u32;
pub const LOOK: u32 = libc::POLLNVAL as u32;

/// Turns a result into what a C caller expects: the number, or -1 with the error in errno.
pub fn answer(result: Result<usize>) -> c_int {
    match result {
        Ok(number) => number as c_int,
        Err(errno) => {
            // SAFETY: the address is this thread's own errno, which lives as long as the thread.
            unsafe { *libc::__errno_location() = errno };
            -1
        }
    }
}

/// The error of a call that returns -1 for one.
fn checked(result: c_int) -> Result<c_int> {
    match result {
        -1 => Err(errno(&io::Error::last_os_error())),
        result => Ok(result),
    }
}

fn errno(error: &io::Error) -> c_int {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// # Safety
/// If `fd` is not -1, it is open and has no other owner.
unsafe fn owned(fd: c_int) -> Result<File> {
    // SAFETY: the caller promises the same, and -1 has become an error before.
    checked(fd).map(|fd| unsafe { File::from_raw_fd(fd) })
}

/// A descriptor of kevent's caller. If the caller has closed it, every call on it fails with EBADF.
pub fn borrowed(fd: RawFd) -> ManuallyDrop<File> {
    assert!(fd >= 0);
    // SAFETY: the File is never dropped, so the caller stays the only owner, and -1 is excluded.
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}

pub fn metadata(fd: RawFd) -> Result<Metadata> {
    borrowed(fd).metadata().map_err(|error| errno(&error))
}

/// The mark of what the stand-in has made: see `set_mark`. (To be sent SIGKILL for input is nobody's wish.)
pub const MADE: c_int = libc::SIGKILL;
/// The mark of a kqueue's own descriptor, which its duplicates share.
pub const KQUEUE: c_int = libc::SIGSTOP;
/// The first and the last mark of files that VNODE watches.
pub const WATCHED_FILES: (c_int, c_int) = (34, 64);
const F_SETSIG: c_int = 10;
const F_GETSIG: c_int = 11;

/// Marks an open file, so that it can be told from another that has the same number later. F_SETSIG says which signal
/// tells of input. That has no effect without O_ASYNC, and the kernel keeps it for any kind of file.
pub fn set_mark(fd: RawFd, mark: c_int) -> Result {
    // SAFETY: F_SETSIG takes a number; a wrong one is an error.
    checked(unsafe { libc::fcntl(fd, F_SETSIG, mark) }).map(drop)
}

/// The mark of an open file: 0 if it has none. May be called in a signal handler.
pub fn mark(fd: RawFd) -> Option<c_int> {
    // SAFETY: F_GETSIG takes no third argument.
    checked(unsafe { libc::fcntl(fd, F_GETSIG) }).ok()
}

pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no third argument.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Has `run` called in each child of fork(2), before the child does anything else.
pub fn at_fork(run: extern "C" fn()) {
    // SAFETY: the function has the type that is asked for. It is never unloaded: the library has no destructor.
    unsafe { libc::pthread_atfork(None, None, Some(run)) };
}

pub fn epoll_create() -> Result<File> {
    // SAFETY: the call takes no pointer, and what it returns is -1 or a new descriptor without another owner.
    unsafe { owned(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }
}

pub fn epoll_ctl(epoll: RawFd, operation: c_int, fd: RawFd, events: u32, token: u64) -> Result {
    let mut event = epoll_event { events, u64: token };
    // SAFETY: the call reads one epoll_event, and `event` outlives it.
    checked(unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) }).map(drop)
}

pub fn epoll_wait(epoll: RawFd, events: &mut [epoll_event], timeout: Option<Duration>) -> Result<usize> {
    let timeout = timeout.map(to_timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let (at, room) = (events.as_mut_ptr(), events.len());
    // SAFETY: the kernel writes at most `room` entries at `at`, which has as many. The timeout is null or outlives the
    // call, and a null signal mask is not read.
    let count = unsafe { libc::syscall(libc::SYS_epoll_pwait2, epoll, at, room, timeout, ptr::null::<c_void>(), 0) };
    checked(count as c_int).map(|count| count as usize)
}

/// An epoll knows a registration by number and file. To add it again fails, and changes nothing, if both are the same.
pub fn is_registered(epoll: RawFd, fd: RawFd) -> bool {
    let added = epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, 0, 0);
    if added.is_ok() {
        let _ = epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, 0, 0);
    }
    added == Err(libc::EEXIST)
}

pub fn to_usize(count: c_int) -> Result<usize> {
    usize::try_from(count).or(Err(libc::EINVAL))
}

pub fn to_duration(time: &timespec) -> Result<Duration> {
    match (u64::try_from(time.tv_sec), time.tv_nsec) {
        (Ok(seconds), nanos @ 0..1_000_000_000) => Ok(Duration::new(seconds, nanos as u32)),
        _ => Err(libc::EINVAL),
    }
}

fn to_timespec(duration: Duration) -> timespec {
    timespec { tv_sec: duration.as_secs() as libc::time_t, tv_nsec: duration.subsec_nanos() as libc::c_long }
}

/// A timerfd that expires at (if absolute) or after `first`, and then every `period` unless that is zero.
pub fn timerfd(absolute: bool, first: Duration, period: Duration) -> Result<File> {
    let spec = itimerspec { it_value: to_timespec(first), it_interval: to_timespec(period) };
    let (clock, flags) =
        if absolute { (libc::CLOCK_REALTIME, libc::TFD_TIMER_ABSTIME) } else { (libc::CLOCK_MONOTONIC, 0) };
    // SAFETY: timerfd_create returns -1 or a new descriptor without another owner. timerfd_settime only reads `spec`,
    // which outlives it, and does not write to a null old value.
    unsafe {
        let timer = owned(libc::timerfd_create(clock, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC))?;
        checked(libc::timerfd_settime(timer.as_raw_fd(), flags, &spec, ptr::null_mut())).map(|_| timer)
    }
}

pub fn eventfd(count: u32) -> Result<File> {
    // SAFETY: the call takes no pointer, and what it returns is -1 or a new descriptor without another owner.
    unsafe { owned(libc::eventfd(count, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) }
}

fn signal_set(signal: c_int) -> Result<libc::sigset_t> {
    // SAFETY: a sigset_t is made of integers, so all zeros are a value of it, and both calls write only inside `set`.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        checked(libc::sigaddset(&mut set, signal)).map(|_| set)
    }
}

pub fn signalfd(signal: c_int) -> Result<File> {
    let set = signal_set(signal)?;
    // SAFETY: the call reads `set`, which outlives it, and returns -1 or a new descriptor without another owner.
    unsafe { owned(libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)) }
}

/// Whether the calling thread blocks the signal.
pub fn is_blocked(signal: c_int) -> bool {
    // SAFETY: without a new set the call only writes `now`, which is a whole set and outlives it.
    unsafe {
        let mut now = mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut now);
        libc::sigismember(&now, signal) == 1
    }
}

/// Sets a signal's action, if there is a new one. Returns the action before.
pub fn action(signal: c_int, new: Option<&libc::sigaction>) -> Result<libc::sigaction> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `new` is null or an action that outlives the call. A zeroed sigaction is a value of it, and the call writes
    // one.
    unsafe {
        let mut before = mem::zeroed();
        checked(libc::sigaction(signal, new, &mut before)).map(|_| before)
    }
}

pub fn pidfd(process: c_int) -> Result<File> {
    // SAFETY: the call takes no pointer, and what it returns is -1 or a new descriptor without another owner.
    unsafe { owned(libc::syscall(libc::SYS_pidfd_open, process, 0) as c_int) }
}

/// A child's status as wait(2) gives it, or None while the child runs. Its parent can still reap it.
pub fn exit_status(pidfd: &File) -> Result<Option<c_int>> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: a siginfo_t is made of integers, so all zeros are a value of it. waitid writes inside `info`: the members
    // that are read here, or none of them.
    let (code, process, status) = unsafe {
        let mut info: libc::siginfo_t = mem::zeroed();
        checked(libc::waitid(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, &mut info, options))?;
        (info.si_code, info.si_pid(), info.si_status())
    };
    Ok((process != 0).then_some(match code {
        libc::CLD_EXITED => status << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    }))
}

pub fn inotify() -> Result<File> {
    // SAFETY: the call takes no pointer, and what it returns is -1 or a new descriptor without another owner.
    unsafe { owned(libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC)) }
}

pub fn add_watch(inotify: &File, path: &CStr, mask: u32) -> Result<c_int> {
    // SAFETY: `path` ends with a NUL and outlives the call, which only reads it.
    checked(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), mask) })
}

pub fn remove_watch(inotify: &File, watch: c_int) -> Result {
    // SAFETY: the call takes two numbers; a wrong one is an error.
    checked(unsafe { libc::inotify_rm_watch(inotify.as_raw_fd(), watch) }).map(drop)
}

/// FIONREAD or TIOCOUTQ: the bytes that wait to be read, or to be sent.
pub fn queued(fd: RawFd, request: libc::Ioctl) -> Option<i64> {
    let mut count: c_int = 0;
    // SAFETY: both requests write one int, and `count` is one.
    checked(unsafe { libc::ioctl(fd, request, &mut count) }).ok().map(|_| count.into())
}

pub fn pipe_size(fd: RawFd) -> Option<i64> {
    // SAFETY: F_GETPIPE_SZ takes no third argument.
    checked(unsafe { libc::fcntl(fd, libc::F_GETPIPE_SZ) }).ok().map(Into::into)
}

/// Reads the first `N` words of a socket option.
pub fn socket_option<const N: usize>(fd: RawFd, level: c_int, option: c_int) -> Result<[u32; N]> {
    let mut words = [0; N];
    let mut size = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes, which is the size of `words`.
    checked(unsafe { libc::getsockopt(fd, level, option, words.as_mut_ptr().cast(), &mut size) }).map(|_| words)
}

/// Whether a connection will bring no more bytes, be it that the peer has finished or that it is gone.
pub fn has_no_more_input(fd: RawFd) -> bool {
    let mut entry = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&mut entry, 1, 0) == 1 && entry.revents & libc::POLLRDHUP != 0 }
}

/// A number that every open descriptor is below.
pub fn descriptors_end() -> RawFd {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")?.trim().parse().ok());
    size.unwrap_or_else(|| {
        // Out of descriptors, so all numbers below the limit are taken.
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the call writes one rlimit.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
        RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX)
    })
}

/// Writes to an eventfd. May be called in a signal handler.
pub fn ring(eventfd: RawFd) {
    let one = 1u64;
    // SAFETY: write reads eight bytes, which is the size of `one`.
    unsafe { libc::write(eventfd, (&raw const one).cast(), size_of_val(&one)) };
}

/// Runs what must leave no trace in errno.
pub fn with_errno_kept(run: impl FnOnce()) {
    // SAFETY: the address is this thread's own errno, which lives as long as the thread.
    unsafe {
        let errno = *libc::__errno_location();
        run();
        *libc::__errno_location() = errno;
    }
}
