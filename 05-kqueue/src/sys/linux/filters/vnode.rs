//! EVFILT_VNODE. The descriptor that Linux needs for it: an inotify, with stat(2) for what inotify does not tell apart.

use std::cmp::Ordering;
use std::ffi::CString;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;

use super::*;

/// For each inotify event the note that it means, and the notes that stat may find behind it. The last is for
/// directories.
const WATCHED: [(u32, u32, u32); 4] = [
    (libc::IN_MODIFY, NOTE_WRITE, NOTE_EXTEND | NOTE_TRUNCATE),
    (libc::IN_ATTRIB, NOTE_ATTRIB, NOTE_LINK | NOTE_DELETE),
    (libc::IN_MOVE_SELF, NOTE_RENAME, 0),
    (libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVE, NOTE_WRITE, NOTE_LINK),
];

pub const FILTER: Filter = Filter {
    number: EVFILT_VNODE,
    of_descriptor: true,
    notes: NOTE_WRITE | NOTE_EXTEND | NOTE_TRUNCATE | NOTE_ATTRIB | NOTE_LINK | NOTE_DELETE | NOTE_RENAME,
    implied: 0,
    open,
};

struct Vnode {
    file: WatchedFile,
    /// The notes of the last report, which a knote without EV_CLEAR reports again.
    reported: u32,
}

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    Ok(Box::new(Vnode { file: WatchedFile::open(number(knote), knote.fflags)?, reported: 0 }))
}

impl Source for Vnode {
    fn watch(&self, _knote: &kevent) -> Watch {
        self.file.watch()
    }

    fn fill_in(&mut self, knote: &kevent, _ready: u32, event: &mut kevent) -> bool {
        let happened = self.file.drain();
        let Ok(now) = metadata(number(knote)) else { return false };
        let before = std::mem::replace(&mut self.file.seen, now);
        let now = &self.file.seen;
        for (mask, note, _) in WATCHED {
            if happened & mask != 0 {
                event.fflags |= note;
            }
        }
        event.fflags |= match now.size().cmp(&before.size()) {
            Ordering::Greater => NOTE_EXTEND,
            Ordering::Less => NOTE_TRUNCATE,
            Ordering::Equal => 0,
        };
        event.fflags |= match now.nlink() {
            links if links == before.nlink() => 0,
            0 => NOTE_DELETE,
            _ => NOTE_LINK,
        };
        // BSD reports a write and the growth that it causes together.
        let with = if knote.fflags & NOTE_WRITE != 0 { NOTE_EXTEND } else { 0 };
        event.fflags = self.reported | event.fflags & (knote.fflags | with);
        self.reported = if knote.flags & EV_CLEAR != 0 { 0 } else { event.fflags };
        if event.fflags == 0 {
            return false;
        }
        self.file.stay_ready(knote);
        true
    }

    fn modify(&mut self, knote: &kevent, change: &kevent) -> Result<Modified> {
        if change.flags & EV_ADD != 0 {
            self.file.watch_for(number(knote), change.fflags)?;
        }
        Ok(Modified::InPlace)
    }

    fn is_same_file(&self, knote: &kevent) -> bool {
        self.file.is_same_file(number(knote))
    }
}

/// A file of the program's, and the inotify that watches it. READ and WRITE of a regular file need one, too.
pub struct WatchedFile {
    inotify: Made,
    seen: Metadata,
    identity: Identity,
}

impl WatchedFile {
    /// Watches for what these notes stand for.
    fn open(fd: RawFd, notes: u32) -> Result<Self> {
        let seen = metadata(fd)?;
        let kind = seen.file_type();
        // A pipe without a name is no vnode.
        let has_a_name = || fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|path| path.is_absolute());
        let is_vnode = kind.is_file() || kind.is_dir() || kind.is_char_device() || kind.is_block_device();
        if !(is_vnode || kind.is_fifo() && has_a_name()) {
            return Err(libc::EINVAL);
        }
        let identity = Identity::of(fd, kind.is_file() || kind.is_dir())?;
        let file = Self { inotify: Made::new(inotify()?)?, seen, identity };
        file.watch_for(fd, notes)?;
        Ok(file)
    }

    /// Watches for writes, and begins as ready.
    pub fn open_ready(fd: RawFd) -> Result<Self> {
        let file = Self::open(fd, NOTE_WRITE)?;
        file.rouse()?;
        Ok(file)
    }

    fn watch_for(&self, fd: RawFd, notes: u32) -> Result {
        // An empty mask would be an error, and this event is harmless.
        let mut events = libc::IN_DELETE_SELF;
        for (mask, note, more) in WATCHED {
            if (note | more) & notes != 0 {
                events |= mask;
            }
        }
        // This path leads to the file even if it has lost its name.
        let path = CString::new(format!("/proc/self/fd/{fd}")).expect("there is no NUL in it");
        add_watch(&self.inotify, &path, events).map(drop)
    }

    pub fn watch(&self) -> Watch {
        Watch::made(self.inotify.as_raw_fd(), IN)
    }

    pub fn is_same_file(&self, fd: RawFd) -> bool {
        self.identity.is_of(fd)
    }

    /// Without EV_CLEAR, a knote on a file stays ready after it was reported.
    pub fn stay_ready(&self, knote: &kevent) {
        if knote.flags & EV_CLEAR == 0 {
            let _ = self.rouse();
        }
    }

    /// Makes the inotify readable: the end of a watch is an event, too.
    pub fn rouse(&self) -> Result {
        remove_watch(&self.inotify, add_watch(&self.inotify, c"/proc/self/fd", libc::IN_DELETE_SELF)?)
    }

    /// All that has happened since the last call, in one mask.
    pub fn drain(&mut self) -> u32 {
        // A header is the watch, the mask, a cookie and the length of the name that follows.
        const HEADER: usize = size_of::<libc::inotify_event>();
        let mut events = [0; 4096];
        let mut happened = 0;
        while let Ok(length) = (&*self.inotify).read(&mut events) {
            let mut rest = &events[..length];
            while let [_, _, _, _, a, b, c, d, _, _, _, _, e, f, g, h, ..] = *rest {
                happened |= u32::from_ne_bytes([a, b, c, d]);
                rest = &rest[HEADER + u32::from_ne_bytes([e, f, g, h]) as usize..];
            }
        }
        happened
    }
}
