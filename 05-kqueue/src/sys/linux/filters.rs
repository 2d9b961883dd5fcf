//! The seven filters: for each the descriptor that Linux needs for it, and how what that says becomes a kevent.

use std::cmp::Ordering;
use std::ffi::{CString, c_int};
use std::fs::{File, Metadata};
use std::io::{Read, Seek, Write};
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;

use libc::signalfd_siginfo;

use super::abi::*;
use super::calls::*;

pub struct Knote {
    /// As it was changed last, but with the flags it keeps.
    pub change: kevent,
    /// The descriptor that was made for it; None if epoll watches the caller's own.
    pub source: Option<File>,
    pub serial: u32,
    pub disabled: bool,
    /// SIGNAL: it was not blocked before.
    blocked: bool,
    file: Option<Box<Seen>>,
}

/// A file as it was last seen, and the notes that are due.
struct Seen {
    file: Metadata,
    notes: u32,
}

/// Refuses what the stand-in cannot do, rather than wait for it in vain.
pub fn check(change: &kevent) -> Result {
    let (is_descriptor, supported) = match change.filter {
        EVFILT_READ => (true, NOTE_LOWAT),
        EVFILT_WRITE => (true, 0),
        EVFILT_TIMER => (false, NOTE_SECONDS | NOTE_USECONDS | NOTE_NSECONDS | NOTE_ABSOLUTE),
        EVFILT_SIGNAL => (false, 0),
        EVFILT_PROC => (false, NOTE_EXIT),
        EVFILT_VNODE => (true, WATCHED.iter().fold(0, |all, (_, note, more)| all | note | more)),
        EVFILT_USER => (false, !0),
        _ => return Err(libc::EINVAL),
    };
    match c_int::try_from(change.ident) {
        Err(_) if is_descriptor => Err(libc::EBADF),
        _ if change.fflags & !supported != 0 => Err(libc::ENOTSUP),
        _ if change.filter == EVFILT_TIMER => period(change).map(drop),
        _ => Ok(()),
    }
}

impl Knote {
    pub fn open(change: kevent, disabled: bool) -> Result<Self> {
        let mut knote = Self { change, source: None, serial: 0, disabled, blocked: false, file: None };
        match change.filter {
            EVFILT_TIMER => knote.open_timer()?,
            EVFILT_SIGNAL => knote.open_signal()?,
            EVFILT_PROC => knote.open_process()?,
            EVFILT_VNODE => knote.open_file()?,
            EVFILT_USER => knote.open_user()?,
            _ => knote.set_low_water()?,
        }
        Ok(knote)
    }

    /// Ends what was opened, and undoes what was done outside of it. The number is not touched if it may be another's.
    pub fn close(&mut self, registered: bool) {
        let _ = match self.change.filter {
            EVFILT_READ if registered && self.change.fflags & NOTE_LOWAT != 0 => set_receive_low_water(self.fd(), 1),
            EVFILT_SIGNAL if self.blocked => signal_mask(libc::SIG_UNBLOCK, self.fd()).map(drop),
            _ => Ok(()),
        };
        (self.source, self.file) = (None, None);
        self.serial = self.serial.wrapping_add(1);
    }

    pub fn fd(&self) -> RawFd {
        self.change.ident as RawFd
    }

    fn source(&self) -> &File {
        self.source.as_ref().expect("made by `open`")
    }

    pub fn is_silent(&self) -> bool {
        self.disabled || self.change.filter == EVFILT_PROC && self.change.fflags == 0
    }

    /// Whether there is anything to report, after all.
    pub fn fill_in(&mut self, ready: u32, event: &mut kevent) -> bool {
        match event.filter {
            EVFILT_READ => self.read(ready, event),
            EVFILT_WRITE => self.write(ready, event),
            EVFILT_TIMER => self.timer(event),
            EVFILT_SIGNAL => self.signal(event),
            EVFILT_PROC => self.process(event),
            EVFILT_VNODE => self.vnode(event),
            _ => self.user(event),
        }
    }
}

// EVFILT_READ. This is the fd that Linux needs for it: the one you have.

impl Knote {
    fn read(&self, ready: u32, event: &mut kevent) -> bool {
        if let Some(inotify) = &self.source {
            // A file is ready unless it is read to its end, and again when inotify says that it was written to.
            drain(inotify);
            let position = borrowed(self.fd()).stream_position().unwrap_or(0);
            event.data = metadata(self.fd()).map_or(0, |now| now.size() as i64 - position as i64);
            return event.data > 0 && self.stay_ready();
        }
        // FIONREAD fails on a listener. Its `data` is the connections that wait: the seventh word of its TCP_INFO.
        let connections = || socket_option::<7>(self.fd(), libc::IPPROTO_TCP, libc::TCP_INFO).ok();
        let bytes = queued(self.fd(), libc::FIONREAD);
        event.data = bytes.or_else(|| connections().map(|info| info[6].into())).unwrap_or(1);
        end_of_file(ready, event);
        true
    }

    fn set_low_water(&self) -> Result {
        if self.change.fflags & NOTE_LOWAT == 0 {
            return Ok(());
        }
        let bytes = c_int::try_from(self.change.data).or(Err(libc::EINVAL))?;
        match socket_option(self.fd(), libc::SOL_SOCKET, libc::SO_PROTOCOL) {
            // Other sockets take the option, and wake for less all the same.
            Ok([protocol]) if protocol == libc::IPPROTO_TCP as u32 => set_receive_low_water(self.fd(), bytes),
            Err(libc::EBADF) => Err(libc::EBADF),
            _ => Err(libc::ENOTSUP),
        }
    }
}

fn end_of_file(ready: u32, event: &mut kevent) {
    if ready & (RDHUP | HUP | ERR) != 0 {
        event.flags |= EV_EOF;
    }
    if ready & ERR != 0 {
        let error = socket_option(event.ident as RawFd, libc::SOL_SOCKET, libc::SO_ERROR);
        event.fflags = error.map_or(0, |[error]| error);
    }
}

// EVFILT_WRITE. This is the fd that Linux needs for it: the one you have, in another epoll.

impl Knote {
    fn write(&self, ready: u32, event: &mut kevent) -> bool {
        if let Some(inotify) = &self.source {
            drain(inotify);
            return self.stay_ready();
        }
        let (room, used) = match socket_option(self.fd(), libc::SOL_SOCKET, libc::SO_SNDBUF) {
            Ok([size]) => (Some(size.into()), queued(self.fd(), libc::TIOCOUTQ)),
            Err(_) => (pipe_size(self.fd()), queued(self.fd(), libc::FIONREAD)),
        };
        event.data = (room.unwrap_or(1) - used.unwrap_or(0)).max(1);
        end_of_file(ready, event);
        true
    }
}

// EVFILT_TIMER. This is the fd that Linux needs for it: a timerfd.

fn period(change: &kevent) -> Result<Duration> {
    // A timerfd takes zero for "off".
    let amount = u64::try_from(change.data).or(Err(libc::EINVAL))?.max(1);
    match change.fflags & !NOTE_ABSOLUTE {
        NOTE_SECONDS => Ok(Duration::from_secs(amount)),
        NOTE_MSECONDS => Ok(Duration::from_millis(amount)),
        NOTE_USECONDS => Ok(Duration::from_micros(amount)),
        NOTE_NSECONDS => Ok(Duration::from_nanos(amount)),
        _ => Err(libc::EINVAL),
    }
}

impl Knote {
    fn open_timer(&mut self) -> Result {
        let first = period(&self.change)?;
        let absolute = self.change.fflags & NOTE_ABSOLUTE != 0;
        let again = if absolute || self.change.flags & EV_ONESHOT != 0 { Duration::ZERO } else { first };
        self.source = Some(timerfd(absolute, first, again)?);
        Ok(())
    }

    fn timer(&self, event: &mut kevent) -> bool {
        // What a timerfd holds is what `data` is of a timer: how often it expired.
        let expired = read_counter(self.source());
        event.data = expired.unwrap_or(0) as i64;
        expired.is_some()
    }
}

// EVFILT_SIGNAL. This is the fd that Linux needs for it: a signalfd, with the signal blocked, or its action comes first.
// (On BSD both happen. A program for both sets SIG_IGN, which does not keep what is blocked from a signalfd.)

impl Knote {
    fn open_signal(&mut self) -> Result {
        let signal = c_int::try_from(self.change.ident).or(Err(libc::EINVAL))?;
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            return Err(libc::EINVAL);
        }
        self.source = Some(signalfd(signal)?);
        self.blocked = !signal_mask(libc::SIG_BLOCK, signal)?;
        Ok(())
    }

    fn signal(&self, event: &mut kevent) -> bool {
        const SIZE: usize = size_of::<signalfd_siginfo>();
        let mut infos = [0; 8 * SIZE];
        while let Ok(length) = self.source().read(&mut infos) {
            event.data += (length / SIZE) as i64;
        }
        event.data > 0
    }
}

// EVFILT_PROC. This is the fd that Linux needs for it: a pidfd, which is readable once the process has ended.

impl Knote {
    fn open_process(&mut self) -> Result {
        let pidfd = pidfd(c_int::try_from(self.change.ident).or(Err(libc::ESRCH))?)?;
        // Nobody but its parent is told a status.
        exit_status(&pidfd).map_err(|e| if e == libc::ECHILD { libc::ENOTSUP } else { e })?;
        self.source = Some(pidfd);
        Ok(())
    }

    fn process(&self, event: &mut kevent) -> bool {
        let Some(status) = exit_status(self.source()).unwrap_or(Some(0)) else { return false };
        event.flags |= EV_EOF;
        (event.fflags, event.data) = (NOTE_EXIT, status.into());
        true
    }
}

// EVFILT_VNODE. This is the fd that Linux needs for it: an inotify, and stat(2) for what that does not tell apart.

/// What to watch, the note that it means, and those that stat may find behind it. The last line is for directories.
const WATCHED: [(u32, u32, u32); 4] = [
    (libc::IN_MODIFY, NOTE_WRITE, NOTE_EXTEND | NOTE_TRUNCATE),
    (libc::IN_ATTRIB, NOTE_ATTRIB, NOTE_LINK | NOTE_DELETE),
    (libc::IN_MOVE_SELF, NOTE_RENAME, 0),
    (libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVE, NOTE_WRITE, NOTE_LINK),
];

impl Knote {
    /// Also for READ and WRITE of a file, which epoll refuses.
    pub fn open_file(&mut self) -> Result {
        let file = metadata(self.fd())?;
        let kind = file.file_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_char_device() || kind.is_block_device()) {
            return Err(libc::EINVAL);
        }
        (self.source, self.file) = (Some(inotify()?), Some(Box::new(Seen { file, notes: 0 })));
        if self.change.filter == EVFILT_VNODE {
            return self.set_notes(self.change.fflags);
        }
        self.set_notes(NOTE_WRITE).and_then(|()| rouse(self.source()))
    }

    pub fn set_notes(&mut self, notes: u32) -> Result {
        self.change.fflags = notes;
        let masks = WATCHED.iter().filter(|(_, note, more)| (note | more) & notes != 0).map(|(mask, ..)| mask);
        // The way to a file that may have lost its name; and a mask that is never empty, for that is an error.
        let path = CString::new(format!("/proc/self/fd/{}", self.fd())).expect("no NUL in it");
        add_watch(self.source(), &path, masks.fold(libc::IN_DELETE_SELF, |all, mask| all | mask)).map(drop)
    }

    /// For a knote on a file: whether its number still means it.
    pub fn is_same_file(&self) -> bool {
        let Some(Seen { file, .. }) = self.file.as_deref() else { return true };
        metadata(self.fd()).is_ok_and(|now| (now.dev(), now.ino()) == (file.dev(), file.ino()))
    }

    fn vnode(&mut self, event: &mut kevent) -> bool {
        let happened = drain(self.source());
        let (Some(seen), Ok(now)) = (&mut self.file, metadata(event.ident as RawFd)) else { return false };
        for (_, note, _) in WATCHED.iter().filter(|(mask, ..)| happened & mask != 0) {
            event.fflags |= note;
        }
        event.fflags |= match now.size().cmp(&seen.file.size()) {
            Ordering::Greater => NOTE_EXTEND,
            Ordering::Less => NOTE_TRUNCATE,
            Ordering::Equal => 0,
        };
        event.fflags |= match now.nlink() {
            links if links == seen.file.nlink() => 0,
            0 => NOTE_DELETE,
            _ => NOTE_LINK,
        };
        // BSD tells of a write and of the growth that it causes in one.
        let with = if self.change.fflags & NOTE_WRITE != 0 { NOTE_EXTEND } else { 0 };
        event.fflags = seen.notes | event.fflags & (self.change.fflags | with);
        let notes = if self.change.flags & EV_CLEAR != 0 { 0 } else { event.fflags };
        **seen = Seen { file: now, notes };
        event.fflags != 0 && self.stay_ready()
    }

    /// Without EV_CLEAR, a knote on a file stays ready after it was reported.
    fn stay_ready(&self) -> bool {
        if self.change.flags & EV_CLEAR == 0 {
            let _ = rouse(self.source());
        }
        true
    }
}

/// Makes an inotify readable: the end of a watch is an event, too.
fn rouse(inotify: &File) -> Result {
    remove_watch(inotify, add_watch(inotify, c"/proc/self/fd", libc::IN_DELETE_SELF)?)
}

/// All that happened since, in one mask.
fn drain(mut inotify: &File) -> u32 {
    // A header is the watch, the mask, a cookie and the length of the name that follows.
    const HEADER: usize = size_of::<libc::inotify_event>();
    let mut events = [0; 4096];
    let mut happened = 0;
    while let Ok(length) = inotify.read(&mut events) {
        let mut rest = &events[..length];
        while let [_, _, _, _, a, b, c, d, _, _, _, _, e, f, g, h, ..] = *rest {
            happened |= u32::from_ne_bytes([a, b, c, d]);
            rest = &rest[HEADER + u32::from_ne_bytes([e, f, g, h]) as usize..];
        }
    }
    happened
}

// EVFILT_USER. This is the fd that Linux needs for it: an eventfd.

impl Knote {
    fn open_user(&mut self) -> Result {
        self.source = Some(eventfd()?);
        self.touch(&kevent { fflags: self.change.fflags | NOTE_FFCOPY, ..self.change });
        Ok(())
    }

    pub fn touch(&mut self, change: &kevent) {
        let (stored, given) = (self.change.fflags, change.fflags & NOTE_FFLAGSMASK);
        self.change.fflags = match change.fflags & NOTE_FFCTRLMASK {
            NOTE_FFAND => stored & given,
            NOTE_FFOR => stored | given,
            NOTE_FFCOPY => given,
            _ => stored,
        };
        self.change.data = change.data;
        if change.fflags & NOTE_TRIGGER != 0 {
            // This fails only when the counter is full, and so ready in any case.
            let _ = self.source().write(&1u64.to_ne_bytes());
        }
    }

    fn user(&self, event: &mut kevent) -> bool {
        (event.fflags, event.data) = (self.change.fflags, self.change.data);
        self.change.flags & EV_CLEAR == 0 || read_counter(self.source()).is_some()
    }
}
