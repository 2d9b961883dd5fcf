//! A thread's way from one call to the next.
//!
//! Invariant: each method leaves the thread stopped, or in a call, or ended; and its position says which.

use std::rc::Rc;
use std::time::Duration;

use observe::decode::Patience;
use observe::ptrace::{self, Place, Stop};
use observe::syscall::{self, Call, Kind};

use super::stops::Handled;
use super::{Position, Returned, Tracee};
use crate::engine::kqueue;
use crate::run::Error;

impl Tracee<'_> {
    /// Runs a thread to the entry of its next call.
    pub fn run_to_entry(&mut self, tid: i32) -> Result<(), Error> {
        self.resume(tid, 0)?;
        loop {
            let stop = self.stop_of(tid)?;
            match self.handle(tid, stop)? {
                Handled::Ended => return Ok(()),
                Handled::Resumed => continue,
                Handled::Syscall => {}
            }
            match ptrace::place(tid)? {
                // It is answered by the kernel at once, and the server goes on: for it, nothing has happened.
                Place::Entry(kqueue::ANNOUNCE, args) if self.keep => self.announced(tid, args),
                Place::Entry(number, args) => {
                    self.set_position(tid, Position::AtEntry(self.entered(tid, number, args)));
                    return Ok(());
                }
                Place::Exit(_) | Place::Elsewhere => {}
            }
            self.resume(tid, 0)?;
        }
    }

    /// A kqueue(2) or kevent(2) of the stand-in begins or ends.
    fn announced(&mut self, tid: i32, args: [u64; 6]) {
        let process = **self.process_of(tid);
        let located = || Rc::new(kqueue::without_the_announcement(&self.frames.locate(process, tid, "kevent")));
        self.kqueues.announced(process, tid, args, located);
    }

    fn entered(&self, tid: i32, number: i64, args: [u64; 6]) -> Call {
        let last_wait = self.thread(tid).and_then(|thread| thread.last_wait);
        match last_wait {
            Some(wait) if number == syscall::RESTART => wait,
            _ => Call::new(number, args),
        }
    }

    /// Makes the call that a thread stands before. `None` if the thread is in the call, or has ended. With `may_block` the
    /// thread is watched, whatever the call.
    pub fn make(&mut self, tid: i32, call: Call, may_block: bool) -> Result<Option<Returned>, Error> {
        if call.is_wait()
            && let Some(thread) = self.threads.iter_mut().find(|thread| thread.tid == tid)
        {
            thread.last_wait = Some(call);
        }
        self.has_ring |= call.kind == Kind::UringEnter;
        // What a wait would report can go between the look and the call: a file that another process still held open.
        let can_miss = call.is_wait() && self.patience(tid, &call) != Patience::None;
        let watched = may_block
            || can_miss
            || self.is_hidden(&call)
            || matches!(call.kind, Kind::UringEnter | Kind::Other)
            || self.may_block_inside(tid, &call);
        if call.number == libc::SYS_exit && self.is_first_of_several(tid) {
            return self.end_first_thread(tid).map(|()| None);
        }
        self.set_position(tid, Position::InCall(call));
        self.resume(tid, 0)?;
        if watched && self.is_still_in_call(tid)? {
            return Ok(None);
        }
        self.finish(tid)
    }

    /// Whether a thread is the first of its process, and others will go on without it.
    fn is_first_of_several(&self, tid: i32) -> bool {
        self.threads.iter().any(|thread| thread.process == tid && thread.tid != tid)
    }

    /// `main` ends with pthread_exit(3). The kernel reports the end of a first thread only when all others have ended, so
    /// that it is not waited for: it is gone once /proc shows it as a zombie.
    fn end_first_thread(&mut self, tid: i32) -> Result<(), Error> {
        self.resume(tid, 0)?;
        for _ in 0..100_000 {
            if matches!(self.process_of(tid).glance(tid).0, 'Z' | 'X') {
                self.threads.retain(|thread| thread.tid != tid);
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        Err(Error::Broken("the server's first thread was to end, and does not".into()))
    }

    /// Waits until the call that a thread is in returns.
    fn finish(&mut self, tid: i32) -> Result<Option<Returned>, Error> {
        let Some(Position::InCall(call)) = self.position(tid) else { return Ok(None) };
        loop {
            let stop = self.stop_of(tid)?;
            match self.handle(tid, stop)? {
                Handled::Ended => return Ok(None),
                Handled::Syscall => match ptrace::place(tid)? {
                    Place::Exit(value) => {
                        self.set_position(tid, Position::BetweenCalls);
                        return Ok(Some(Returned { tid, call, value }));
                    }
                    // An exec has made a new call of it, or the handler of a signal makes one.
                    Place::Entry(number, args) => {
                        self.set_position(tid, Position::AtEntry(self.entered(tid, number, args)));
                        return Ok(None);
                    }
                    Place::Elsewhere => self.resume(tid, 0)?,
                },
                // A vfork blocks until the child has called exec.
                Handled::Resumed if matches!(stop, Stop::Event(libc::PTRACE_EVENT_VFORK, _)) => return Ok(None),
                Handled::Resumed => {}
            }
        }
    }

    /// The calls that were blocked in the kernel and have returned.
    pub fn returned(&mut self) -> Result<Vec<Returned>, Error> {
        let mut returned = Vec::new();
        for tid in self.in_call() {
            if !self.is_still_in_call(tid)? {
                returned.extend(self.finish(tid)?);
            }
        }
        Ok(returned)
    }

    /// The threads that are in a call.
    pub fn in_call(&self) -> Vec<i32> {
        let in_call = self.threads.iter().filter(|thread| matches!(thread.position, Position::InCall(_)));
        in_call.map(|thread| thread.tid).collect()
    }

    /// Whether a thread is blocked in its call. If not, its stop is there, or about to be. A thread that has ended counts
    /// as blocked: nothing more comes from it.
    pub fn is_still_in_call(&mut self, tid: i32) -> Result<bool, Error> {
        let mut looks = 0;
        loop {
            self.fetch(false)?;
            let Some(thread) = self.thread(tid) else { return Ok(true) };
            if self.has_stop(tid) {
                return Ok(false);
            }
            let Position::InCall(call) = thread.position else { return Ok(false) };
            let (state, number) = self.process_of(tid).glance(tid);
            let in_call = number.is_some_and(|it| it == call.number || it == syscall::RESTART);
            if matches!(state, 'S' | 'D') && in_call {
                // Once more: it may have stopped between the two looks.
                self.fetch(false)?;
                return Ok(!self.has_stop(tid));
            }
            looks += 1;
            if looks > 100 {
                std::thread::sleep(Duration::from_micros(20));
            } else {
                std::thread::yield_now();
            }
            if looks > 200_000 {
                return Err(Error::Broken(format!("a thread of the server is in state {state} and does not stop")));
            }
        }
    }

    /// Passes over the call that a thread stands before; `give` has to follow.
    pub fn skip(&mut self, tid: i32) -> Result<(), Error> {
        ptrace::skip(tid)?;
        self.resume(tid, 0)?;
        self.expect_syscall_stop(tid)
    }

    /// What a skipped call returns.
    pub fn give(&mut self, tid: i32, call: &Call, value: i64) -> Result<(), Error> {
        ptrace::give(tid, call.number, value)?;
        self.set_position(tid, Position::BetweenCalls);
        Ok(())
    }
}
