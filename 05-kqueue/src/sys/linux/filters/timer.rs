//! EVFILT_TIMER. The descriptor that Linux needs for it: a timerfd, which counts how often it has expired, as `data`
//! does.

use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;

pub const FILTER: Filter = Filter {
    number: EVFILT_TIMER,
    of_descriptor: false,
    notes: NOTE_SECONDS | NOTE_USECONDS | NOTE_NSECONDS | NOTE_ABSOLUTE,
    implied: EV_CLEAR,
    open,
};

struct Timer {
    timerfd: Made,
}

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    let first = period(knote)?;
    let absolute = knote.fflags & NOTE_ABSOLUTE != 0;
    let again = if absolute || knote.flags & EV_ONESHOT != 0 { Duration::ZERO } else { first };
    Ok(Box::new(Timer { timerfd: Made::new(timerfd(absolute, first, again)?)? }))
}

fn period(knote: &kevent) -> Result<Duration> {
    // A timerfd takes zero for "off".
    let amount = u64::try_from(knote.data).or(Err(libc::EINVAL))?.max(1);
    match knote.fflags & !NOTE_ABSOLUTE {
        NOTE_SECONDS => Ok(Duration::from_secs(amount)),
        NOTE_MSECONDS => Ok(Duration::from_millis(amount)),
        NOTE_USECONDS => Ok(Duration::from_micros(amount)),
        NOTE_NSECONDS => Ok(Duration::from_nanos(amount)),
        _ => Err(libc::EINVAL),
    }
}

impl Source for Timer {
    fn watch(&self, _knote: &kevent) -> Watch {
        Watch::made(self.timerfd.as_raw_fd(), IN)
    }

    fn fill_in(&mut self, _knote: &kevent, _ready: u32, event: &mut kevent) -> bool {
        let Some(expired) = self.timerfd.read_counter() else { return false };
        event.data = expired as i64;
        true
    }
}
