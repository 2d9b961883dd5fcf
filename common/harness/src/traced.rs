//! A server that is traced (ptrace(2)), from one system call to the next.
//!
//! Invariant: the server runs its own code only, in its own order. Tracing changes when its calls are made, and not which.

use std::io::{Error, Result};
use std::time::Duration;

use observe::ptrace;

use crate::failure::{Stop, Symptom};

/// A traced thread; let go when this is dropped.
pub struct Traced {
    pid: i32,
    deadline: Duration,
}

impl Traced {
    /// Traces a thread (that of a process's own number is its first), and stops it. No call may take longer than `deadline`.
    pub fn seize(pid: i32, deadline: Duration) -> std::result::Result<Self, Stop> {
        match ptrace::seize(pid, deadline) {
            Ok(()) => Ok(Self { pid, deadline }),
            Err(error) => Err(match tracer_of(pid) {
                // A thread of this process: the failed check is being run again, and its calls are followed.
                Some(tracer) if std::path::Path::new(&format!("/proc/self/task/{tracer}")).exists() => {
                    Stop::skip("this check follows the server's calls itself, and only one tracer can".to_owned())
                }
                Some(tracer) => Stop::fail(
                    Symptom::Contract,
                    format!("process {tracer} traces the server, so that the harness cannot see its calls"),
                    "Only one process can trace another: a server that is traced by its own child hides what it does.",
                ),
                None => Stop::skip(format!("this machine does not let the harness trace a child ({error})")),
            }),
        }
    }

    /// Lets it go on to where it enters or leaves its next system call.
    pub fn next_syscall(&self) -> Result<()> {
        let mut signal = 0;
        loop {
            match self.next_stop(signal)? {
                ptrace::Stop::Syscall => return Ok(()),
                ptrace::Stop::Signal(other) => signal = other,
                // A stop of the tracer's own is no signal to be passed on.
                _ => signal = 0,
            }
        }
    }

    /// Lets it go on, with a signal if that is not 0, to where it stops next.
    pub fn next_stop(&self, signal: i32) -> Result<ptrace::Stop> {
        self.resume(signal)?;
        self.stopped()
    }

    /// Lets it go on, with a signal if that is not 0.
    pub fn resume(&self, signal: i32) -> Result<()> {
        ptrace::resume(self.pid, signal)
    }

    /// Waits for its next stop.
    pub fn stopped(&self) -> Result<ptrace::Stop> {
        match ptrace::wait_for(self.pid, self.deadline)? {
            ptrace::Stop::Exited(_) | ptrace::Stop::Killed(_) => Err(Error::other("the traced server has ended")),
            stop => Ok(stop),
        }
    }
}

/// The process that traces this one already.
fn tracer_of(pid: i32) -> Option<i32> {
    observe::Process { pid }.status().map(|status| status.tracerpid).filter(|tracer| *tracer != 0)
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Where it was let go already, or has ended, this fails and means nothing.
        if ptrace::let_go(self.pid, 0).is_err() {
            // It is asleep in a call: only a thread that is stopped can be let go.
            let _ = ptrace::stop(self.pid, self.deadline).and_then(|()| ptrace::let_go(self.pid, 0));
        }
    }
}
