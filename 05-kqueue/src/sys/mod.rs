//! kqueue(2) with the same types on every system.
//!
//! The kernels agree on the names of a kevent's fields, and on little else: a filter is an i16 or a u32, a count an int
//! or a size_t, and the same constant has another value next door. Here all of them are as wide as the widest.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

#[cfg(not(target_os = "linux"))]
pub mod bsd;
#[cfg(not(target_os = "linux"))]
use bsd as native;

#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(target_os = "linux")]
use linux as native;

macro_rules! constants {
    ($kind:ty: $($(#[$doc:meta])* $name:ident)*) => { $($(#[$doc])* pub const $name: $kind = native::$name as $kind;)* };
}

constants! { i32:
    /// A descriptor can be read, or is at its end. `data`: bytes, or of a listener the connections that wait.
    EVFILT_READ
    /// A descriptor can be written to. `data`: bytes that fit.
    EVFILT_WRITE
    /// A file was changed, as `fflags` says.
    EVFILT_VNODE
    /// A process ended.
    EVFILT_PROC
    /// A signal was sent to this process. `data`: how often.
    EVFILT_SIGNAL
    /// A time has passed, in milliseconds unless `fflags` says otherwise. `data`: how often.
    EVFILT_TIMER
    /// The program says so itself.
    EVFILT_USER
}

constants! { u32:
    /// Adds a knote, enabled; or changes it, if it exists.
    EV_ADD
    /// Removes it.
    EV_DELETE
    /// Lets it report again.
    EV_ENABLE
    /// Keeps it from reporting.
    EV_DISABLE
    /// Removed when it has reported.
    EV_ONESHOT
    /// Reports what is new since the last report, and not what is still so: edge-triggered.
    EV_CLEAR
    /// Disabled when it has reported.
    EV_DISPATCH
    /// Asks for an entry in the event list for the change itself, as if it had failed, with 0 for the error.
    EV_RECEIPT
    /// In an event: nothing more will come (READ), or is taken (WRITE). `fflags`: a socket's error.
    EV_EOF
    /// In an event: it answers a change. `data`: the error.
    EV_ERROR
    /// READ: not before `data` bytes are there.
    NOTE_LOWAT
    /// VNODE: the last name of the file was removed.
    NOTE_DELETE
    /// VNODE: it was written to.
    NOTE_WRITE
    /// VNODE: it grew.
    NOTE_EXTEND
    /// VNODE: its attributes were changed.
    NOTE_ATTRIB
    /// VNODE: its number of names changed.
    NOTE_LINK
    /// VNODE: it was renamed.
    NOTE_RENAME
    /// USER: reports the knote.
    NOTE_TRIGGER
    /// USER: leaves the stored `fflags` as they are.
    NOTE_FFNOP
    /// USER: stored &= given.
    NOTE_FFAND
    /// USER: stored |= given.
    NOTE_FFOR
    /// USER: stored = given.
    NOTE_FFCOPY
}

/// PROC: the process ended. `data`: its status, as wait(2) gives it; macOS wants to be asked for that.
#[cfg(not(target_os = "macos"))]
pub const NOTE_EXIT: u32 = native::NOTE_EXIT;
/// PROC: the process ended. `data`: its status, as wait(2) gives it; macOS wants to be asked for that.
#[cfg(target_os = "macos")]
pub const NOTE_EXIT: u32 = native::NOTE_EXIT | libc::NOTE_EXITSTATUS;

/// A change to make, or an event that came.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Kevent(native::kevent);

impl Kevent {
    /// Names a knote by what it watches, and says what to do with it. All the rest is 0.
    pub fn new(ident: usize, filter: i32, flags: u32) -> Self {
        let mut kevent = Self::default();
        kevent.0.ident = ident as _;
        kevent.0.filter = filter as _;
        kevent.0.flags = flags as _;
        kevent
    }

    /// With notes of the filter.
    pub fn with_fflags(mut self, fflags: u32) -> Self {
        self.0.fflags = fflags as _;
        self
    }

    /// With a number for the filter: a period, a low-water mark.
    pub fn with_data(mut self, data: i64) -> Self {
        self.0.data = data as _;
        self
    }

    /// With a number of the program's own, which each event of the knote repeats.
    pub fn with_udata(mut self, udata: usize) -> Self {
        self.0.udata = udata as _;
        self
    }

    /// What is watched: a descriptor, a signal, a process, or a number of the program's own.
    pub fn ident(&self) -> usize {
        self.0.ident as _
    }

    /// How it is watched: one of `EVFILT_*`.
    pub fn filter(&self) -> i32 {
        self.0.filter as _
    }

    /// Those of `EV_*` that the knote was added with, and those that tell of the event.
    pub fn flags(&self) -> u32 {
        self.0.flags as _
    }

    /// Those of `NOTE_*` that came true.
    pub fn fflags(&self) -> u32 {
        self.0.fflags as _
    }

    /// A number from the filter.
    pub fn data(&self) -> i64 {
        self.0.data as _
    }

    /// What was given to `with_udata` last.
    pub fn udata(&self) -> usize {
        self.0.udata as _
    }

    /// Why a change failed, if that is what this entry is about.
    pub fn error(&self) -> Option<io::Error> {
        let failed = self.flags() & EV_ERROR != 0 && self.data() != 0;
        failed.then(|| io::Error::from_raw_os_error(self.data() as i32))
    }
}

impl Default for Kevent {
    /// An entry to be overwritten.
    fn default() -> Self {
        // SAFETY: integers and a pointer, for which zero is a value; some kernels have fields that others lack.
        Self(unsafe { mem::zeroed() })
    }
}

impl fmt::Debug for Kevent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = match self.filter() {
            EVFILT_READ => "READ",
            EVFILT_WRITE => "WRITE",
            EVFILT_VNODE => "VNODE",
            EVFILT_PROC => "PROC",
            EVFILT_SIGNAL => "SIGNAL",
            EVFILT_TIMER => "TIMER",
            EVFILT_USER => "USER",
            _ => "?",
        };
        let (ident, flags, fflags) = (self.ident(), self.flags(), self.fflags());
        let (data, udata) = (self.data(), self.udata());
        write!(f, "{filter} {ident}: flags {flags:#x}, fflags {fflags:#x}, data {data}, udata {udata:#x}")
    }
}

/// A kernel event queue.
#[derive(Debug)]
pub struct Kqueue(OwnedFd);

impl Kqueue {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; a descriptor that was just returned has no other owner.
        unsafe {
            match native::kqueue() {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// Makes the changes, then waits for events: for ever without a timeout, and not at all if there is no room for any.
    /// Returns those that came; none after the time is up, and after a signal interrupted the wait.
    ///
    /// A change that fails becomes an EV_ERROR entry, and then there is no wait. Without room for the entry its error is
    /// returned, and the changes behind it are not made.
    pub fn kevent<'a>(
        &self,
        changes: &[Kevent],
        events: &'a mut [Kevent],
        timeout: Option<Duration>,
    ) -> io::Result<&'a [Kevent]> {
        let timeout = timeout
            .map(|timeout| libc::timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ });
        // SAFETY: a Kevent is a kevent; the kernel reads and writes no more of them than it is told of.
        let count = unsafe {
            native::kevent(
                self.as_raw_fd(),
                changes.as_ptr().cast(),
                changes.len() as _,
                events.as_mut_ptr().cast(),
                events.len() as _,
                timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
            )
        };
        match count {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
                error => Err(error),
            },
            count => Ok(&events[..count as usize]),
        }
    }
}

impl AsFd for Kqueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Kqueue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
