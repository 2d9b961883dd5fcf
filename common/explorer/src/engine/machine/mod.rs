//! One run of the server under ptrace.
//!
//! Invariant: at most one thread of the server runs, and while a decision is taken none does. A thread is let into a call
//! that could sleep only when the call will not, as far as that can be seen before; where it can't (io_uring_enter,
//! futex), it sleeps in the kernel and is watched in /proc. Whatever happens, the server ends with the machine.

mod decide;
mod rest;
mod steps;
mod threads;
mod trace;
mod waits;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use observe::decode::{self, Decoder, Patience};
use observe::handle::{self, Label};
use observe::ptrace::{self, Place, Stop};
use observe::start::{self, Limits, Mark};
use observe::syscall::{self, Call as Pending, Kind};
use observe::{Handle, Process, errno};
use socket2::{SockAddr, SockRef};

use super::client::{Client, SMALL, Wrong};
use super::watchdog::Watchdog;
use crate::reduction::Relation;
use crate::run::{
    Call, ClientStep, ConnectionState, EpollState, Error, Event, Faults, Interest, Point, Run, Schedule, Snapshot,
    Target, ThreadState, Verdict,
};
use crate::script::{MAX_CLIENTS, Script, Signal, Step};

/// Calls in a row that move nothing: more than any server needs between two waits.
const IDLE_CALLS: u32 = 2000;
/// Of those, as many are kept.
const IDLE_KEPT: u32 = 40;
/// A timer of the server's own gets this long before its silence counts.
const TIMERS: Duration = Duration::from_millis(1500);
/// A start that takes this long is a fault, even on a machine that others have for themselves now and then.
const START: Duration = Duration::from_secs(60);
/// Bytes on their way through loopback; a backstop.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// What has not come by then will not come by itself.
const FOR_EVER: Duration = Duration::from_millis(60);

/// What a run is to do.
pub struct Order<'a> {
    pub target: &'a Target,
    pub script: &'a Script,
    pub faults: Faults,
    /// The decisions; 0 from their end on.
    pub schedule: &'a Schedule,
    /// What has to have happened before the last of them.
    pub before_last: Option<u64>,
    /// Which step makes a difference before which call.
    pub relation: Relation,
    /// Keep what happens.
    pub keep: bool,
    pub stop: &'a AtomicBool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Stopped, and not at the entry of a call.
    Free,
    /// Stopped at the entry.
    Entry(Pending),
    /// Sleeps in the kernel.
    Asleep(Pending),
}

#[derive(Debug)]
struct Thread {
    index: usize,
    process: i32,
    state: State,
    /// To be delivered when it goes on.
    signal: i32,
    /// The wait that restart_syscall goes on with.
    last_wait: Option<Pending>,
    /// This entry was offered as a place for a change of threads.
    arrived: bool,
}

enum Choice {
    GoOn,
    Step,
    Preempt(i32),
    Abort,
}

/// How a run ends.
struct Ending(Verdict, String);

pub struct Machine<'a> {
    order: &'a Order<'a>,
    watchdog: &'a Watchdog,
    root: i32,
    threads: BTreeMap<usize, i32>,
    by_tid: HashMap<i32, Thread>,
    born: usize,
    processes: HashMap<i32, Handle>,
    labels: HashMap<(i32, RawFd), Label>,
    stops: VecDeque<(i32, Stop)>,
    exit: Option<String>,
    clean_exit: bool,
    spun: bool,
    output: File,
    listener: Option<(i32, RawFd)>,
    addr: SocketAddr,
    clients: Vec<Option<Client>>,
    next: usize,
    signalled: bool,
    /// It has a signalfd, which shows its signals to itself only: no other process may look at an epoll with one in it.
    signalfd: bool,
    fds_limited: bool,
    current: Option<i32>,
    points: Vec<Point>,
    diverged: bool,
    hash: DefaultHasher,
    idle: u32,
    last_call: String,
    interrupted_here: bool,
    timers: Duration,
    events: Vec<Event>,
    started: Instant,
}

impl<'a> Machine<'a> {
    /// Starts the server and runs the script.
    pub fn run(order: &'a Order<'a>, argv: &[String], watchdog: &'a Watchdog) -> Result<Run, Error> {
        let mut machine = Self::start(order, argv, watchdog)?;
        let Ending(verdict, what) = machine.drive()?;
        let end = order.keep.then(|| machine.snapshot());
        let (verdict, what) = match machine.diverged {
            true => (Verdict::NonDeterministic, "the same decisions did not lead to the same system calls".to_owned()),
            false => machine.dropped_or_held(verdict, what)?,
        };
        Ok(Run {
            verdict,
            what,
            points: std::mem::take(&mut machine.points),
            hash: machine.hash.finish(),
            events: std::mem::take(&mut machine.events),
            end,
        })
    }

    fn start(order: &'a Order<'a>, argv: &[String], watchdog: &'a Watchdog) -> Result<Self, Error> {
        let output = memory_file()?;
        let mut command = start::command(argv, Limits::default(), &Mark::new());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        // SAFETY: between fork and exec only ptrace(2) is called, which allocates nothing and takes no lock.
        unsafe { command.pre_exec(ptrace::trace_me) };
        let child = command.spawn().map_err(|error| {
            Error::Start(format!("cannot start '{}': {error} (is the path right, and may it be traced?)", argv[0]))
        })?;
        let root = child.id() as i32;
        let mut machine = Self {
            order,
            watchdog,
            root,
            threads: BTreeMap::new(),
            by_tid: HashMap::new(),
            born: 0,
            processes: HashMap::new(),
            labels: HashMap::new(),
            stops: VecDeque::new(),
            exit: None,
            clean_exit: false,
            spun: false,
            output,
            listener: None,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clients: (0..MAX_CLIENTS).map(|_| None).collect(),
            next: 0,
            signalled: false,
            signalfd: false,
            fds_limited: false,
            current: None,
            points: Vec::new(),
            diverged: false,
            hash: DefaultHasher::new(),
            idle: 0,
            last_call: String::new(),
            interrupted_here: false,
            timers: Duration::ZERO,
            events: Vec::new(),
            started: Instant::now(),
        };
        match machine.stop_of(root)? {
            // The exec.
            Stop::Signal(libc::SIGTRAP) => ptrace::set_options(root)?,
            other => return Err(Error::Start(format!("'{}' did not start under ptrace ({other:?})", argv[0]))),
        }
        machine.add_thread(root, root)?;
        Ok(machine)
    }

    fn add_thread(&mut self, tid: i32, process: i32) -> Result<(), Error> {
        if let Entry::Vacant(vacant) = self.processes.entry(process) {
            vacant.insert(Handle::open(process)?);
        }
        let index = self.born;
        self.born += 1;
        self.threads.insert(index, tid);
        let thread = Thread { index, process, state: State::Free, signal: 0, last_wait: None, arrived: false };
        self.by_tid.insert(tid, thread);
        Ok(())
    }

    fn drive(&mut self) -> Result<Ending, Error> {
        loop {
            if self.order.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if self.diverged {
                return Ok(Ending(Verdict::NonDeterministic, String::new()));
            }
            self.collect()?;
            if let Some(how) = self.exit.clone() {
                return self.after_exit(how);
            }
            if self.idle > IDLE_CALLS {
                let what =
                    format!("{IDLE_CALLS} system calls in a row moved nothing; the last one was {}", self.last_call);
                return Ok(Ending(Verdict::Spinning, what));
            }
            if self.listener.is_none() && self.started.elapsed() > START {
                return Err(self.no_start("it did not listen"));
            }
            let ready = self.ready_threads()?;
            let Some(tid) = self.current.filter(|tid| ready.contains(tid)).or_else(|| ready.first().copied()) else {
                match self.nothing_runs()? {
                    Some(ending) => return Ok(ending),
                    None => continue,
                }
            };
            self.current = Some(tid);
            match self.by_tid[&tid].state {
                State::Free => self.run_to_entry(tid)?,
                State::Entry(call) => match self.decide(tid, &call, &ready)? {
                    Choice::GoOn => self.make(tid, call)?,
                    Choice::Step => self.place_step(tid, &call)?,
                    Choice::Preempt(other) => self.preempt(tid, other),
                    Choice::Abort => self.abort_accept(tid, &call)?,
                },
                State::Asleep(_) => unreachable!("asleep is not ready"),
            }
        }
    }

    /// Takes note of threads that slept in the kernel and have come back.
    fn collect(&mut self) -> Result<(), Error> {
        let asleep: Vec<i32> = self.threads.values().copied().filter(|tid| self.is_asleep(*tid)).collect();
        for tid in asleep {
            if !self.sleeps_on(tid)? {
                self.finish_call(tid)?;
            }
        }
        Ok(())
    }

    fn is_asleep(&self, tid: i32) -> bool {
        self.by_tid.get(&tid).is_some_and(|thread| matches!(thread.state, State::Asleep(_)))
    }

    /// Whether it still sleeps in its call. If not, its stop is there or about to be.
    fn sleeps_on(&mut self, tid: i32) -> Result<bool, Error> {
        let mut spins = 0;
        loop {
            self.fetch(false)?;
            let Some(thread) = self.by_tid.get(&tid) else { return Ok(true) };
            if self.stops.iter().any(|(it, _)| *it == tid) {
                return Ok(false);
            }
            let State::Asleep(call) = thread.state else { return Ok(false) };
            let (state, number) = self.processes[&thread.process].glance(tid);
            let in_call = number.is_some_and(|it| it == call.number || it == syscall::RESTART);
            if matches!(state, 'S' | 'D') && in_call {
                // Once more: it may have stopped between the two looks.
                self.fetch(false)?;
                return Ok(!self.stops.iter().any(|(it, _)| *it == tid));
            }
            spins += 1;
            if spins > 100 {
                std::thread::sleep(Duration::from_micros(20));
            } else {
                std::thread::yield_now();
            }
            if spins > 200_000 {
                return Err(Error::Broken(format!("a thread of the server is in state {state} and does not stop")));
            }
        }
    }

    /// The threads that could go on, oldest first.
    fn ready_threads(&self) -> Result<Vec<i32>, Error> {
        let goes_on = |tid: &i32| match self.by_tid[tid].state {
            State::Free => true,
            State::Entry(call) => !self.would_sleep(*tid, &call),
            State::Asleep(_) => false,
        };
        Ok(self.threads.values().copied().filter(goes_on).collect())
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // First the clients: a reset ends a connection at once, on both sides.
        self.clients.clear();
        for process in self.processes.keys() {
            // SAFETY: no pointers.
            unsafe { libc::kill(*process, libc::SIGKILL) };
        }
        // SAFETY: no pointers.
        unsafe { libc::kill(self.root, libc::SIGKILL) };
        // Until no child of this thread is left.
        while let Ok(Some((tid, stop))) = ptrace::wait(true) {
            if !matches!(stop, Stop::Exited(_) | Stop::Killed(_)) {
                // SAFETY: no pointers. One that was born as the others were killed.
                unsafe { libc::kill(tid, libc::SIGKILL) };
                let _ = ptrace::resume(tid, libc::SIGKILL);
            }
        }
    }
}

/// For the server's output: it never fills up, so that the server never waits for a reader.
fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a C string; the descriptor that comes back has no other owner.
    unsafe {
        match libc::memfd_create(c"explored".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from(OwnedFd::from_raw_fd(fd))),
        }
    }
}
