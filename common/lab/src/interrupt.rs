//! Ctrl-C and SIGTERM: the lab ends at once and leaves nothing running.
//!
//! Invariant: when the process ends after a signal, no build, no server and no descendant of a server is left. A server leads a
//! process group of its own, so the terminal's Ctrl-C does not reach it. The harness's mark in the environment finds
//! the server and its descendants.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use observe::start::started_by;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{LabError, exit_code};
use crate::{cargo, terminal};

/// How long checks get to notice that their servers are gone.
const GRACE: Duration = Duration::from_millis(800);

/// Whether a signal has asked the lab to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicI32>,
}

impl Interrupt {
    /// From now on, SIGINT, SIGTERM and SIGHUP are handled here.
    pub fn watch() -> Result<Self, LabError> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| LabError::failed(format!("cannot handle Ctrl-C: {error}")))?;
        let seen = interrupt.clone();
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                seen.end(signal);
            }
        });
        Ok(interrupt)
    }

    /// The flag that stops a run.
    pub fn flag(&self) -> &AtomicBool {
        &self.stop
    }

    /// An error if a signal has come.
    pub fn check(&self) -> Result<(), LabError> {
        if self.stop.load(Ordering::Acquire) {
            return Err(LabError::interrupted(self.signal.load(Ordering::Relaxed)));
        }
        Ok(())
    }

    /// Kills all servers, so that the main thread's checks fail and it ends the process. If it does not, this does.
    fn end(&self, signal: i32) {
        self.signal.store(signal, Ordering::Relaxed);
        self.stop.store(true, Ordering::Release);
        let end = Instant::now() + GRACE;
        // Repeated, because a check that has not ended may start one more server.
        while Instant::now() < end {
            cargo::end_builds();
            kill_servers();
            std::thread::sleep(Duration::from_millis(10));
        }
        cargo::end_builds();
        kill_servers();
        // Those that have left the mark behind with their environment.
        harness::end_orphans();
        if let Some(last) = AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner).take() {
            last();
        }
        let error = LabError::interrupted(signal);
        // A new line first: a progress bar may stand in the last line.
        terminal::complain(&format!("\n{error}"));
        std::process::exit(exit_code(signal).into());
    }
}

/// To be called before a signal ends the process.
static AT_EXIT: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Has `last` called before a signal ends the process, in place of an earlier `last`.
pub fn at_exit(last: impl FnOnce() + Send + 'static) {
    *AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(last));
}

/// Kills every server that this process has started, with its descendants.
pub fn kill_servers() {
    for pid in started_by(std::process::id()).unwrap_or_default() {
        if let Some(pid) = Pid::from_raw(pid) {
            // An error means that it is gone already.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_signal_there_is_nothing_to_report() {
        assert!(Interrupt::default().check().is_ok());
    }

    #[test]
    fn a_signal_is_reported_with_a_shells_exit_code() {
        let interrupt = Interrupt::default();
        interrupt.signal.store(SIGTERM, Ordering::Relaxed);
        interrupt.stop.store(true, Ordering::Release);
        assert_eq!(interrupt.check().unwrap_err().code, 143);
    }
}
