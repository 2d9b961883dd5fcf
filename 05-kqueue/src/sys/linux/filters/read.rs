//! EVFILT_READ. The descriptor that Linux needs for it: the one you have.

use std::ffi::c_int;
use std::io::Seek;

use super::vnode::WatchedFile;
use super::*;

pub const FILTER: Filter = Filter { number: EVFILT_READ, of_descriptor: true, notes: NOTE_LOWAT, implied: 0, open };

/// A socket, a pipe or whatever else epoll takes. It has no fields: each of many connections has one.
struct Readable;

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    if knote.fflags & NOTE_LOWAT != 0 {
        set_low_water(knote)?;
    }
    Ok(Box::new(Readable))
}

fn set_low_water(knote: &kevent) -> Result {
    let bytes = c_int::try_from(knote.data).or(Err(libc::EINVAL))?;
    match socket_option(number(knote), libc::SOL_SOCKET, libc::SO_PROTOCOL) {
        // Other sockets take the option, and wake for less all the same.
        Ok([protocol]) if protocol == libc::IPPROTO_TCP as u32 => set_receive_low_water(number(knote), bytes),
        Err(libc::EBADF) => Err(libc::EBADF),
        _ => Err(libc::ENOTSUP),
    }
}

impl Source for Readable {
    fn watch(&self, knote: &kevent) -> Watch {
        Watch { epoll: Epoll::Readers, fd: number(knote), events: IN | RDHUP | trigger(knote) }
    }

    fn fill_in(&mut self, knote: &kevent, ready: u32, event: &mut kevent) -> bool {
        event.data = match queued(number(knote), libc::FIONREAD) {
            Some(bytes) => bytes,
            // FIONREAD fails on a listener. Its accept queue is the seventh word of its TCP_INFO.
            None => socket_option::<7>(number(knote), libc::IPPROTO_TCP, libc::TCP_INFO).map_or(1, |it| it[6].into()),
        };
        fill_in_end(ready, event);
        true
    }

    fn modify(&mut self, knote: &kevent, change: &kevent) -> Result<Modified> {
        if change.flags & EV_ADD != 0 {
            if change.fflags & NOTE_LOWAT != 0 {
                set_low_water(change)?;
            } else {
                self.close(knote, true);
            }
        }
        Ok(Modified::InPlace)
    }

    fn instead(&self, knote: &kevent) -> Result<Box<dyn Source>> {
        Ok(Box::new(ReadableFile(WatchedFile::open_ready(number(knote))?)))
    }

    fn close(&mut self, knote: &kevent, registered: bool) {
        if registered && knote.fflags & NOTE_LOWAT != 0 {
            let _ = set_receive_low_water(number(knote), 1);
        }
    }
}

/// A regular file. It is ready unless it was read to its end, and again when it is written to.
struct ReadableFile(WatchedFile);

impl Source for ReadableFile {
    fn watch(&self, _knote: &kevent) -> Watch {
        self.0.watch()
    }

    fn fill_in(&mut self, knote: &kevent, _ready: u32, event: &mut kevent) -> bool {
        self.0.drain();
        let position = borrowed(number(knote)).stream_position().unwrap_or(0);
        event.data = metadata(number(knote)).map_or(0, |now| now.size() as i64 - position as i64);
        if event.data <= 0 {
            return false;
        }
        self.0.stay_ready(knote);
        true
    }

    fn is_same_file(&self, knote: &kevent) -> bool {
        self.0.is_same_file(number(knote))
    }
}
