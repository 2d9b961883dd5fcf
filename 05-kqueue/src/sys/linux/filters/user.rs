//! EVFILT_USER. The descriptor that Linux needs for it: an eventfd.

use std::os::fd::AsRawFd;

use super::*;

pub const FILTER: Filter = Filter { number: EVFILT_USER, of_descriptor: false, notes: !0, implied: 0, open };

struct User {
    eventfd: Made,
    /// What the program has stored, for the events.
    fflags: u32,
    data: i64,
}

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    let mut user = User { eventfd: Made::new(eventfd(0)?)?, fflags: 0, data: 0 };
    user.store(&kevent { fflags: knote.fflags | NOTE_FFCOPY, ..*knote });
    Ok(Box::new(user))
}

impl User {
    fn store(&mut self, change: &kevent) {
        let given = change.fflags & NOTE_FFLAGSMASK;
        self.fflags = match change.fflags & NOTE_FFCTRLMASK {
            NOTE_FFAND => self.fflags & given,
            NOTE_FFOR => self.fflags | given,
            NOTE_FFCOPY => given,
            _ => self.fflags,
        };
        self.data = change.data;
        if change.fflags & NOTE_TRIGGER != 0 {
            // A write fails only when the counter is full, and then the eventfd is ready in any case.
            ring(self.eventfd.as_raw_fd());
        }
    }
}

impl Source for User {
    fn watch(&self, _knote: &kevent) -> Watch {
        Watch::made(self.eventfd.as_raw_fd(), IN)
    }

    fn fill_in(&mut self, knote: &kevent, _ready: u32, event: &mut kevent) -> bool {
        (event.fflags, event.data) = (self.fflags, self.data);
        knote.flags & EV_CLEAR == 0 || self.eventfd.read_counter().is_some()
    }

    fn modify(&mut self, _knote: &kevent, change: &kevent) -> Result<Modified> {
        self.store(change);
        if change.flags & EV_CLEAR != 0 {
            let _ = self.eventfd.read_counter();
        }
        Ok(Modified::InPlace)
    }
}
