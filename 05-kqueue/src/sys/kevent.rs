//! The entry of both lists of kevent(2), and its constants.
//!
//! The kernels agree on the names of the fields and on little else. A filter is an `i16` or a `u32`, a count is an
//! `int` or a `size_t`, and a constant has another value next door. Here every field is as wide as its widest version.

use std::fmt;
use std::io;
use std::mem;

use super::native;

macro_rules! constants {
    ($kind:ty: $($(#[$doc:meta])* $name:ident)*) => { $($(#[$doc])* pub const $name: $kind = native::$name as $kind;)* };
}

constants! { i32:
    /// A descriptor can be read, or is at its end. `data`: the bytes to read; of a listener, the connections that wait.
    EVFILT_READ
    /// A descriptor can be written to. `data`: the bytes that fit.
    EVFILT_WRITE
    /// A file was changed. `fflags` says how.
    EVFILT_VNODE
    /// A process ended.
    EVFILT_PROC
    /// A signal was sent to this process. `data`: the number of times.
    EVFILT_SIGNAL
    /// A time has passed, in milliseconds unless `fflags` names another unit. `data`: the number of times.
    EVFILT_TIMER
    /// The program itself triggers this one, with NOTE_TRIGGER.
    EVFILT_USER
}

constants! { u32:
    /// Adds an enabled knote, or changes the knote that exists.
    EV_ADD
    /// Removes the knote.
    EV_DELETE
    /// Lets the knote report again.
    EV_ENABLE
    /// Keeps the knote from reporting.
    EV_DISABLE
    /// The knote is removed when it has reported.
    EV_ONESHOT
    /// Edge-triggered: the knote reports what is new since its last report, and not what is still so.
    EV_CLEAR
    /// The knote is disabled when it has reported.
    EV_DISPATCH
    /// Asks for an EV_ERROR event that answers the change, with 0 for its error if it succeeded.
    EV_RECEIPT
    /// In an event: the peer will send no more (READ) or takes no more (WRITE). `fflags`: the socket's error.
    EV_EOF
    /// In an event: the event answers a change. `data`: the error of the change.
    EV_ERROR
    /// READ: reports nothing before `data` bytes are there.
    NOTE_LOWAT
    /// VNODE: the file lost its last name.
    NOTE_DELETE
    /// VNODE: the file was written to.
    NOTE_WRITE
    /// VNODE: the file grew.
    NOTE_EXTEND
    /// VNODE: the file's attributes were changed.
    NOTE_ATTRIB
    /// VNODE: the number of the file's names changed.
    NOTE_LINK
    /// VNODE: the file was renamed.
    NOTE_RENAME
    /// USER: makes the knote report.
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

/// PROC: the process ended. `data`: its status as wait(2) gives it, which macOS has to be asked for.
#[cfg(not(target_os = "macos"))]
pub const NOTE_EXIT: u32 = native::NOTE_EXIT;
/// PROC: the process ended. `data`: its status as wait(2) gives it, which macOS has to be asked for.
#[cfg(target_os = "macos")]
pub const NOTE_EXIT: u32 = native::NOTE_EXIT | libc::NOTE_EXITSTATUS;

/// An entry of either list of kevent(2): a change to make, or an event that came.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Kevent(native::kevent);

impl Kevent {
    /// A change: `ident` and `filter` name a knote, `flags` say what to do with it. All other fields are 0.
    pub fn new(ident: usize, filter: i32, flags: u32) -> Self {
        let mut kevent = Self::default();
        kevent.0.ident = ident as _;
        kevent.0.filter = filter as _;
        kevent.0.flags = flags as _;
        kevent
    }

    /// The same change with these notes for the filter.
    pub fn with_fflags(mut self, fflags: u32) -> Self {
        self.0.fflags = fflags as _;
        self
    }

    /// The same change with a number for the filter, such as a period or a low-water mark.
    pub fn with_data(mut self, data: i64) -> Self {
        self.0.data = data as _;
        self
    }

    /// The same change with a number of the program's own, which each event of the knote brings back.
    pub fn with_udata(mut self, udata: usize) -> Self {
        self.0.udata = udata as _;
        self
    }

    /// What is watched: a descriptor, a signal, a process, or a number of the program's own.
    pub fn ident(&self) -> usize {
        self.0.ident as _
    }

    /// What is watched for: one of `EVFILT_*`.
    pub fn filter(&self) -> i32 {
        self.0.filter as _
    }

    /// Those of `EV_*` that the knote was added with, and those that describe the event.
    pub fn flags(&self) -> u32 {
        self.0.flags as _
    }

    /// Those of `NOTE_*` that came true, or a socket's error (see `EV_EOF`).
    pub fn fflags(&self) -> u32 {
        self.0.fflags as _
    }

    /// What the filter counts: see `EVFILT_*`.
    pub fn data(&self) -> i64 {
        self.0.data as _
    }

    /// The number that `with_udata` gave the knote last.
    pub fn udata(&self) -> usize {
        self.0.udata as _
    }

    /// The error of the change that this event answers, if the change failed.
    pub fn error(&self) -> Option<io::Error> {
        if self.flags() & EV_ERROR == 0 || self.data() == 0 {
            return None;
        }
        Some(io::Error::from_raw_os_error(self.data() as i32))
    }
}

impl Default for Kevent {
    /// All fields are 0.
    fn default() -> Self {
        // SAFETY: a kevent has integers and one raw pointer, and all of them may be zero. (A literal would have to name
        // fields that some kernels lack.)
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
