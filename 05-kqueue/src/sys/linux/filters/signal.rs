//! EVFILT_SIGNAL. The descriptor that Linux needs for it: a signalfd, with the signal blocked, or its action comes
//! first.
//!
//! On BSD both happen, the action and the event. A program for both systems sets SIG_IGN, which does not keep a blocked
//! signal from a signalfd.

use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

use libc::signalfd_siginfo;

use super::*;

pub const FILTER: Filter = Filter { number: EVFILT_SIGNAL, of_descriptor: false, notes: 0, implied: EV_CLEAR, open };

struct Signal {
    signalfd: File,
    /// The signal was not blocked before.
    blocked_here: bool,
}

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    let signal = c_int::try_from(knote.ident).or(Err(libc::EINVAL))?;
    if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
        return Err(libc::EINVAL);
    }
    let signalfd = signalfd(signal)?;
    Ok(Box::new(Signal { signalfd, blocked_here: !signal_mask(libc::SIG_BLOCK, signal)? }))
}

impl Source for Signal {
    fn watch(&self, _knote: &kevent) -> Watch {
        Watch { epoll: Epoll::Outer, fd: self.signalfd.as_raw_fd(), events: IN }
    }

    fn fill_in(&mut self, _knote: &kevent, _ready: u32, event: &mut kevent) -> bool {
        const SIZE: usize = size_of::<signalfd_siginfo>();
        let mut infos = [0; 8 * SIZE];
        while let Ok(length) = self.signalfd.read(&mut infos) {
            event.data += (length / SIZE) as i64;
        }
        event.data > 0
    }

    fn modify(&mut self, _knote: &kevent, _change: &kevent) -> Result<Modified> {
        Ok(Modified::InPlace)
    }

    fn close(&mut self, knote: &kevent, _registered: bool) {
        if self.blocked_here {
            let _ = signal_mask(libc::SIG_UNBLOCK, number(knote));
        }
    }
}
