//! One run of the server under ptrace.
//!
//! Invariant: at most one thread of the server runs, and while a decision is taken none does. A thread is let into a call
//! that could sleep only when the call will not, as far as that can be seen before; where it can't (io_uring_enter,
//! futex), it sleeps in the kernel and is watched in /proc. Whatever happens, the server ends with the machine.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{SockAddr, SockRef};

use super::calls::{self, Kind};
use super::client::{Client, SMALL, Wrong, calm};
use super::kernel::{self, Label, Process};
use super::ptrace::{self, Place, Stop};
use super::watchdog::Watchdog;
use crate::run::{
    Call, ClientStep, ConnectionState, EpollState, Error, Event, Faults, Point, Run, Schedule, Snapshot, Target,
    ThreadState, Verdict,
};
use crate::script::{MAX_CLIENTS, Script, Signal, Step};

/// Calls in a row that move nothing: more than any server needs between two waits.
const IDLE_CALLS: u32 = 2000;
/// Of those, as many are kept.
const IDLE_KEPT: u32 = 40;
/// A timer of the server's own gets this long before its silence counts.
const TIMERS: Duration = Duration::from_millis(1500);
/// A start that takes this long is a fault.
const START: Duration = Duration::from_secs(20);
/// Bytes on their way through loopback; a backstop.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// What has not come by then will not come by itself.
const FOR_EVER: Duration = Duration::from_millis(60);
const ERESTARTNOINTR: i64 = -513;

/// What a run is to do.
pub struct Order<'a> {
    pub target: &'a Target,
    pub script: &'a Script,
    pub faults: Faults,
    /// The decisions; 0 from their end on.
    pub schedule: &'a Schedule,
    /// What has to have happened before the last of them.
    pub before_last: Option<u64>,
    /// Keep what happens.
    pub keep: bool,
    pub stop: &'a AtomicBool,
}

/// A call that a thread is about to make, or is in.
#[derive(Debug, Clone, Copy)]
struct Pending {
    number: i64,
    name: &'static str,
    kind: Kind,
    args: [u64; 6],
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

/// How long a call may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// It does not.
    None,
    Forever,
    Until(Duration),
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
    processes: HashMap<i32, Process>,
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
    pub fn run(order: &'a Order<'a>, watchdog: &'a Watchdog) -> Result<Run, Error> {
        let mut machine = Self::start(order, watchdog)?;
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

    fn start(order: &'a Order<'a>, watchdog: &'a Watchdog) -> Result<Self, Error> {
        let argv = with_port(&order.target.argv)?;
        let output = memory_file()?;
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        // Who is asked to end all that this program has started finds it by this mark.
        command.env("ECHO_HARNESS_SUBJECT", format!("{}-explored", std::process::id())).env("RUST_BACKTRACE", "0");
        command.process_group(0);
        // SAFETY: between fork and exec only ptrace(2) and prctl(2) are called.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                ptrace::trace_me()
            });
        }
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
        if !self.processes.contains_key(&process) {
            self.processes.insert(process, Process::open(process)?);
        }
        let index = self.born;
        self.born += 1;
        self.threads.insert(index, tid);
        let thread = Thread { index, process, state: State::Free, signal: 0, last_wait: None, arrived: false };
        self.by_tid.insert(tid, thread);
        Ok(())
    }

    // ---------------------------------------------------------------- the loop

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
                State::Free => self.to_entry(tid)?,
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
            let (state, number) = self.processes[&thread.process].thread(tid);
            let in_call = number.is_some_and(|it| it == call.number || it == calls::RESTART);
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

    // ---------------------------------------------------------------- decisions

    fn decide(&mut self, tid: i32, call: &Pending, ready: &[i32]) -> Result<Choice, Error> {
        if self.listener.is_none() {
            return Ok(Choice::GoOn);
        }
        let mut choices = vec![Choice::GoOn];
        if self.order.script.steps.get(self.next).is_some_and(|step| self.depends(tid, call, *step)) {
            choices.push(Choice::Step);
        }
        let thread = &self.by_tid[&tid];
        if call.kind.is_shown() && !thread.arrived && !call.kind.is_wait() && self.matters_to_others(tid, call) {
            choices.extend(ready.iter().filter(|other| **other != tid).map(|other| Choice::Preempt(*other)));
        }
        if self.order.faults.econnaborted && call.kind == Kind::Accept && self.accept_would_succeed(tid, call) {
            choices.push(Choice::Abort);
        }
        let chosen = self.choose(choices.len());
        Ok(choices.swap_remove(chosen))
    }

    /// A decision of the schedule among `options`.
    fn choose(&mut self, options: usize) -> usize {
        if options <= 1 {
            return 0;
        }
        let (schedule, at) = (&self.order.schedule.0, self.points.len());
        let chosen = schedule.get(at).copied().unwrap_or(0);
        let before = self.hash.finish();
        let last = at + 1 == schedule.len();
        if usize::from(chosen) >= options || last && self.order.before_last.is_some_and(|it| it != before) {
            self.diverged = true;
            return 0;
        }
        self.points.push(Point { chosen, options: options as u8, before });
        usize::from(chosen)
    }

    /// Whether it makes a difference if the step comes before or after the call.
    fn depends(&self, tid: i32, call: &Pending, step: Step) -> bool {
        let label = self.call_label(tid, call);
        let about = |client: usize| match (label, self.clients[client].as_ref()) {
            (Some(Label::Peer(port)), Some(client)) => client.port == port,
            _ => false,
        };
        let wait = call.kind.is_wait();
        match step {
            Step::Connect(_) => wait || call.kind == Kind::Accept || label == Some(Label::Listener),
            Step::Send(client, _) | Step::Shutdown(client) | Step::Close(client) => {
                wait || about(client) && matches!(call.kind, Kind::Read | Kind::Close | Kind::Shutdown | Kind::EpollCtl)
            }
            Step::Reset(client) => {
                wait || call.kind == Kind::Accept || about(client) && !matches!(call.kind, Kind::Quick | Kind::Other)
            }
            Step::Recv(client) => wait || about(client) && matches!(call.kind, Kind::Write | Kind::EpollCtl),
            Step::Signal(_) => wait,
            Step::FdsNone | Step::FdsFree => call.kind == Kind::Accept,
            // What the client does not do changes nothing by itself, and what is only looked at changes nothing at all.
            Step::Pause(_) | Step::ExpectEof(_) | Step::Interrupt => false,
        }
    }

    fn matters_to_others(&self, tid: i32, call: &Pending) -> bool {
        matches!(self.call_label(tid, call), Some(Label::Peer(_) | Label::Listener | Label::Epoll))
    }

    fn place_step(&mut self, tid: i32, call: &Pending) -> Result<(), Error> {
        let step = self.order.script.steps[self.next];
        let before = if self.order.keep { self.text(tid, call) } else { String::new() };
        self.next += 1;
        if let Step::Signal(signal) = step {
            self.log_step(step, true, before, 0);
            return self.signal_before(tid, *call, signal);
        }
        let bytes = self.perform(step)?;
        self.log_step(step, true, before, bytes);
        Ok(())
    }

    fn preempt(&mut self, tid: i32, other: i32) {
        let (index, instead) = (self.by_tid[&other].index, self.by_tid[&tid].index);
        (index, instead).hash(&mut self.hash);
        if self.order.keep {
            self.events.push(Event::Preempted { thread: index, instead_of: instead });
        }
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.arrived = true;
        }
        self.current = Some(other);
    }

    // ---------------------------------------------------------------- rest

    /// No thread can go on: the oracle looks, the next step comes, or time has to pass.
    fn nothing_runs(&mut self) -> Result<Option<Ending>, Error> {
        if self.listener.is_none() {
            return self.start_goes_on();
        }
        if self.settle()? {
            return Ok(None);
        }
        let next = self.order.script.steps.get(self.next).copied();
        if let Some(verdict) = self.oracle() {
            if self.time_passes()? {
                return Ok(None);
            }
            // Now it is for ever, unless something was late.
            std::thread::sleep(FOR_EVER);
            if self.settle()? || !self.ready_threads()?.is_empty() {
                return Ok(None);
            }
            self.collect()?;
            if !self.ready_threads()?.is_empty() {
                return Ok(None);
            }
            if self.order.keep {
                self.log_rest(Some(verdict.1.clone()));
            }
            return Ok(Some(verdict));
        }
        self.timers = Duration::ZERO;
        "rest".hash(&mut self.hash);
        if self.order.keep {
            self.log_rest(None);
        }
        let Some(step) = next else {
            return Ok(Some(Ending(Verdict::Ok, String::new())));
        };
        if self.order.faults.eintr && !self.interrupted_here {
            if self.choose(2) == 1 {
                self.interrupted_here = true;
                self.log_fault("SIGSTOP, SIGCONT: the wait is interrupted");
                self.interrupt()?;
                return Ok(None);
            }
            if self.diverged {
                return Ok(None);
            }
        }
        self.interrupted_here = false;
        self.next += 1;
        match step {
            Step::Interrupt => {
                self.log_step(step, false, String::new(), 0);
                self.interrupt()?;
            }
            Step::Signal(signal) => {
                // It comes while the server sleeps in its wait, or just before it goes to sleep: after its last look at
                // whatever its handler changes.
                let held = self.threads.values().find_map(|tid| match self.by_tid[tid].state {
                    State::Entry(call) if call.kind.is_wait() => Some((*tid, call)),
                    _ => None,
                });
                match held {
                    Some((tid, call)) if self.choose(2) == 1 => {
                        let before = if self.order.keep { self.text(tid, &call) } else { String::new() };
                        self.log_step(step, true, before, 0);
                        self.signal_before(tid, call, signal)?;
                    }
                    _ => {
                        self.log_step(step, false, String::new(), 0);
                        self.signal_now(signal)?;
                    }
                }
            }
            step => {
                let bytes = self.perform(step)?;
                self.log_step(step, false, String::new(), bytes);
            }
        }
        Ok(None)
    }

    fn start_goes_on(&mut self) -> Result<Option<Ending>, Error> {
        if self.started.elapsed() > START {
            let sleepers = self.sleepers().join(", ");
            return Err(self.no_start(&format!("it does not listen, and sleeps in {sleepers},")));
        }
        if !self.time_passes()? {
            std::thread::sleep(Duration::from_millis(1));
            self.timers = Duration::ZERO;
        }
        Ok(None)
    }

    fn no_start(&mut self, what: &str) -> Error {
        let words = self.last_words();
        Error::Start(format!(
            "'{}': {what} {:.1} s after its start{words}",
            self.order.target.name,
            self.started.elapsed().as_secs_f64()
        ))
    }

    /// Lets the clients read and go on sending, and waits for what is under way; whether anything has moved.
    fn settle(&mut self) -> Result<bool, Error> {
        let end = Instant::now() + UNDER_WAY;
        loop {
            let mut moved = false;
            for id in 0..MAX_CLIENTS {
                let Some(client) = self.clients[id].as_mut() else { continue };
                let finished = (client.eof, client.reset, client.finished);
                let read = if client.paused { 0 } else { client.pull() };
                let sent = client.push();
                let news = finished != (client.eof, client.reset, client.finished);
                if read > 0 || sent > 0 || news {
                    moved = true;
                    self.log_implied(id, read, sent, finished);
                }
            }
            if moved {
                self.idle = 0;
                // What it caused may be there already; what is not comes with the next look.
                return Ok(true);
            }
            if !self.under_way() || Instant::now() > end {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(200));
            if !self.ready_threads()?.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Whether bytes are between the two ends of a connection, and will arrive by themselves.
    fn under_way(&mut self) -> bool {
        (0..MAX_CLIENTS).any(|id| {
            let Some((outgoing, paused, gone)) =
                self.clients[id].as_ref().map(|it| (it.unacknowledged(), it.paused, it.gone))
            else {
                return false;
            };
            if gone {
                return false;
            }
            let Some((_, fd)) = self.server_end(id) else { return false };
            let _ = fd.set_tcp_quickack(true);
            let (unread, unsent) = (kernel::in_queue(&fd), kernel::out_queue(&fd));
            outgoing > 0 && unread == 0 || unsent > 0 && !paused
        })
    }

    /// Lets a timeout of the server's run out, if there is one and patience is left.
    fn time_passes(&mut self) -> Result<bool, Error> {
        if self.timers > TIMERS {
            return Ok(false);
        }
        let start = Instant::now();
        let waits: Vec<(i32, Pending)> = self
            .threads
            .values()
            .filter_map(|tid| match self.by_tid[tid].state {
                State::Entry(call) => Some((*tid, call)),
                _ => None,
            })
            .collect();
        let timed = waits.iter().filter_map(|(tid, call)| match self.patience(*tid, call) {
            Patience::Until(time) => Some((time, *tid, *call)),
            _ => None,
        });
        if let Some((_, tid, call)) = timed.min_by_key(|(time, tid, _)| (*time, *tid)) {
            self.make(tid, call)?;
            self.timers += start.elapsed().max(Duration::from_millis(1));
            return Ok(true);
        }
        let asleep = self.threads.values().copied().filter(|tid| self.is_asleep(*tid));
        let asleep: Vec<i32> = asleep.filter(|tid| self.wakes_by_itself(*tid)).collect();
        let timer = self.processes.values().any(Process::has_armed_timer);
        while (timer || !asleep.is_empty()) && self.timers + start.elapsed() < TIMERS {
            std::thread::sleep(Duration::from_millis(1));
            if timer && !self.ready_threads()?.is_empty() {
                self.timers += start.elapsed();
                return Ok(true);
            }
            for tid in &asleep {
                if !self.sleeps_on(*tid)? {
                    self.timers += start.elapsed();
                    return Ok(true);
                }
            }
        }
        self.timers += start.elapsed();
        Ok(false)
    }

    /// Whether the call that a thread sleeps in can end without anybody's doing.
    fn wakes_by_itself(&self, tid: i32) -> bool {
        let State::Asleep(call) = self.by_tid[&tid].state else { return false };
        match call.kind {
            // IORING_ENTER_EXT_ARG: the timeout is in the argument.
            Kind::UringEnter => call.args[3] & 8 != 0,
            Kind::EpollWait => matches!(self.patience(tid, &call), Patience::Until(_)),
            Kind::Other => match call.name {
                "futex" => call.args[3] != 0,
                "nanosleep" | "clock_nanosleep" => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// What is wrong, now that the server rests.
    fn oracle(&mut self) -> Option<Ending> {
        if self.signalled {
            let what = "the signal was delivered and the server did not end: it sleeps in its wait";
            return Some(Ending(Verdict::LostWakeup, what.into()));
        }
        let full = self.fds_limited && self.no_descriptor_left();
        let expected = match self.order.script.steps.get(self.next) {
            Some(Step::ExpectEof(id)) => Some(*id),
            _ => None,
        };
        (0..MAX_CLIENTS).find_map(|id| {
            let client = self.clients[id].as_ref()?;
            if client.gone {
                return None;
            }
            let (asked, back, owed) = (client.asked, client.came_back, client.owed());
            let (finished, eof, reset, paused) = (client.finished, client.eof, client.reset, client.paused);
            match client.wrong() {
                Some(Wrong::Gap(at, len)) => {
                    let what = format!("c{id} got byte {} right behind byte {at}: {len} bytes are missing", at + len);
                    return Some(Ending(Verdict::Truncated, what));
                }
                Some(Wrong::Bytes(at)) => {
                    let what = format!("what came back to c{id} is right up to byte {at} and wrong from there on");
                    return Some(Ending(Verdict::WrongBytes, what));
                }
                None => {}
            }
            let ended = if reset { "reset" } else { "closed" };
            if (reset || eof) && (owed > 0 || !finished) {
                let what = match owed {
                    0 => format!("the server {ended} c{id}'s connection, which the client has not finished"),
                    _ => format!("the server {ended} c{id}'s connection with {back} of {asked} bytes sent back"),
                };
                return Some(Ending(Verdict::Truncated, what));
            }
            if paused || full && self.server_end(id).is_none() {
                return None;
            }
            match (owed, finished && !eof && !reset) {
                (0, false) if expected == Some(id) && !eof => {
                    Some(Ending(Verdict::NoEof, format!("c{id} was to see the server's FIN by now, and did not")))
                }
                (0, false) => None,
                (0, true) => Some(Ending(
                    Verdict::NoEof,
                    format!("c{id} has finished and got its {asked} bytes back, but no FIN"),
                )),
                _ => Some(Ending(
                    Verdict::LostWakeup,
                    format!("{owed} of c{id}'s {asked} bytes did not come back, and the server sleeps"),
                )),
            }
        })
    }

    /// One byte more tells whether bytes that the server has read are held back or gone: if it comes back alone, the
    /// others are gone.
    fn dropped_or_held(&mut self, verdict: Verdict, what: String) -> Result<(Verdict, String), Error> {
        if verdict != Verdict::LostWakeup || self.signalled {
            return Ok((verdict, what));
        }
        let Some(id) = (0..MAX_CLIENTS).find(|id| {
            let owes = |client: &Client| client.owed() > 0 && !client.gone && !client.paused && !client.finished;
            self.clients[*id].as_ref().is_some_and(owes)
        }) else {
            return Ok((verdict, what));
        };
        let read_all = self.server_end(id).is_some_and(|(_, fd)| kernel::in_queue(&fd) == 0);
        if !read_all {
            return Ok((verdict, what));
        }
        let owed = self.clients[id].as_ref().map_or(0, Client::owed);
        if let Some(client) = self.clients[id].as_mut() {
            client.send(1);
        }
        let kept = std::mem::take(&mut self.events);
        for _ in 0..10_000 {
            self.collect()?;
            if self.exit.is_some() {
                break;
            }
            let ready = self.ready_threads()?;
            match ready.first().copied() {
                Some(tid) => match self.by_tid[&tid].state {
                    State::Entry(call) => self.make(tid, call)?,
                    _ => self.to_entry(tid)?,
                },
                None if self.settle()? => {}
                None => break,
            }
        }
        self.events = kept;
        Ok(match self.clients[id].as_ref().and_then(Client::wrong) {
            Some(Wrong::Gap(..)) => {
                let what = format!(
                    "{owed} bytes that the server has read did not come back to c{id}, and never will: \
                     the next byte came without them"
                );
                (Verdict::Truncated, what)
            }
            _ => (verdict, what),
        })
    }

    fn after_exit(&mut self, how: String) -> Result<Ending, Error> {
        if self.spun {
            let what = "the server computed for seconds and made no system call, so it was ended";
            return Ok(Ending(Verdict::Spinning, what.into()));
        }
        if self.listener.is_none() {
            return Err(self.no_start(&format!("it ended with {how}, before it listened,")));
        }
        if self.signalled {
            return Ok(match self.clean_exit {
                true => Ending(Verdict::Ok, String::new()),
                false => Ending(
                    Verdict::Exited,
                    format!("after the signal the server ended with {how}, not with exit code 0"),
                ),
            });
        }
        let words = self.last_words();
        Ok(Ending(Verdict::Exited, format!("the server ended with {how}{words}")))
    }

    fn last_words(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.output.rewind().and_then(|()| self.output.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let last: Vec<&str> = text.lines().filter(|line| !line.starts_with("listening on ")).collect();
        match last.last() {
            Some(line) => format!("; its last words: {}", line.trim()),
            None => String::new(),
        }
    }

    // ---------------------------------------------------------------- the client's side

    fn perform(&mut self, step: Step) -> Result<u64, Error> {
        self.idle = 0;
        step.hash(&mut self.hash);
        let missing = || Error::Broken("a client that is not connected".into());
        if let Step::Connect(id) = step {
            let client = Client::connect(id, self.addr, self.order.script.small_buffers)
                .map_err(|error| Error::Broken(format!("c{id} cannot connect to {}: {error}", self.addr)))?;
            self.clients[id] = Some(client);
            return Ok(0);
        }
        match step {
            Step::FdsNone => {
                self.fds_limited = true;
                let process = &self.processes[&self.root];
                let open = process.fds();
                let free = (0..).find(|fd| open.binary_search(fd).is_err()).unwrap_or(0);
                set_fd_limit(self.root, free as u64)?;
                return Ok(0);
            }
            Step::FdsFree => {
                self.fds_limited = false;
                set_fd_limit(self.root, u64::MAX)?;
                return Ok(0);
            }
            _ => {}
        }
        let client = step.client().and_then(|id| self.clients[id].as_mut()).ok_or_else(missing)?;
        Ok(match step {
            Step::Send(_, bytes) => client.send(bytes),
            Step::Pause(_) => {
                client.paused = true;
                0
            }
            Step::Recv(_) => {
                client.paused = false;
                client.pull()
            }
            Step::Shutdown(_) => {
                client.shutdown();
                0
            }
            Step::Close(_) => {
                client.leave(false);
                0
            }
            Step::Reset(_) => {
                client.leave(true);
                0
            }
            _ => 0,
        })
    }

    fn no_descriptor_left(&self) -> bool {
        let open = self.processes[&self.root].fds();
        let free = (0..).find(|fd| open.binary_search(fd).is_err()).unwrap_or(0);
        fd_limit(self.root).is_some_and(|limit| free as u64 >= limit)
    }

    /// A signal while the server sleeps in its wait.
    fn signal_now(&mut self, signal: Signal) -> Result<(), Error> {
        "signal".hash(&mut self.hash);
        self.idle = 0;
        self.expect_signal();
        self.send_signal(number(signal))?;
        // Those that sleep by our doing have to be where a signal finds them.
        self.let_sleepers_in()
    }

    /// A signal just before a call: the handler runs first, and then the call is made.
    fn signal_before(&mut self, tid: i32, call: Pending, signal: Signal) -> Result<(), Error> {
        "signal before".hash(&mut self.hash);
        self.idle = 0;
        self.expect_signal();
        let number = number(signal);
        let bit = 1 << (number - 1);
        let blocked = ptrace::blocked_signals(tid)? & bit != 0;
        let caught = Process::status(tid, "SigCgt", 16) & bit != 0;
        if blocked || !caught {
            // Pending until the wait itself lets it in, or nothing that a handler would see.
            return self.send_signal(number);
        }
        ptrace::skip(tid)?;
        self.resume(tid, 0)?;
        self.expect_syscall_stop(tid)?;
        // SAFETY: no pointers.
        unsafe { libc::syscall(libc::SYS_tgkill, self.by_tid[&tid].process, tid, number) };
        ptrace::give(tid, call.number, ERESTARTNOINTR)?;
        self.set_state(tid, State::Free);
        Ok(())
    }

    fn expect_signal(&mut self) {
        self.signalled = true;
        self.signalfd =
            self.processes.values().any(|it| it.fds().into_iter().any(|fd| it.link(fd).contains("[signalfd]")));
    }

    fn send_signal(&self, signal: i32) -> Result<(), Error> {
        // SAFETY: no pointers.
        unsafe { libc::kill(self.root, signal) };
        Ok(())
    }

    /// EINTR, as a SIGSTOP and a SIGCONT give it.
    fn interrupt(&mut self) -> Result<(), Error> {
        "interrupt".hash(&mut self.hash);
        for tid in self.threads.values() {
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_tgkill, self.by_tid[tid].process, *tid, libc::SIGSTOP) };
        }
        self.let_sleepers_in()
    }

    /// Lets threads that are held before a wait into it; a pending signal gets them out again.
    fn let_sleepers_in(&mut self) -> Result<(), Error> {
        let held: Vec<(i32, Pending)> = self
            .threads
            .values()
            .filter_map(|tid| match self.by_tid[tid].state {
                State::Entry(call) => Some((*tid, call)),
                _ => None,
            })
            .collect();
        for (tid, call) in held {
            if self.by_tid.contains_key(&tid) && self.exit.is_none() {
                // A signal for another thread leaves this one asleep.
                self.enter(tid, call, true)?;
            }
        }
        Ok(())
    }

    /// The connection at the head of the queue goes away, and accept says so.
    fn abort_accept(&mut self, tid: i32, call: &Pending) -> Result<(), Error> {
        let process = self.by_tid[&tid].process;
        let listener = self.processes[&process].borrow(call.args[0] as RawFd);
        if let Some(listener) = listener {
            let (stream, peer) = SockRef::from(&listener).accept()?;
            let port = peer.as_socket().map_or(0, |addr| addr.port());
            let _ = stream.set_linger(Some(Duration::ZERO));
            drop(stream);
            if let Some(client) = self.clients.iter_mut().flatten().find(|client| client.port == port) {
                client.gone = true;
            }
        }
        self.log_fault("a queued connection is aborted: accept says ECONNABORTED");
        ptrace::skip(tid)?;
        self.resume(tid, 0)?;
        self.expect_syscall_stop(tid)?;
        ptrace::give(tid, call.number, -i64::from(libc::ECONNABORTED))?;
        self.record(tid, call, -i64::from(libc::ECONNABORTED));
        self.set_state(tid, State::Free);
        Ok(())
    }

    fn accept_would_succeed(&self, tid: i32, call: &Pending) -> bool {
        let fd = self.processes[&self.by_tid[&tid].process].borrow(call.args[0] as RawFd);
        fd.is_some_and(|fd| kernel::is_ready(&fd, libc::POLLIN))
    }

    // ---------------------------------------------------------------- threads and calls

    fn set_state(&mut self, tid: i32, state: State) {
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.state = state;
            thread.arrived = false;
        }
    }

    fn resume(&mut self, tid: i32, signal: i32) -> Result<(), Error> {
        match ptrace::resume(tid, signal) {
            // Killed meanwhile: its end is reported by the wait.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Runs a thread up to the entry of its next call.
    fn to_entry(&mut self, tid: i32) -> Result<(), Error> {
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

    fn pending(&self, tid: i32, number: i64, args: [u64; 6]) -> Pending {
        if number == calls::RESTART
            && let Some(wait) = self.by_tid[&tid].last_wait
        {
            return wait;
        }
        let (name, kind) = calls::classify(number);
        Pending { number, name, kind, args }
    }

    /// Makes a call that is ready to be made.
    fn make(&mut self, tid: i32, call: Pending) -> Result<(), Error> {
        self.enter(tid, call, false)
    }

    /// Lets a thread into its call, and takes note of its end, or that it sleeps.
    fn enter(&mut self, tid: i32, call: Pending, may_sleep: bool) -> Result<(), Error> {
        if call.kind.is_wait()
            && let Some(thread) = self.by_tid.get_mut(&tid)
        {
            thread.last_wait = Some(call);
        }
        let unseen = self.signalfd && call.kind == Kind::EpollWait;
        let watched = may_sleep
            || unseen
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
    fn may_sleep_inside(&self, tid: i32, call: &Pending) -> bool {
        call.kind == Kind::Write && {
            let fd = self.processes[&self.by_tid[&tid].process].borrow(call.args[0] as RawFd);
            fd.is_some_and(|fd| kernel::is_blocking(&fd))
        }
    }

    /// Waits for the end of the call that a thread is in.
    fn finish_call(&mut self, tid: i32) -> Result<(), Error> {
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
    fn handle(&mut self, tid: i32, stop: Stop) -> Result<bool, Error> {
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

    fn new_thread(&mut self, parent: i32, tid: i32) -> Result<(), Error> {
        match self.stop_of(tid)? {
            Stop::Signal(_) | Stop::Event(..) => {}
            ended => {
                self.ended(tid, ended);
                return Ok(());
            }
        }
        let process = Process::status(tid, "Tgid", 10) as i32;
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

    fn ended(&mut self, tid: i32, stop: Stop) {
        if let Some(thread) = self.by_tid.remove(&tid) {
            self.threads.remove(&thread.index);
        }
        if tid == self.root {
            self.clean_exit = stop == Stop::Exited(0);
            self.exit = Some(match stop {
                Stop::Exited(code) => format!("exit code {code}"),
                Stop::Killed(signal) => format!("signal {signal}{}", signal_name(signal)),
                other => format!("{other:?}"),
            });
        }
        if self.current == Some(tid) {
            self.current = None;
        }
    }

    /// Takes all stops that are there, or waits for one.
    fn fetch(&mut self, hang: bool) -> Result<(), Error> {
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
    fn stop_of(&mut self, tid: i32) -> Result<Stop, Error> {
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

    fn expect_syscall_stop(&mut self, tid: i32) -> Result<(), Error> {
        match self.stop_of(tid)? {
            Stop::Syscall => Ok(()),
            other => Err(Error::Broken(format!("a skipped call ended with {other:?}"))),
        }
    }

    // ---------------------------------------------------------------- what a call means

    /// How long the call may sleep.
    fn patience(&self, tid: i32, call: &Pending) -> Patience {
        let process = &self.processes[&self.by_tid[&tid].process];
        let ms = |value: u64| match value as i32 {
            0 => Patience::None,
            ms if ms < 0 => Patience::Forever,
            ms => Patience::Until(Duration::from_millis(ms as u64)),
        };
        // A timespec, or a timeval (`scale` 1000).
        let time = |at: u64, scale: u64| {
            if at == 0 {
                return Patience::Forever;
            }
            let seconds = u64::from_le_bytes(process.word(at));
            let rest = u64::from_le_bytes(process.word(at + 8)) * scale;
            match Duration::from_secs(seconds) + Duration::from_nanos(rest) {
                Duration::ZERO => Patience::None,
                time => Patience::Until(time),
            }
        };
        match (call.kind, call.name) {
            (Kind::EpollWait, "epoll_pwait2") => time(call.args[3], 1),
            (Kind::EpollWait, _) => ms(call.args[3]),
            (Kind::Poll, "poll") => ms(call.args[2]),
            (Kind::Poll, _) => time(call.args[2], 1),
            (Kind::Select, "select") => time(call.args[4], 1000),
            (Kind::Select, _) => time(call.args[4], 1),
            (Kind::Read | Kind::Write | Kind::Accept, _) => Patience::Forever,
            _ => Patience::None,
        }
    }

    /// Virtual blocking: whether a call that is about to be made would sleep.
    fn would_sleep(&self, tid: i32, call: &Pending) -> bool {
        let process = &self.processes[&self.by_tid[&tid].process];
        if call.kind.is_wait() && call.kind != Kind::UringEnter {
            if self.signalfd && call.kind == Kind::EpollWait {
                return false;
            }
            return self.patience(tid, call) != Patience::None
                && !self.has_news(tid, call)
                && !self.lets_signal_in(tid, call);
        }
        let events = match call.kind {
            Kind::Read | Kind::Accept => libc::POLLIN,
            Kind::Write => libc::POLLOUT,
            _ => return false,
        };
        // MSG_DONTWAIT
        if matches!(call.name, "recvfrom" | "sendto") && call.args[3] as i32 & libc::MSG_DONTWAIT != 0 {
            return false;
        }
        let Some(fd) = process.borrow(call.args[0] as RawFd) else { return false };
        kernel::is_blocking(&fd) && !kernel::is_ready(&fd, events)
    }

    /// Whether a wait would find something.
    fn has_news(&self, tid: i32, call: &Pending) -> bool {
        let process = &self.processes[&self.by_tid[&tid].process];
        match call.kind {
            Kind::EpollWait => {
                process.borrow(call.args[0] as RawFd).is_none_or(|fd| kernel::is_ready(&fd, libc::POLLIN))
            }
            Kind::Poll => self.any_ready(process, &poll_set(process, call)),
            Kind::Select => self.any_ready(process, &select_set(process, call)),
            _ => true,
        }
    }

    fn any_ready(&self, process: &Process, wanted: &[(RawFd, i16)]) -> bool {
        let borrowed: Vec<_> = wanted.iter().map(|(fd, events)| (process.borrow(*fd), *events)).collect();
        if borrowed.iter().any(|(fd, _)| fd.is_none()) {
            // EBADF, or POLLNVAL: an answer at once.
            return true;
        }
        let mut fds: Vec<libc::pollfd> = borrowed
            .iter()
            .flat_map(|(fd, events)| {
                fd.as_ref().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: *events, revents: 0 })
            })
            .collect();
        kernel::ready(&mut fds);
        // A pollfd that asks for nothing still hears of errors; a set of select's does not.
        fds.iter().any(|fd| fd.revents != 0)
    }

    /// pselect6, ppoll and epoll_pwait open the signal mask as they wait.
    fn lets_signal_in(&self, tid: i32, call: &Pending) -> bool {
        if !self.signalled {
            return false;
        }
        let process = &self.processes[&self.by_tid[&tid].process];
        let mask = match call.name {
            "ppoll" => call.args[3],
            "epoll_pwait" | "epoll_pwait2" => call.args[4],
            "pselect6" if call.args[5] != 0 => u64::from_le_bytes(process.word(call.args[5])),
            _ => 0,
        };
        let blocked = match mask {
            0 => ptrace::blocked_signals(tid).unwrap_or(0),
            at => u64::from_le_bytes(process.word(at)),
        };
        let pending = Process::status(tid, "SigPnd", 16) | Process::status(tid, "ShdPnd", 16);
        pending & !blocked != 0
    }

    /// What the call's descriptor is.
    fn call_label(&self, tid: i32, call: &Pending) -> Option<Label> {
        let fd = about(call)?;
        Some(self.label(self.by_tid[&tid].process, fd))
    }

    fn label(&self, process: i32, fd: RawFd) -> Label {
        if let Some(label) = self.labels.get(&(process, fd)) {
            return *label;
        }
        let of = &self.processes[&process];
        of.borrow(fd).map_or(Label::Other, |borrowed| kernel::label(&borrowed, || of.link(fd)))
    }

    /// `c0`, `listener`, or empty.
    fn name(&self, label: Label) -> String {
        match label {
            Label::Listener => "listener".into(),
            Label::Peer(port) => self.client_of(port).map_or_else(String::new, |id| format!("c{id}")),
            Label::Epoll | Label::Other => String::new(),
        }
    }

    fn client_of(&self, port: u16) -> Option<usize> {
        self.clients.iter().position(|client| client.as_ref().is_some_and(|client| client.port == port))
    }

    /// The server's end of a client's connection.
    fn server_end(&self, id: usize) -> Option<(RawFd, socket2::Socket)> {
        let port = self.clients[id].as_ref()?.port;
        let known = self.labels.iter().filter(|(_, label)| **label == Label::Peer(port)).map(|(at, _)| *at);
        let mut known: Vec<(i32, RawFd)> = known.collect();
        known.sort_unstable();
        let unknown = self.processes.values().flat_map(|process| process.fds().into_iter().map(|fd| (process.pid, fd)));
        known.into_iter().chain(unknown.collect::<Vec<_>>()).find_map(|(process, fd)| {
            let process = &self.processes[&process];
            let borrowed = process.borrow(fd)?;
            let is = SockRef::from(&borrowed).peer_addr().ok()?.as_socket()?.port() == port;
            is.then(|| (fd, kernel::socket(borrowed)))
        })
    }

    fn after_call(&mut self, tid: i32, call: &Pending, value: i64) -> Result<(), Error> {
        let process = self.by_tid[&tid].process;
        let progress = value > 0 && matches!(call.kind, Kind::Read | Kind::Write)
            || value >= 0 && matches!(call.kind, Kind::Accept | Kind::Close);
        self.idle = if progress { 0 } else { self.idle + 1 };
        match call.kind {
            Kind::Accept if value >= 0 => {
                let fd = value as RawFd;
                let label = self.accepted(process, fd, call);
                self.labels.insert((process, fd), label);
            }
            Kind::Listen if value == 0 && self.listener.is_none() => {
                self.found_listener(process, call.args[0] as RawFd)?;
                // The place of a descriptor does not change while it is open, and looking it up each time is dear.
                self.labels.insert((process, call.args[0] as RawFd), Label::Listener);
            }
            Kind::EpollCtl => {
                self.labels.insert((process, call.args[0] as RawFd), Label::Epoll);
            }
            _ => {}
        }
        self.record(tid, call, value);
        match call.kind {
            Kind::Close => {
                self.labels.remove(&(process, call.args[0] as RawFd));
            }
            Kind::Duplicate => self.labels.retain(|(it, _), _| *it != process),
            _ => {}
        }
        Ok(())
    }

    /// Who was accepted: a connection that was reset meanwhile has no peer any more, but accept has said it.
    fn accepted(&self, process: i32, fd: RawFd, call: &Pending) -> Label {
        let label = self.label(process, fd);
        if label != Label::Other || call.args[1] == 0 {
            return label;
        }
        // The port stands at the same place in both families, and in network order.
        let address: [u8; 4] = self.processes[&process].word(call.args[1]);
        match u16::from_be_bytes([address[2], address[3]]) {
            0 => label,
            port => Label::Peer(port),
        }
    }

    fn found_listener(&mut self, process: i32, fd: RawFd) -> Result<(), Error> {
        let Some(borrowed) = self.processes[&process].borrow(fd) else { return Ok(()) };
        let socket = SockRef::from(&borrowed);
        let Some(addr) = socket.local_addr().ok().as_ref().and_then(SockAddr::as_socket) else { return Ok(()) };
        // Accepted sockets inherit all of these.
        socket.set_tcp_nodelay(true)?;
        calm(&socket);
        if self.order.script.small_buffers {
            socket.set_send_buffer_size(SMALL)?;
            // Not small, but set: a size that the kernel tunes as it goes is not the same in each run.
            socket.set_recv_buffer_size(4 * SMALL)?;
        }
        self.addr = match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())),
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, addr.port())),
            _ => addr,
        };
        self.listener = Some((process, fd));
        self.idle = 0;
        Ok(())
    }

    // ---------------------------------------------------------------- what is kept of it

    fn record(&mut self, tid: i32, call: &Pending, value: i64) {
        if self.listener.is_none() || !call.kind.is_shown() {
            return;
        }
        let thread = self.by_tid[&tid].index;
        let timed = matches!(self.patience(tid, call), Patience::Until(_));
        if !(call.kind.is_wait() && value == 0 && timed) {
            let label = self.call_label(tid, call);
            let label = label.map(|label| self.name(label));
            (thread, call.number, about(call), label, value).hash(&mut self.hash);
        }
        if self.idle == IDLE_CALLS || self.order.keep {
            self.last_call = format!("{} = {}", self.text(tid, call), result_text(value));
        }
        if !self.order.keep || self.idle > IDLE_KEPT {
            return;
        }
        let event = Call {
            thread,
            name: call.name,
            arguments: self.arguments(tid, call),
            result: result_text(value),
            out: self.out(tid, call, value),
            raw: raw(call),
            value,
            fd: about(call),
            client: match self.call_label(tid, call) {
                Some(Label::Peer(port)) => self.client_of(port),
                _ => None,
            },
            wait: call.kind.is_wait(),
            state: self.snapshot(),
        };
        self.events.push(Event::Call(event));
    }

    fn log_step(&mut self, step: Step, placed: bool, before: String, bytes: u64) {
        if self.order.keep {
            let state = self.snapshot();
            let client = step.client();
            let (implied, fault) = (false, false);
            let of_script = Some(step);
            let step = step.to_string();
            self.events.push(Event::Step(ClientStep {
                step,
                placed,
                implied,
                fault,
                before,
                client,
                bytes,
                state,
                of_script,
            }));
        }
    }

    fn log_rest(&mut self, wrong: Option<String>) {
        let sleeps = self.sleepers();
        let state = self.snapshot();
        self.events.push(Event::Rest { sleeps, wrong, state });
    }

    fn log_fault(&mut self, what: &str) {
        what.hash(&mut self.hash);
        if self.order.keep {
            let state = self.snapshot();
            let step = ClientStep {
                step: what.to_owned(),
                placed: true,
                implied: false,
                fault: true,
                before: String::new(),
                client: None,
                bytes: 0,
                state,
                of_script: None,
            };
            self.events.push(Event::Step(step));
        }
    }

    fn log_implied(&mut self, id: usize, read: u64, sent: u64, before: (bool, bool, bool)) {
        if !self.order.keep {
            return;
        }
        let Some(client) = &self.clients[id] else { return };
        let mut parts = Vec::new();
        if read > 0 {
            parts.push(format!("reads {read}"));
        }
        if sent > 0 {
            parts.push(format!("goes on: sends {sent}"));
        }
        if client.finished && !before.2 {
            parts.push("its FIN follows".into());
        }
        if client.eof && !before.0 {
            parts.push("sees FIN".into());
        }
        if client.reset && !before.1 {
            parts.push("is reset".into());
        }
        let step = ClientStep {
            step: format!("c{id} {}", parts.join(", ")),
            placed: false,
            implied: true,
            fault: false,
            before: String::new(),
            client: Some(id),
            bytes: read + sent,
            state: self.snapshot(),
            of_script: None,
        };
        self.events.push(Event::Step(step));
    }

    /// `read(7 c0)`: the call and what it is about.
    fn text(&self, tid: i32, call: &Pending) -> String {
        format!("{}({})", call.name, self.arguments(tid, call))
    }

    fn fd_text(&self, process: i32, fd: RawFd) -> String {
        let name = self.name(self.label(process, fd));
        if name.is_empty() { fd.to_string() } else { format!("{fd} {name}") }
    }

    fn arguments(&self, tid: i32, call: &Pending) -> String {
        let process = self.by_tid[&tid].process;
        let memory = &self.processes[&process];
        let fd = |at: usize| self.fd_text(process, call.args[at] as RawFd);
        let patience = match self.patience(tid, call) {
            Patience::None if call.kind.is_wait() && call.kind != Kind::UringEnter => ", timeout 0",
            Patience::Until(_) => ", with a timeout",
            _ => "",
        };
        match call.kind {
            Kind::EpollWait => format!("{}{patience}", fd(0)),
            Kind::EpollCtl => {
                let operation = match call.args[1] as i32 {
                    libc::EPOLL_CTL_ADD => "ADD",
                    libc::EPOLL_CTL_MOD => "MOD",
                    libc::EPOLL_CTL_DEL => "DEL",
                    _ => "?",
                };
                let event: [u8; 4] = if call.args[3] == 0 { [0; 4] } else { memory.word(call.args[3]) };
                let mask = match operation {
                    "DEL" => String::new(),
                    _ => format!(", {}", kernel::mask(u32::from_le_bytes(event))),
                };
                format!("{}, {operation}, {}{mask}", fd(0), fd(2))
            }
            Kind::Poll => {
                let set = poll_set(memory, call);
                let parts = set
                    .iter()
                    .map(|(fd, events)| format!("{} {}", self.fd_text(process, *fd), kernel::poll_mask(*events)));
                format!("[{}]{patience}", parts.collect::<Vec<_>>().join(", "))
            }
            Kind::Select => {
                let set = select_set(memory, call);
                let pick = |event: i16| {
                    let fds =
                        set.iter().filter(|(_, events)| events & event != 0).map(|(fd, _)| self.fd_text(process, *fd));
                    fds.collect::<Vec<_>>().join(", ")
                };
                let write = pick(libc::POLLOUT);
                let write = if write.is_empty() { String::new() } else { format!(", write [{write}]") };
                format!("read [{}]{write}{patience}", pick(libc::POLLIN))
            }
            Kind::UringEnter => {
                let flags = if call.args[3] & 1 != 0 { format!(", wait for {}", call.args[2]) } else { String::new() };
                format!("{}, submit {}{flags}", call.args[0] as RawFd, call.args[1])
            }
            Kind::Read | Kind::Write if matches!(call.name, "read" | "recvfrom" | "write" | "sendto") => {
                format!("{}, {}", fd(0), call.args[2])
            }
            Kind::Shutdown => {
                let how = ["SHUT_RD", "SHUT_WR", "SHUT_RDWR"].get(call.args[1] as usize).unwrap_or(&"?");
                format!("{}, {how}", fd(0))
            }
            _ => match about(call) {
                Some(at) => self.fd_text(process, at),
                None => String::new(),
            },
        }
    }

    /// What came back through pointers.
    fn out(&self, tid: i32, call: &Pending, value: i64) -> String {
        let process = self.by_tid[&tid].process;
        let memory = &self.processes[&process];
        if value < 0 {
            return String::new();
        }
        match call.kind {
            Kind::EpollWait => {
                let size = size_of::<libc::epoll_event>() as u64;
                let offset = size - 8;
                let known = memory.interests(call.args[0] as RawFd);
                let event = |at: u64| {
                    let at = call.args[1] + at * size;
                    let events = u32::from_le_bytes(memory.word(at));
                    let data = u64::from_le_bytes(memory.word(at + offset));
                    let fd = known.iter().find(|(_, _, it)| *it == data).map(|(fd, _, _)| *fd);
                    let who = fd.map_or_else(|| "?".into(), |fd| self.fd_text(process, fd));
                    format!("{who} {}", kernel::mask(events))
                };
                (0..value as u64).map(event).collect::<Vec<_>>().join(", ")
            }
            Kind::Poll => {
                let each = (0..call.args[1]).filter_map(|at| {
                    let entry: [u8; 8] = memory.word(call.args[0] + at * 8);
                    let fd = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
                    let revents = i16::from_le_bytes([entry[6], entry[7]]);
                    (fd >= 0 && revents != 0)
                        .then(|| format!("{} {}", self.fd_text(process, fd), kernel::poll_mask(revents)))
                });
                each.collect::<Vec<_>>().join(", ")
            }
            Kind::Select => {
                let ready = select_set(memory, call);
                let each = ready.iter().map(|(fd, events)| {
                    let what = if events & libc::POLLIN != 0 { "read" } else { "write" };
                    format!("{} {what}", self.fd_text(process, *fd))
                });
                each.collect::<Vec<_>>().join(", ")
            }
            Kind::Accept => self.name(self.label(process, value as RawFd)),
            _ => String::new(),
        }
    }

    fn sleepers(&self) -> Vec<String> {
        self.thread_states().into_iter().filter(|thread| thread.sleeps).map(|thread| thread.at).collect()
    }

    fn thread_states(&self) -> Vec<ThreadState> {
        let state = |(index, tid): (&usize, &i32)| {
            let (at, sleeps) = match self.by_tid[tid].state {
                State::Free => ("its own code".to_owned(), false),
                State::Entry(call) if self.would_sleep(*tid, &call) => (self.text(*tid, &call), true),
                State::Entry(call) => (self.text(*tid, &call), false),
                State::Asleep(call) => (self.text(*tid, &call), true),
            };
            ThreadState { thread: *index, at, sleeps }
        };
        self.threads.iter().map(state).collect()
    }

    /// What the kernel shows.
    fn snapshot(&self) -> Snapshot {
        let alive = self.exit.is_none();
        let connection = |id: usize| {
            let client = self.clients[id].as_ref()?;
            let end = if alive { self.server_end(id) } else { None };
            let info = end.as_ref().and_then(|(_, socket)| kernel::tcp_info(socket));
            Some(ConnectionState {
                client: id,
                fd: end.as_ref().map(|(fd, _)| *fd),
                unread: end.as_ref().map_or(0, |(_, socket)| kernel::in_queue(socket)),
                fin_arrived: info.as_ref().is_some_and(kernel::fin_arrived),
                unsent: end.as_ref().map_or(0, |(_, socket)| kernel::out_queue(socket)),
                asked: client.asked,
                sent: client.sent,
                came_back: client.came_back,
                eof: client.eof,
            })
        };
        let listener = self.listener.filter(|_| alive).and_then(|(process, fd)| self.processes[&process].borrow(fd));
        // For a listener, the kernel reports the length of its queue here.
        let accept_queue = listener.and_then(|fd| kernel::tcp_info(&fd)).map_or(0, |info| info.tcpi_unacked);
        Snapshot {
            accept_queue,
            connections: (0..MAX_CLIENTS).filter_map(connection).collect(),
            epolls: if alive { self.epolls() } else { Vec::new() },
            threads: if alive { self.thread_states() } else { Vec::new() },
        }
    }

    fn epolls(&self) -> Vec<EpollState> {
        let mut known: Vec<(i32, RawFd)> =
            self.labels.iter().filter(|(_, label)| **label == Label::Epoll).map(|(at, _)| *at).collect();
        known.sort_unstable();
        let state = |(process, fd): (i32, RawFd)| {
            let of = self.processes.get(&process)?;
            let interests = of.interests(fd);
            let ready = !self.signalfd && of.borrow(fd).is_some_and(|fd| kernel::is_ready(&fd, libc::POLLIN));
            let interests = interests
                .iter()
                .map(|(fd, events, _)| kernel::describe(*fd, *events, self.name(self.label(process, *fd))));
            Some(EpollState { fd, ready, interests: interests.collect() })
        };
        known.into_iter().filter_map(state).collect()
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

/// The descriptor that a call is about.
fn about(call: &Pending) -> Option<RawFd> {
    match call.kind {
        Kind::EpollCtl => Some(call.args[2] as RawFd),
        Kind::EpollWait
        | Kind::UringEnter
        | Kind::Accept
        | Kind::Read
        | Kind::Write
        | Kind::Close
        | Kind::Shutdown
        | Kind::Listen => Some(call.args[0] as RawFd),
        _ => None,
    }
}

/// What poll was asked to look at.
fn poll_set(process: &Process, call: &Pending) -> Vec<(RawFd, i16)> {
    let each = (0..call.args[1]).map(|at| {
        let entry: [u8; 8] = process.word(call.args[0] + at * 8);
        let fd = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        (fd, i16::from_le_bytes([entry[4], entry[5]]))
    });
    each.filter(|(fd, _)| *fd >= 0).collect()
}

/// What select was asked to look at; after the call, what is ready.
fn select_set(process: &Process, call: &Pending) -> Vec<(RawFd, i16)> {
    let count = call.args[0].min(1024) as usize;
    let mut found: Vec<(RawFd, i16)> = Vec::new();
    for (at, event) in [(call.args[1], libc::POLLIN), (call.args[2], libc::POLLOUT), (call.args[3], libc::POLLPRI)] {
        if at == 0 {
            continue;
        }
        let mut bits = [0u8; 128];
        process.read(at, &mut bits[..count.div_ceil(64) * 8]);
        let set = (0..count).filter(|fd| bits[fd / 8] & 1 << (fd % 8) != 0);
        found.extend(set.map(|fd| (fd as RawFd, event)));
    }
    found
}

/// The arguments without pointers.
fn raw(call: &Pending) -> [Option<i64>; 6] {
    let numbers: &[usize] = match (call.kind, call.name) {
        (Kind::EpollWait, "epoll_pwait2") => &[0, 2],
        (Kind::EpollWait, _) => &[0, 2],
        (Kind::EpollCtl, _) => &[0, 1, 2],
        (Kind::Poll, _) => &[1],
        (Kind::Select, _) => &[0],
        (Kind::UringEnter, _) => &[0, 1, 2, 3],
        (Kind::Read | Kind::Write, "read" | "write") => &[0, 2],
        (Kind::Read | Kind::Write, "recvfrom" | "sendto") => &[0, 2, 3],
        (Kind::Shutdown | Kind::Listen, _) => &[0, 1],
        _ => &[0],
    };
    std::array::from_fn(|at| numbers.contains(&at).then(|| call.args[at] as i32 as i64))
}

fn result_text(value: i64) -> String {
    match value {
        -4095..0 => calls::error_name(-value as i32),
        value => value.to_string(),
    }
}

fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Term => libc::SIGTERM,
        Signal::Int => libc::SIGINT,
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGPIPE => " (SIGPIPE)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGKILL => " (SIGKILL)",
        _ => "",
    }
}

fn with_port(argv: &[String]) -> io::Result<Vec<String>> {
    if !argv.iter().any(|arg| arg.contains("{port}")) {
        return Ok(argv.to_vec());
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    Ok(argv.iter().map(|arg| arg.replace("{port}", &port.to_string())).collect())
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

fn set_fd_limit(pid: i32, soft: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both pointers are to a limit that outlives the calls.
    unsafe {
        if libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = soft.min(limit.rlim_max);
        match libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn fd_limit(pid: i32) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: as above.
    let got = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit) };
    (got == 0).then_some(limit.rlim_cur)
}
