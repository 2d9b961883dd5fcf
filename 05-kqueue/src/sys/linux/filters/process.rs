//! EVFILT_PROC. The descriptor that Linux needs for it: a pidfd, which is readable once the process has ended.

use std::ffi::c_int;
use std::os::fd::AsRawFd;

use super::*;

pub const FILTER: Filter =
    Filter { number: EVFILT_PROC, of_descriptor: false, notes: NOTE_EXIT, implied: EV_CLEAR | EV_ONESHOT, open };

struct Process {
    pidfd: Made,
}

fn open(knote: &kevent) -> Result<Box<dyn Source>> {
    let pidfd = Made::new(pidfd(c_int::try_from(knote.ident).or(Err(libc::ESRCH))?)?)?;
    // Only its parent is told the status of a process.
    exit_status(&pidfd).map_err(|e| if e == libc::ECHILD { libc::ENOTSUP } else { e })?;
    Ok(Box::new(Process { pidfd }))
}

impl Source for Process {
    fn watch(&self, knote: &kevent) -> Watch {
        let events = if knote.fflags & NOTE_EXIT != 0 { IN } else { SILENT };
        Watch::made(self.pidfd.as_raw_fd(), events)
    }

    fn fill_in(&mut self, knote: &kevent, _ready: u32, event: &mut kevent) -> bool {
        if knote.fflags & NOTE_EXIT == 0 {
            return false;
        }
        let status = match exit_status(&self.pidfd) {
            Ok(None) => return false,
            Ok(Some(status)) => status,
            // Somebody has reaped it.
            Err(_) => 0,
        };
        event.flags |= EV_EOF;
        (event.fflags, event.data) = (NOTE_EXIT, status.into());
        true
    }
}
