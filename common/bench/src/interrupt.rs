//! Ctrl-C and SIGTERM: what was finished is written, and no server is left.
//!
//! Invariant: after a signal, the process ends within [`PATIENCE`], and everything that it started has ended before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long an experiment gets to notice.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a signal has asked for the end, and which.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    /// The flag that every session looks at.
    pub stop: Arc<AtomicBool>,
    signal: Arc<AtomicI32>,
}

impl Interrupt {
    /// From now on, SIGINT, SIGTERM and SIGHUP are handled here. If the main thread has not ended the process in time,
    /// `last` is called, and this ends it.
    ///
    /// # Errors
    /// If the signals cannot be handled.
    pub fn watch(last: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let seen = interrupt.clone();
        std::thread::spawn(move || {
            let Some(signal) = signals.forever().next() else { return };
            seen.signal.store(signal, Ordering::Relaxed);
            seen.stop.store(true, Ordering::Release);
            let end = Instant::now() + PATIENCE;
            // Repeated, because an experiment that has not noticed yet may start one more server. Without its server, it
            // fails soon.
            while Instant::now() < end {
                kill_servers();
                std::thread::sleep(Duration::from_millis(20));
            }
            last();
            kill_servers();
            std::process::exit(128 + signal);
        });
        Ok(interrupt)
    }

    /// The signal that has come, if one has.
    pub fn signal(&self) -> Option<i32> {
        self.stop.load(Ordering::Acquire).then(|| self.signal.load(Ordering::Relaxed))
    }
}

/// Kills every server that this process has started, with its descendants.
pub fn kill_servers() {
    for pid in observe::start::started_by(std::process::id()).unwrap_or_default() {
        if let Some(pid) = Pid::from_raw(pid) {
            // An error means that it is gone already.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
