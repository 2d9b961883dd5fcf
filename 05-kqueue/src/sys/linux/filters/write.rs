//! EVFILT_WRITE. The descriptor that Linux needs for it: the one you have, in another epoll.

use super::super::queues::is_kqueue;
use super::*;

pub const FILTER: Filter = Filter { number: EVFILT_WRITE, of_descriptor: true, notes: 0, implied: 0, open };

/// A socket, a pipe or whatever else epoll takes. It has no fields: each of many connections may have one.
struct Writable;

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    if is_kqueue(number(knote)) { Err(libc::EINVAL) } else { Ok(Box::new(Writable)) }
}

impl Source for Writable {
    fn watch(&self, knote: &kevent) -> Watch {
        Watch { epoll: Epoll::Writers, fd: number(knote), of_program: true, events: OUT }
    }

    fn fill_in(&mut self, knote: &kevent, ready: u32, event: &mut kevent) -> bool {
        let fd = number(knote);
        let (size, used) = match socket_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF) {
            Ok([size]) => (Some(size.into()), queued(fd, libc::TIOCOUTQ)),
            Err(_) => (pipe_size(fd), queued(fd, libc::FIONREAD)),
        };
        event.data = (size.unwrap_or(1) - used.unwrap_or(0)).max(1);
        if fill_in_end(ready, event) {
            return true;
        }
        if has_shut_down(fd) {
            event.flags |= EV_EOF;
        }
        // OUT with HUP is what epoll says of a socket that is not connected yet.
        ready & HUP == 0 && ready & (OUT | ERR) != 0
    }

    fn modify(&mut self, _knote: &kevent, _change: &kevent) -> Result<Modified> {
        Ok(Modified::InPlace)
    }

    fn instead(&self, knote: &kevent) -> Result<Box<dyn Source>> {
        Ok(Box::new(AlwaysReady::new(number(knote))?))
    }
}

/// Whether the program itself has ended what it sends on a TCP socket (SHUT_WR).
fn has_shut_down(fd: RawFd) -> bool {
    const FIN_WAIT1: u8 = 4;
    const FIN_WAIT2: u8 = 5;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;
    tcp_info::<1>(fd).is_some_and(|[state]| matches!(state as u8, FIN_WAIT1 | FIN_WAIT2 | LAST_ACK | CLOSING))
}
