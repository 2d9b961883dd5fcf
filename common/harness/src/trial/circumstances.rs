//! What a check does to the server's circumstances: stops, and limits of file descriptors.
//!
//! Invariant: what is done to a server can happen to any program, and the server is told nothing that is not so.

use std::time::Instant;

use observe::Thread;
use rustix::process::Signal;

use super::{SOON, Trial};
use crate::failure::{Step, Stop};
use std::time::Duration;

impl Trial<'_> {
    /// Stops the server (SIGSTOP), so that all that follows falls into one wait.
    pub fn freeze(&mut self) -> Step {
        self.process()?;
        // Asleep first: a server that is stopped on its way to the wait would meet the events one by one.
        // One that spins is stopped anyhow.
        self.comes_to_rest(Duration::from_millis(5))?;
        self.stop()
    }

    /// Stops the server (SIGSTOP) wherever it is.
    pub(crate) fn stop(&mut self) -> Step {
        let process = self.process()?;
        self.log.step("the server is stopped (SIGSTOP)");
        self.server()?.signal_all(Signal::STOP)?;
        self.frozen = true;
        let end = Instant::now() + SOON;
        while let Some(threads) = process.threads() {
            if !threads.is_empty() && threads.iter().all(Thread::is_stopped) {
                return Ok(());
            }
            // `finish` says how it ended.
            if Instant::now() > end || threads.iter().all(Thread::has_ended) {
                return Err(Stop::Broken("the server could not be stopped with SIGSTOP".into()));
            }
            std::thread::yield_now();
        }
        // Nothing to see: the signal is delivered before the server runs again, which is all that is needed.
        Ok(())
    }

    /// Lets the server go on (SIGCONT).
    pub fn thaw(&mut self) -> Step {
        self.log.step("the server goes on (SIGCONT)");
        self.frozen = false;
        self.server()?.signal_all(Signal::CONT)
    }

    /// Lets the server open `room` more descriptors and no more (prlimit(2) on its processes).
    pub fn leave_room(&mut self, room: usize) -> Step {
        self.process()?;
        self.log.step(format!("the server's limit of descriptors is lowered: room for {room} more"));
        self.server()?.leave_room(room)
    }

    /// Sets the server's limit of descriptors to the highest there is.
    pub fn lift_limit(&mut self) -> Step {
        self.process()?;
        self.log.step("the server's limit of descriptors is raised");
        self.server()?.lift_limit()
    }

    /// The soft limit of descriptors of the process that serves; `None` where it cannot be seen.
    pub fn descriptor_limit(&mut self) -> Step<Option<u64>> {
        #[cfg(target_os = "linux")]
        return Ok(observe::Process { pid: self.process()?.pid }.fd_limit());
        #[cfg(not(target_os = "linux"))]
        return Ok(None);
    }
}
