//! The server: its processes, its threads and the calls that they make, under ptrace(2).
//!
//! Invariant: a thread runs only inside a method of this type, and at most one runs. Its position says where it stopped,
//! or which call it is in. A thread is let into a call only when that call will not block, as far as that can be seen;
//! where it cannot be seen (`io_uring_enter`, `futex`), the thread blocks in the kernel and is watched in /proc. Whatever
//! happens, the server ends with this value.

mod blocking;
mod calls;
mod labels;
mod start;
mod stops;

use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::rc::Rc;

use observe::ptrace::{self, Stop};
use observe::syscall::Call;
use observe::text::shown;
use observe::{Handle, Process};

use self::labels::Labels;
use super::frames::{Frames, Located};
use super::kqueue::Kqueues;
use super::ring::Rings;
use super::watchdog::Watchdog;
use crate::record::Found;
use crate::run::Error;
use crate::script::Signal;

/// Where a thread is.
#[derive(Debug, Clone, Copy)]
pub enum Position {
    /// Stopped, and the server's own code comes next.
    BetweenCalls,
    /// Stopped at the entry of a call that is not made yet.
    AtEntry(Call),
    /// The kernel has not returned from this call.
    InCall(Call),
}

#[derive(Debug)]
pub struct Thread {
    pub tid: i32,
    /// Counted from 0 in the order of birth.
    pub index: usize,
    pub process: i32,
    pub position: Position,
    /// The wait that `restart_syscall` goes on with.
    last_wait: Option<Call>,
    /// Another thread went first at this entry.
    passed_over: bool,
    /// Where in the source it stands, or stood when it went into its call; if that was asked.
    located: OnceCell<Rc<Located>>,
}

/// A call that has returned.
#[derive(Debug, Clone, Copy)]
pub struct Returned {
    pub tid: i32,
    pub call: Call,
    /// Negative for an error.
    pub value: i64,
}

/// How the server ended.
#[derive(Debug, Clone)]
pub struct End {
    /// `exit code 1`.
    pub how: String,
    /// With exit code 0.
    pub clean: bool,
    /// The watchdog ended it.
    pub spun: bool,
}

pub struct Tracee<'a> {
    watchdog: &'a Watchdog,
    /// The process that was started.
    root: i32,
    /// Oldest first.
    threads: Vec<Thread>,
    born: usize,
    processes: HashMap<i32, Handle>,
    labels: Labels,
    stops: VecDeque<(i32, Stop)>,
    end: Option<End>,
    output: File,
    /// The script's signal was sent.
    pub signalled: bool,
    /// It had a signalfd then.
    has_signalfd: bool,
    /// It has called `io_uring_enter`.
    has_ring: bool,
    /// Events are kept: what follows is looked up.
    keep: bool,
    frames: Frames,
    pub kqueues: Kqueues,
    pub rings: Rings,
}

impl Tracee<'_> {
    fn add_thread(&mut self, tid: i32, process: i32) -> Result<(), Error> {
        if let Entry::Vacant(vacant) = self.processes.entry(process) {
            vacant.insert(Handle::open(process)?);
        }
        let index = self.born;
        self.born += 1;
        let position = Position::BetweenCalls;
        let located = OnceCell::new();
        self.threads.push(Thread { tid, index, process, position, last_wait: None, passed_over: false, located });
        Ok(())
    }

    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    pub fn tids(&self) -> Vec<i32> {
        self.threads.iter().map(|thread| thread.tid).collect()
    }

    pub fn thread(&self, tid: i32) -> Option<&Thread> {
        self.threads.iter().find(|thread| thread.tid == tid)
    }

    pub fn position(&self, tid: i32) -> Option<Position> {
        self.thread(tid).map(|thread| thread.position)
    }

    pub fn index(&self, tid: i32) -> usize {
        self.thread(tid).map_or(0, |thread| thread.index)
    }

    /// The threads that are stopped at the entry of a call, and the calls.
    pub fn at_entry(&self) -> Vec<(i32, Call)> {
        let entry = |thread: &Thread| match thread.position {
            Position::AtEntry(call) => Some((thread.tid, call)),
            _ => None,
        };
        self.threads.iter().filter_map(entry).collect()
    }

    fn set_position(&mut self, tid: i32, position: Position) {
        if let Some(thread) = self.threads.iter_mut().find(|thread| thread.tid == tid) {
            thread.position = position;
            thread.passed_over = false;
            if matches!(position, Position::AtEntry(_)) {
                thread.located = OnceCell::new();
            }
        }
    }

    /// Where in the source a thread is: at its call, or behind it. Of a thread that is in a call, what was known before.
    pub fn located(&self, tid: i32) -> Rc<Located> {
        let Some(thread) = self.thread(tid).filter(|_| self.keep) else { return Rc::default() };
        let call = match thread.position {
            Position::AtEntry(call) => call.name,
            Position::BetweenCalls => "",
            Position::InCall(_) => return thread.located.get().cloned().unwrap_or_default(),
        };
        let locate = || self.frames.locate(**self.process_of(tid), tid, call);
        Rc::clone(thread.located.get_or_init(locate))
    }

    /// The lesson's files that calls were made in, or why there are none.
    pub fn found(&self) -> Found {
        Found { sources: self.frames.sources(), no_frames: self.frames.nothing() }
    }

    /// Another thread goes first.
    pub fn pass_over(&mut self, tid: i32) {
        if let Some(thread) = self.threads.iter_mut().find(|thread| thread.tid == tid) {
            thread.passed_over = true;
        }
    }

    pub fn was_passed_over(&self, tid: i32) -> bool {
        self.thread(tid).is_some_and(|thread| thread.passed_over)
    }

    pub fn pid(&self) -> i32 {
        self.root
    }

    pub fn root(&self) -> &Handle {
        &self.processes[&self.root]
    }

    pub fn process(&self, pid: i32) -> Option<&Handle> {
        self.processes.get(&pid)
    }

    /// The process of a thread that has not ended.
    pub fn process_of(&self, tid: i32) -> &Handle {
        let process = self.thread(tid).map_or(self.root, |thread| thread.process);
        &self.processes[&process]
    }

    pub fn has_ring(&self) -> bool {
        self.has_ring
    }

    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether a timerfd of the server will go off.
    pub fn has_armed_timer(&self) -> bool {
        self.processes.values().any(|process| process.has_armed_timer())
    }

    /// Whether a new file descriptor would be over the limit.
    pub fn has_no_fd_left(&self) -> bool {
        let root = self.root();
        root.fd_limit().is_some_and(|limit| root.first_free_fd() as u64 >= limit)
    }

    /// The last line of its output, but for the one that says where it listens; it may be long, and full of escapes.
    pub fn last_words(&mut self) -> String {
        const END: u64 = 8 * 1024;
        const LINE: usize = 160;
        let mut text = Vec::new();
        let start = self.output.metadata().map_or(0, |file| file.len().saturating_sub(END));
        let _ = self.output.seek(SeekFrom::Start(start)).and_then(|_| self.output.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        match text.lines().rfind(|line| !line.starts_with("listening on ") && !line.trim().is_empty()) {
            Some(line) => format!("; its last words: {}", shown(line.trim(), LINE)),
            None => String::new(),
        }
    }

    /// The address in its line `listening on ADDRESS`, as soon as that line is there.
    pub fn said_address(&mut self) -> Option<SocketAddr> {
        let mut text = Vec::new();
        self.output.rewind().and_then(|()| self.output.read_to_end(&mut text)).ok()?;
        let text = String::from_utf8_lossy(&text);
        text.lines().find_map(|line| line.strip_prefix("listening on "))?.trim().parse().ok()
    }

    /// From here on the server is expected to end: its signal comes.
    pub fn expect_signal(&mut self) {
        self.signalled = true;
        let has = |process: &Handle| {
            let fds = process.fds().unwrap_or_default();
            fds.into_iter().any(|fd| process.link(fd).contains("[signalfd]"))
        };
        self.has_signalfd = self.processes.values().any(has);
    }

    pub fn send_signal(&self, signal: Signal) {
        // SAFETY: kill takes numbers only. The root was not waited for to its end, so the id is still the server's; if it
        // was, `end` is set and the run is over.
        unsafe { libc::kill(self.root, number(signal)) };
    }

    fn signal_thread(&self, thread: &Thread, signal: i32) {
        // SAFETY: tgkill takes numbers only. The thread is traced and was not reported as ended, so its id is not reused.
        unsafe { libc::syscall(libc::SYS_tgkill, thread.process, thread.tid, signal) };
    }

    /// Stops every thread, so that a wait that it is in or enters next is interrupted.
    pub fn interrupt(&self) {
        for thread in &self.threads {
            self.signal_thread(thread, libc::SIGSTOP);
        }
    }

    /// Runs the signal's handler in this thread before the call that it is about to make; whether there is a handler
    /// that can run now. If not, nothing was done.
    pub fn handle_signal_before(&mut self, tid: i32, call: &Call, signal: Signal) -> Result<bool, Error> {
        let bit = 1 << (number(signal) - 1);
        let blocked = ptrace::blocked_signals(tid)? & bit != 0;
        let caught = Process { pid: tid }.status().is_some_and(|status| status.sigcgt & bit != 0);
        if blocked || !caught {
            return Ok(false);
        }
        self.skip(tid)?;
        if let Some(thread) = self.thread(tid) {
            self.signal_thread(thread, number(signal));
        }
        self.give(tid, call, ptrace::MAKE_IT_ANEW)?;
        Ok(true)
    }
}

fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Term => libc::SIGTERM,
        Signal::Int => libc::SIGINT,
    }
}

impl Drop for Tracee<'_> {
    fn drop(&mut self) {
        for process in self.processes.keys() {
            // SAFETY: kill takes numbers only. A process of the server that has ended and was waited for may have given its
            // id to another one only if the kernel went through all ids during this run; the handles hold the ids.
            unsafe { libc::kill(*process, libc::SIGKILL) };
        }
        // SAFETY: as in `send_signal`: the root is this thread's child until it is waited for below.
        unsafe { libc::kill(self.root, libc::SIGKILL) };
        // Until this thread has no child left.
        while let Ok(Some((tid, stop))) = ptrace::wait(true) {
            if !matches!(stop, Stop::Exited(_) | Stop::Killed(_)) {
                // SAFETY: kill takes numbers only. This thread was born while the others were killed; it has just stopped.
                unsafe { libc::kill(tid, libc::SIGKILL) };
                let _ = ptrace::resume(tid, libc::SIGKILL);
            }
        }
        observe::detached::has_ended(self.root);
    }
}
