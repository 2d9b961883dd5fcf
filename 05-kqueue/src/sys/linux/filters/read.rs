//! EVFILT_READ. The descriptor that Linux needs for it: the one you have.

use std::io::Seek;
use std::os::unix::fs::FileExt;

use super::super::queues::is_kqueue;
use super::vnode::WatchedFile;
use super::*;

pub const FILTER: Filter = Filter { number: EVFILT_READ, of_descriptor: true, notes: NOTE_LOWAT, implied: 0, open };

/// A socket, a pipe or whatever else epoll takes. It has no fields: each of many connections has one.
struct Readable;

/// A kqueue. The kernel lets only a few epolls watch each other in a row, so it is watched without an inner one.
struct ReadableKqueue;

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    Ok(if is_kqueue(number(knote)) { Box::new(ReadableKqueue) } else { Box::new(Readable) })
}

impl Source for Readable {
    fn watch(&self, knote: &kevent) -> Watch {
        Watch { epoll: Epoll::Readers, fd: number(knote), of_program: true, events: IN | RDHUP }
    }

    fn fill_in(&mut self, knote: &kevent, ready: u32, event: &mut kevent) -> bool {
        event.data = match queued(number(knote), libc::FIONREAD) {
            Some(bytes) => bytes,
            // FIONREAD fails on a listener. Its accept queue is the seventh word.
            None => tcp_info::<7>(number(knote)).map_or(1, |info| info[6].into()),
        };
        let is_enough = knote.fflags & NOTE_LOWAT == 0 || event.data >= knote.data;
        // HUP alone is what epoll says of a socket that is not connected yet.
        fill_in_end(ready, event) || is_enough && ready & (IN | ERR) != 0
    }

    fn modify(&mut self, _knote: &kevent, _change: &kevent) -> Result<Modified> {
        Ok(Modified::InPlace)
    }

    fn instead(&self, knote: &kevent) -> Result<Box<dyn Source>> {
        let kind = metadata(number(knote))?.file_type();
        if kind.is_file() || kind.is_dir() {
            return Ok(Box::new(ReadableFile(WatchedFile::open_ready(number(knote))?)));
        }
        Ok(Box::new(AlwaysReady::new(number(knote))?))
    }
}

impl Source for ReadableKqueue {
    fn watch(&self, knote: &kevent) -> Watch {
        Watch { epoll: Epoll::Outer, fd: number(knote), of_program: true, events: IN }
    }

    fn fill_in(&mut self, _knote: &kevent, _ready: u32, event: &mut kevent) -> bool {
        event.data = 1;
        true
    }

    fn modify(&mut self, _knote: &kevent, _change: &kevent) -> Result<Modified> {
        Ok(Modified::InPlace)
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
        let mut file = borrowed(number(knote));
        let position = file.stream_position().unwrap_or(0);
        event.data = match metadata(number(knote)).map_or(0, |now| now.size()) {
            // A file of /proc says that it is empty, and may have bytes all the same.
            0 => file.read_at(&mut [0], position).unwrap_or(0) as i64,
            size => size as i64 - position as i64,
        };
        if event.data <= 0 {
            return false;
        }
        self.0.stay_ready(knote);
        true
    }

    fn modify(&mut self, _knote: &kevent, _change: &kevent) -> Result<Modified> {
        self.0.rouse()?;
        Ok(Modified::InPlace)
    }

    fn is_same_file(&self, knote: &kevent) -> bool {
        self.0.is_same_file(number(knote))
    }
}
