//! The system calls under the stand-in, each made safe.

use std::ffi::{CStr, c_int, c_void};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use libc::{epoll_event, itimerspec, timespec};

/// The error is an errno, as the C caller gets it.
pub type Result<T = ()> = std::result::Result<T, c_int>;

pub const IN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
pub const HUP: u32 = libc::EPOLLHUP as u32;
pub const ERR: u32 = libc::EPOLLERR as u32;

/// What C gets of a result: a number, or -1 and errno.
pub fn answer(result: Result<usize>) -> c_int {
    result.map_or_else(
        |errno| {
            // SAFETY: errno is this thread's own.
            unsafe { *libc::__errno_location() = errno };
            -1
        },
        |number| number as c_int,
    )
}

fn check(result: c_int) -> Result<c_int> {
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
    // SAFETY: as this function's.
    check(fd).map(|fd| unsafe { File::from_raw_fd(fd) })
}

/// A descriptor of kevent's caller. If it was closed meanwhile, what is done with it fails with EBADF.
pub fn borrowed(fd: RawFd) -> ManuallyDrop<File> {
    assert!(fd >= 0);
    // SAFETY: it is not closed here.
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}

pub fn metadata(fd: RawFd) -> Result<Metadata> {
    borrowed(fd).metadata().map_err(|error| errno(&error))
}

/// The counter of a timerfd or an eventfd, which is 0 from then on; None if it was 0.
pub fn read_counter(mut source: &File) -> Option<u64> {
    let mut counter = [0; 8];
    source.read(&mut counter).is_ok().then(|| u64::from_ne_bytes(counter))
}

pub fn epoll_create() -> Result<File> {
    // SAFETY: no pointers; a descriptor that was just made has no other owner.
    unsafe { owned(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }
}

pub fn epoll_ctl(epoll: RawFd, operation: c_int, fd: RawFd, events: u32, token: u64) -> Result {
    let mut event = epoll_event { events, u64: token };
    // SAFETY: `event` outlives the call, which only reads it.
    check(unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) }).map(drop)
}

pub fn epoll_wait(epoll: RawFd, events: &mut [epoll_event], timeout: Option<Duration>) -> Result<usize> {
    let timeout = timeout.map(to_timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let (at, room) = (events.as_mut_ptr(), events.len());
    // SAFETY: the kernel writes at most `room` entries; no signal mask is given.
    let count = unsafe { libc::syscall(libc::SYS_epoll_pwait2, epoll, at, room, timeout, ptr::null::<c_void>(), 0) };
    check(count as c_int).map(|count| count as usize)
}

/// An epoll knows a registration by number and file: to add it again changes nothing if both are still the same.
pub fn is_registered(epoll: &File, fd: RawFd) -> bool {
    epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, 0, 0) == Err(libc::EEXIST)
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
    // SAFETY: a descriptor that was just made has no other owner; `spec` outlives the call, which only reads it.
    unsafe {
        let timer = owned(libc::timerfd_create(clock, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC))?;
        check(libc::timerfd_settime(timer.as_raw_fd(), flags, &spec, ptr::null_mut())).map(|_| timer)
    }
}

pub fn eventfd() -> Result<File> {
    // SAFETY: no pointers; a descriptor that was just made has no other owner.
    unsafe { owned(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) }
}

fn signal_set(signal: c_int) -> Result<libc::sigset_t> {
    // SAFETY: a sigset_t is made of integers, and sigemptyset sets them all.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        check(libc::sigaddset(&mut set, signal)).map(|_| set)
    }
}

pub fn signalfd(signal: c_int) -> Result<File> {
    let set = signal_set(signal)?;
    // SAFETY: `set` outlives the call; a descriptor that was just made has no other owner.
    unsafe { owned(libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)) }
}

/// Changes the calling thread's mask; says whether the signal was blocked before.
pub fn signal_mask(how: c_int, signal: c_int) -> Result<bool> {
    let set = signal_set(signal)?;
    // SAFETY: both sets outlive the calls.
    unsafe {
        let mut before = mem::zeroed();
        match libc::pthread_sigmask(how, &set, &mut before) {
            0 => Ok(libc::sigismember(&before, signal) == 1),
            errno => Err(errno),
        }
    }
}

pub fn pidfd(process: c_int) -> Result<File> {
    // SAFETY: no pointers; a descriptor that was just made has no other owner.
    unsafe { owned(libc::syscall(libc::SYS_pidfd_open, process, 0) as c_int) }
}

/// A child's status as wait(2) gives it, None while it runs. It stays for its parent to reap.
pub fn exit_status(pidfd: &File) -> Result<Option<c_int>> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: a siginfo_t is made of integers; waitid fills in the members that are read here, or none.
    let (code, process, status) = unsafe {
        let mut info: libc::siginfo_t = mem::zeroed();
        check(libc::waitid(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, &mut info, options))?;
        (info.si_code, info.si_pid(), info.si_status())
    };
    Ok((process != 0).then_some(match code {
        libc::CLD_EXITED => status << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    }))
}

pub fn inotify() -> Result<File> {
    // SAFETY: no pointers; a descriptor that was just made has no other owner.
    unsafe { owned(libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC)) }
}

pub fn add_watch(inotify: &File, path: &CStr, mask: u32) -> Result<c_int> {
    // SAFETY: `path` outlives the call.
    check(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), mask) })
}

pub fn remove_watch(inotify: &File, watch: c_int) -> Result {
    // SAFETY: no pointers.
    check(unsafe { libc::inotify_rm_watch(inotify.as_raw_fd(), watch) }).map(drop)
}

/// FIONREAD or TIOCOUTQ: the bytes that wait to be read, or to be sent.
pub fn queued(fd: RawFd, request: libc::Ioctl) -> Option<i64> {
    let mut count: c_int = 0;
    // SAFETY: both write one int.
    check(unsafe { libc::ioctl(fd, request, &mut count) }).ok().map(|_| count.into())
}

pub fn pipe_size(fd: RawFd) -> Option<i64> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_GETPIPE_SZ) }).ok().map(Into::into)
}

/// The first `N` words of a socket's option.
pub fn socket_option<const N: usize>(fd: RawFd, level: c_int, option: c_int) -> Result<[u32; N]> {
    let mut words = [0; N];
    let mut size = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes.
    check(unsafe { libc::getsockopt(fd, level, option, words.as_mut_ptr().cast(), &mut size) }).map(|_| words)
}

pub fn set_receive_low_water(fd: RawFd, bytes: c_int) -> Result {
    let (value, size) = ((&raw const bytes).cast(), size_of_val(&bytes) as libc::socklen_t);
    // SAFETY: the kernel reads one int.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, value, size) }).map(drop)
}
