//! The struct and the constants of `<sys/event.h>`, with the layout and the values that C programs on Linux know.

#![allow(non_camel_case_types, missing_docs)] // The names are the C ones; kqueue(2) explains them.

use std::ffi::c_void;

/// 32 bytes on a 64-bit system.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kevent {
    pub ident: usize,
    pub filter: i16,
    pub flags: u16,
    pub fflags: u32,
    pub data: i64,
    pub udata: *mut c_void,
}

// SAFETY: `udata` is handed back as it came, and never followed.
unsafe impl Send for kevent {}

macro_rules! constants {
    ($($kind:ty { $($name:ident = $value:expr),* $(,)? })*) => { $($(pub const $name: $kind = $value;)*)* };
}

constants! {
    i16 {
        EVFILT_READ = -1, EVFILT_WRITE = -2, EVFILT_VNODE = -4, EVFILT_PROC = -5, EVFILT_SIGNAL = -6,
        EVFILT_TIMER = -7, EVFILT_USER = -11,
    }
    u16 {
        EV_ADD = 0x0001, EV_DELETE = 0x0002, EV_ENABLE = 0x0004, EV_DISABLE = 0x0008,
        EV_ONESHOT = 0x0010, EV_CLEAR = 0x0020, EV_RECEIPT = 0x0040, EV_DISPATCH = 0x0080,
        EV_ERROR = 0x4000, EV_EOF = 0x8000,
    }
    u32 {
        NOTE_LOWAT = 0x0001, // READ

        NOTE_DELETE = 0x0001, NOTE_WRITE = 0x0002, NOTE_EXTEND = 0x0004, NOTE_ATTRIB = 0x0008, // VNODE
        NOTE_LINK = 0x0010, NOTE_RENAME = 0x0020, NOTE_TRUNCATE = 0x0080,

        NOTE_EXIT = 0x8000_0000, // PROC

        NOTE_SECONDS = 0x0001, NOTE_USECONDS = 0x0002, NOTE_NSECONDS = 0x0004, // TIMER
        NOTE_MSECONDS = 0, // the unit when none is named
        NOTE_ABSOLUTE = 0x0008,

        NOTE_FFNOP = 0, NOTE_FFAND = 0x4000_0000, NOTE_FFOR = 0x8000_0000, NOTE_FFCOPY = 0xc000_0000, // USER
        NOTE_FFCTRLMASK = 0xc000_0000, NOTE_FFLAGSMASK = 0x00ff_ffff,
        NOTE_TRIGGER = 0x0100_0000,
    }
}
