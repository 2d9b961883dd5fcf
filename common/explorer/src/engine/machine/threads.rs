//! Threads and their calls: born, let in, taken note of, ended.
//!
//! Invariant: a thread is resumed only here and only by itself, and its state says where it is stopped or sleeps.

use super::*;

impl Machine<'_> {
    pub(super) fn set_state(&mut self, tid: i32, state: State) {
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.state = state;
            thread.arrived = false;
        }
    }

    pub(super) fn resume(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        match ptrace::resume(tid, signal) {
            // Killed meanwhile: its end is reported by the wait.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Runs a thread up to the entry of its next call.
    pub(super) fn run_to_entry(&mut self, tid: i32) -> Result<(), Error> {
        let signal = self.by_tid.get_mut(&tid).map_or(0, |thread| std::mem::take(&mut thread.signal));
        self.resume(tid, signal)?;
        loop {
            let stop = self.stop_of(tid)?;
            if self.handle(tid, stop)? {
                return Ok(());
            }
            if stop == Stop::Syscall {
                if let Place::Entry(number, args) = ptrace::place(tid)? {
                    let call = self.pending(tid, number, args);
                    self.set_state(tid, State::Entry(call));
                    return Ok(());
                }
                self.resume(tid, 0)?;
            }
        }
    }

    pub(super) fn pending(&self, tid: i32, number: i64, args: [u64; 6]) -> Pending {
        if number == syscall::RESTART
            && let Some(wait) = self.by_tid[&tid].last_wait
        {
            return wait;
        }
        Pending::new(number, args)
    }

    /// Makes a call that is ready to be made.
    pub(super) fn make(&mut self, tid: i32, call: Pending) -> Result<(), Error> {
        self.enter(tid, call, false)
    }

    /// Lets a thread into its call, and takes note of its end, or that it sleeps.
    pub(super) fn enter(&mut self, tid: i32, call: Pending, may_sleep: bool) -> Result<(), Error> {
        if call.kind.is_wait()
            && let Some(thread) = self.by_tid.get_mut(&tid)
        {
            thread.last_wait = Some(call);
        }
        let unseen = self.signalfd && call.kind == Kind::EpollWait;
        // News can go between the look and the call: a file that somebody else still held is gone.
        let stale = call.kind.is_wait() && self.patience(tid, &call) != Patience::None;
        let watched = may_sleep
            || unseen
            || stale
            || matches!(call.kind, Kind::UringEnter | Kind::Other)
            || self.may_sleep_inside(tid, &call);
        self.set_state(tid, State::Asleep(call));
        self.resume(tid, 0)?;
        if watched && self.sleeps_on(tid)? {
            // It sleeps, or it has ended.
            return Ok(());
        }
        self.finish_call(tid)
    }

    /// A write to a blocking socket may take some bytes and then wait for room.
    pub(super) fn may_sleep_inside(&self, tid: i32, call: &Pending) -> bool {
        call.kind == Kind::Write && {
            let fd = self.processes[&self.by_tid[&tid].process].borrow(call.args[0] as RawFd);
            fd.is_some_and(|fd| handle::is_blocking(&fd))
        }
    }

    /// Waits for the end of the call that a thread is in.
    pub(super) fn finish_call(&mut self, tid: i32) -> Result<(), Error> {
        let State::Asleep(call) = self.by_tid[&tid].state else { return Ok(()) };
        loop {
            let stop = self.stop_of(tid)?;
            if self.handle(tid, stop)? {
                return Ok(());
            }
            if stop == Stop::Syscall {
                match ptrace::place(tid)? {
                    Place::Exit(value) => {
                        self.set_state(tid, State::Free);
                        self.after_call(tid, &call, value)?;
                        return Ok(());
                    }
                    // An exec has made a new call of it, or a signal's handler makes one.
                    Place::Entry(number, args) => {
                        let call = self.pending(tid, number, args);
                        self.set_state(tid, State::Entry(call));
                        return Ok(());
                    }
                    Place::Elsewhere => self.resume(tid, 0)?,
                }
            }
            if let Stop::Event(libc::PTRACE_EVENT_VFORK, _) = stop {
                // It sleeps until its child has called exec.
                return Ok(());
            }
        }
    }

    /// A stop that is not the one of a system call; whether the thread has ended or is busy for now.
    pub(super) fn handle(&mut self, tid: i32, stop: Stop) -> Result<bool, Error> {
        match stop {
            Stop::Syscall => Ok(false),
            Stop::Exited(_) | Stop::Killed(_) => {
                self.ended(tid, stop);
                Ok(true)
            }
            Stop::Event(event, message) => {
                match event {
                    libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                        self.new_thread(tid, message)?
                    }
                    libc::PTRACE_EVENT_EXEC => {
                        let process = self.by_tid[&tid].process;
                        self.labels.retain(|(it, _), _| *it != process);
                    }
                    _ => {}
                }
                self.resume(tid, 0)?;
                Ok(false)
            }
            // Our own interruption; and a server that is traced is not to be stopped by a terminal either.
            Stop::Signal(libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => {
                self.resume(tid, 0)?;
                Ok(false)
            }
            Stop::Signal(signal) => {
                self.resume(tid, signal)?;
                Ok(false)
            }
        }
    }

    pub(super) fn new_thread(&mut self, parent: i32, tid: i32) -> Result<(), Error> {
        match self.stop_of(tid)? {
            Stop::Signal(_) | Stop::Event(..) => {}
            ended => {
                self.ended(tid, ended);
                return Ok(());
            }
        }
        let process = Process { pid: tid }.status().map_or(tid, |status| status.tgid);
        if process != self.by_tid[&parent].process {
            let copied: Vec<_> = self
                .labels
                .iter()
                .filter(|((it, _), _)| *it == self.by_tid[&parent].process)
                .map(|((_, fd), label)| ((process, *fd), *label))
                .collect();
            self.labels.extend(copied);
        }
        self.add_thread(tid, process)
    }

    pub(super) fn ended(&mut self, tid: i32, stop: Stop) {
        if let Some(thread) = self.by_tid.remove(&tid) {
            self.threads.remove(&thread.index);
        }
        if tid == self.root {
            self.clean_exit = stop == Stop::Exited(0);
            self.exit = Some(match stop {
                Stop::Exited(code) => format!("exit code {code}"),
                Stop::Killed(signal) => errno::signal_name(signal),
                other => format!("{other:?}"),
            });
        }
        if self.current == Some(tid) {
            self.current = None;
        }
    }

    /// Takes all stops that are there, or waits for one.
    pub(super) fn fetch(&mut self, hang: bool) -> Result<(), Error> {
        let mut hang = hang;
        loop {
            if hang {
                self.watchdog.watch(self.root);
            }
            let stop = ptrace::wait(hang);
            self.watchdog.rest();
            match stop {
                Ok(Some((tid, stop))) => self.stops.push_back((tid, stop)),
                Ok(None) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                    if hang {
                        return Err(Error::Broken("the server is gone without a word".into()));
                    }
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            hang = false;
        }
    }

    /// The next stop of one thread. Others' ends are taken note of; other stops wait for their turn.
    pub(super) fn stop_of(&mut self, tid: i32) -> Result<Stop, Error> {
        loop {
            if let Some(at) = self.stops.iter().position(|(it, _)| *it == tid)
                && let Some((_, stop)) = self.stops.remove(at)
            {
                self.spun |= self.watchdog.fired();
                return Ok(stop);
            }
            if let Some(at) = self.stops.iter().position(|(it, stop)| {
                matches!(stop, Stop::Exited(_) | Stop::Killed(_)) && self.by_tid.contains_key(it)
            }) && let Some((other, stop)) = self.stops.remove(at)
            {
                self.ended(other, stop);
                continue;
            }
            self.fetch(true)?;
        }
    }

    pub(super) fn expect_syscall_stop(&mut self, tid: i32) -> Result<(), Error> {
        match self.stop_of(tid)? {
            Stop::Syscall => Ok(()),
            other => Err(Error::Broken(format!("a skipped call ended with {other:?}"))),
        }
    }
}
