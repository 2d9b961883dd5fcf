//! Stops: how a thread is resumed, and what stopped it.
//!
//! Invariant: a stop is handed out once, to the thread that it belongs to; stops of other threads wait for their turn.

use observe::ptrace::{self, Stop};
use observe::{Process, errno};

use super::{End, Tracee};
use crate::run::Error;

/// What came of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It is the stop of a system call, which the caller has to look at.
    Syscall,
    /// The thread was resumed.
    Resumed,
    /// The thread has ended.
    Ended,
}

impl Tracee<'_> {
    pub fn resume(&self, tid: i32, signal: i32) -> Result<(), Error> {
        match ptrace::resume(tid, signal) {
            // Killed meanwhile: the wait reports its end.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Deals with any stop but that of a system call.
    pub fn handle(&mut self, tid: i32, stop: Stop) -> Result<Handled, Error> {
        let signal = match stop {
            Stop::Syscall => return Ok(Handled::Syscall),
            Stop::Exited(_) | Stop::Killed(_) => {
                self.ended(tid, stop);
                return Ok(Handled::Ended);
            }
            Stop::Event(event, message) => {
                self.event(tid, event, message)?;
                0
            }
            // An interruption by the explorer. And no terminal stops a server that is traced.
            Stop::Signal(libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => 0,
            Stop::Signal(signal) => signal,
        };
        self.resume(tid, signal)?;
        Ok(Handled::Resumed)
    }

    fn event(&mut self, tid: i32, event: i32, message: i32) -> Result<(), Error> {
        match event {
            libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => self.born(tid, message),
            libc::PTRACE_EVENT_EXEC => {
                if let Some(process) = self.thread(tid).map(|thread| thread.process) {
                    self.labels.forget(process);
                    self.kqueues.forget(process);
                    self.frames.forget(process);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn born(&mut self, parent: i32, tid: i32) -> Result<(), Error> {
        match self.stop_of(tid)? {
            Stop::Signal(_) | Stop::Event(..) => {}
            ended => {
                self.ended(tid, ended);
                return Ok(());
            }
        }
        let process = Process { pid: tid }.status().map_or(tid, |status| status.tgid);
        let of_parent = self.thread(parent).map_or(process, |thread| thread.process);
        if process != of_parent {
            self.labels.inherit(of_parent, process);
        }
        self.add_thread(tid, process)
    }

    fn ended(&mut self, tid: i32, stop: Stop) {
        self.threads.retain(|thread| thread.tid != tid);
        if tid == self.root {
            let how = match stop {
                Stop::Exited(code) => format!("exit code {code}"),
                Stop::Killed(signal) => errno::signal_name(signal),
                other => format!("{other:?}"),
            };
            self.end = Some(End { how, clean: stop == Stop::Exited(0), spun: self.watchdog.fired() });
        }
    }

    /// Takes the stops that are there; with `hang`, waits for the first.
    pub fn fetch(&mut self, hang: bool) -> Result<(), Error> {
        let mut hang = hang;
        loop {
            if hang {
                self.watchdog.watch(self.root);
            }
            let stop = ptrace::wait(hang);
            self.watchdog.rest();
            match stop {
                // Its first thread had ended before, and the last one has now.
                Ok(Some((tid, stop @ (Stop::Exited(_) | Stop::Killed(_))))) if self.is_end_of_a_headless(tid) => {
                    self.ended(tid, stop);
                }
                Ok(Some(stop)) => self.stops.push_back(stop),
                Ok(None) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) && !hang => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                    return Err(Error::Broken("the server is gone, and the kernel has not reported its end".into()));
                }
                Err(error) => return Err(error.into()),
            }
            hang = false;
        }
    }

    fn is_end_of_a_headless(&self, tid: i32) -> bool {
        tid == self.root && self.thread(tid).is_none()
    }

    /// The next stop of one thread. Ends of other threads are noted; their other stops wait for their turn.
    pub fn stop_of(&mut self, tid: i32) -> Result<Stop, Error> {
        loop {
            if let Some(at) = self.stops.iter().position(|(it, _)| *it == tid)
                && let Some((_, stop)) = self.stops.remove(at)
            {
                return Ok(stop);
            }
            let ended = |(tid, stop): &(i32, Stop)| {
                matches!(stop, Stop::Exited(_) | Stop::Killed(_)) && self.thread(*tid).is_some()
            };
            if let Some(at) = self.stops.iter().position(ended)
                && let Some((other, stop)) = self.stops.remove(at)
            {
                self.ended(other, stop);
                continue;
            }
            self.fetch(true)?;
        }
    }

    pub fn has_stop(&self, tid: i32) -> bool {
        self.stops.iter().any(|(it, _)| *it == tid)
    }

    pub fn expect_syscall_stop(&mut self, tid: i32) -> Result<(), Error> {
        match self.stop_of(tid)? {
            Stop::Syscall => Ok(()),
            other => Err(Error::Broken(format!("a skipped call ended with {other:?}"))),
        }
    }
}
