//! EVFILT_WRITE. The descriptor that Linux needs for it: the one you have, in another epoll.

use super::vnode::WatchedFile;
use super::*;

pub const FILTER: Filter = Filter { number: EVFILT_WRITE, of_descriptor: true, notes: 0, implied: 0, open };

/// A socket, a pipe or whatever else epoll takes. It has no fields: each of many connections may have one.
struct Writable;

fn open(_knote: &kevent) -> Result<Box<dyn Source>> {
    Ok(Box::new(Writable))
}

impl Source for Writable {
    fn watch(&self, knote: &kevent) -> Watch {
        Watch { epoll: Epoll::Writers, fd: number(knote), events: OUT | trigger(knote) }
    }

    fn fill_in(&mut self, knote: &kevent, ready: u32, event: &mut kevent) -> bool {
        let fd = number(knote);
        let (size, used) = match socket_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF) {
            Ok([size]) => (Some(size.into()), queued(fd, libc::TIOCOUTQ)),
            Err(_) => (pipe_size(fd), queued(fd, libc::FIONREAD)),
        };
        event.data = (size.unwrap_or(1) - used.unwrap_or(0)).max(1);
        fill_in_end(ready, event);
        true
    }

    fn instead(&self, knote: &kevent) -> Result<Box<dyn Source>> {
        Ok(Box::new(WritableFile(WatchedFile::open_ready(number(knote))?)))
    }
}

/// A regular file, which can always be written to.
struct WritableFile(WatchedFile);

impl Source for WritableFile {
    fn watch(&self, _knote: &kevent) -> Watch {
        self.0.watch()
    }

    fn fill_in(&mut self, knote: &kevent, _ready: u32, _event: &mut kevent) -> bool {
        self.0.drain();
        self.0.stay_ready(knote);
        true
    }

    fn is_same_file(&self, knote: &kevent) -> bool {
        self.0.is_same_file(number(knote))
    }
}
