//! How many workers does one connection wake, and who gets it?
//!
//! **Varied:** the workers, 1 to 16 threads, and how they wait for one listener: each with an epoll of its own or all
//! with one, level-triggered, edge-triggered, with EXCLUSIVE; each with a listener of its own (REUSEPORT); on kqueue.
//!
//! **Held:** a client connects only when every worker sleeps and the accept queue is empty, so what is counted is what
//! one connection causes. A worker takes one event at a time and then accepts until EAGAIN.
//!
//! **Counted:** wakeups are voluntary context switches, which the kernel counts for each thread. A worker that slept and
//! runs again was woken, whether or not its wait returned: if the queue is empty by then, the kernel lets the worker
//! sleep on, and no counter in an event loop shows the herd. The share is that of the worker with the most connections.
//!
//! **Why it can be trusted:** the counts are the kernel's, and exact. They do not depend on the clock or on the load.
//! Every connection was accepted once, which is checked. Three runs are made, and their spread is drawn: where several
//! workers wake, chance decides who is first.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use anyhow::{Context, Result, ensure};
use figures::{Axis, Chart, Outcome, Point, Series, Verdict};
use kqueue::sys::{EV_ADD, EV_CLEAR, EVFILT_READ, Kevent, Kqueue};
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::cores::{Place, move_to};
use crate::stats::Spread;
use crate::{Experiment, Session};

const WORKERS: [usize; 5] = [1, 2, 4, 8, 16];
const RUNS: usize = 3;
const FEWEST: u64 = 8;
/// Bounds the wait for workers that have to fall asleep.
const BACKSTOP: Duration = Duration::from_secs(30);
/// The name of the socket that ends the workers.
const STOP: u64 = u64::MAX;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "herd", needs: &[], run };

/// How the workers wait for connections.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    name: &'static str,
    api: Api,
    /// All have one queue of events.
    shared: bool,
    /// Each has a listener of its own.
    reuseport: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Api {
    Epoll(EventFlags),
    Kqueue { clear: bool },
}

const OWN: &str = "own LT";
const EXCLUSIVE: &str = "own LT EXCLUSIVE";

fn ways() -> Vec<Way> {
    let level = EventFlags::IN;
    let edge = EventFlags::IN | EventFlags::ET;
    let exclusive = EventFlags::IN | EventFlags::EXCLUSIVE;
    let way = |name, api, shared| Way { name, api, shared, reuseport: false };
    vec![
        way(OWN, Api::Epoll(level), false),
        way("own ET", Api::Epoll(edge), false),
        way(EXCLUSIVE, Api::Epoll(exclusive), false),
        way("own ET EXCLUSIVE", Api::Epoll(exclusive | EventFlags::ET), false),
        way("shared LT", Api::Epoll(level), true),
        way("shared ET", Api::Epoll(edge), true),
        Way { reuseport: true, ..way("REUSEPORT", Api::Epoll(level), false) },
        way("own kqueue", Api::Kqueue { clear: false }, false),
        way("shared kqueue", Api::Kqueue { clear: false }, true),
        way("kqueue CLEAR", Api::Kqueue { clear: true }, true),
    ]
}

/// How many connections are made, or how long: but no fewer than `FEWEST`.
#[derive(Clone, Copy)]
struct Plan {
    connections: u64,
    time: Duration,
}

struct Cell {
    way: Way,
    workers: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} workers", self.way.name, self.workers)
    }
}

/// What one run found, for each connection.
#[derive(Clone, Copy)]
struct Found {
    woken: f64,
    returned: f64,
    busiest: f64,
}

fn run(session: &Session) -> Result<Outcome> {
    let (connections, budget) = if session.quick() { (40, 6) } else { (200, 60) };
    let mut cells = Vec::new();
    for workers in WORKERS {
        cells.extend(ways().into_iter().map(|way| Cell { way, workers }));
    }
    // On a busy machine the workers fall asleep late, and fewer connections have to do.
    let plan = Plan { connections, time: Duration::from_secs(budget) / (cells.len() * RUNS) as u32 };
    let found = session.counts(&cells, RUNS, |cell| {
        one(cell.way, cell.workers, plan, &|| session.check()).with_context(|| cell.to_string())
    })?;
    let chart = |name: &str, title: &str, label: &str, value: fn(&Found) -> f64| {
        let mut series: Vec<Series> = ways().iter().map(|way| Series::new(way.name)).collect();
        for (cell, found) in cells.iter().zip(&found) {
            let values: Vec<f64> = found.iter().map(value).collect();
            let spread = Spread::of(&values);
            let same = values.iter().all(|it| *it == values[0]);
            let point = Point { exact: same, ..spread.at(cell.workers as f64) };
            let of = series.iter_mut().find(|series| series.name == cell.way.name);
            of.expect("a series for each way").points.push(point);
        }
        let (x, y) = (Axis::log("workers"), Axis::linear(label));
        Chart { name: name.into(), title: title.into(), x, y, series, limits: Vec::new() }
    };
    let woken =
        chart("woken", "Workers that one connection wakes (own or shared epoll)", "wakeups per connection", |it| {
            it.woken
        });
    let busiest =
        chart("busiest", "Who gets the connections", "share of the busiest worker (%)", |it| it.busiest * 100.0);
    let returned =
        chart("returned", "What a counter in the event loop sees", "returns of the wait per connection", |it| {
            it.returned
        });
    Ok(outcome(vec![woken, busiest, returned], connections))
}

fn outcome(charts: Vec<Chart>, connections: u64) -> Outcome {
    let most = WORKERS[WORKERS.len() - 1] as f64;
    let at =
        |chart: usize, name: &str| charts[chart].series(name).and_then(|it| it.at(most)).map_or(0.0, |it| it.median);
    let (all, one) = (at(0, OWN), at(0, EXCLUSIVE));
    let (shared, share) = (at(0, "shared LT"), at(1, EXCLUSIVE));
    let found = format!(
        "{most} workers, each with its own epoll: a connection wakes {all:.1} of them, with EXCLUSIVE {one:.1}, \
         and {shared:.1} that share one epoll; EXCLUSIVE gives the busiest worker {share:.0} %"
    );
    let verdict = if all < most * 0.9 {
        Verdict::DoesNot(format!("without EXCLUSIVE only {all:.1} of {most} wake"))
    } else if one > 1.1 {
        Verdict::DoesNot(format!("with EXCLUSIVE {one:.1} wake"))
    } else if shared < most * 0.9 {
        Verdict::HoldsIf(format!("each worker has its own epoll: of those that share one, {shared:.1} wake"))
    } else {
        Verdict::Holds
    };
    let notes = vec![
        format!("up to {connections} connections in each of {RUNS} runs, each when all workers sleep"),
        "kqueue CLEAR is one that all share; the kqueue here is a stand-in on nested epolls: what it wakes says nothing about a BSD".into(),
    ];
    Outcome { verdict, found, charts, notes }
}

#[derive(Default)]
struct Counts {
    thread: AtomicI32,
    slept: AtomicU64,
    returned: AtomicU64,
    accepted: AtomicU64,
}

/// A queue of events with a listener and the socket that ends the workers.
enum Queue {
    Epoll(OwnedFd),
    Kqueue(Kqueue, u64),
}

impl Queue {
    fn new(api: Api, listener: &TcpListener, stop: &UnixStream) -> Result<Self> {
        match api {
            Api::Epoll(interest) => {
                let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                epoll::add(&set, listener, EventData::new_u64(0), interest).context("register the listener")?;
                epoll::add(&set, stop, EventData::new_u64(STOP), EventFlags::IN)?;
                Ok(Self::Epoll(set))
            }
            Api::Kqueue { clear } => {
                let (queue, stop) = (Kqueue::new()?, stop.as_raw_fd() as usize);
                let flags = if clear { EV_ADD | EV_CLEAR } else { EV_ADD };
                let changes = [
                    Kevent::new(listener.as_raw_fd() as usize, EVFILT_READ, flags),
                    Kevent::new(stop, EVFILT_READ, EV_ADD),
                ];
                queue.kevent(&changes, &mut [], None).context("kevent")?;
                Ok(Self::Kqueue(queue, stop as u64))
            }
        }
    }

    /// Waits for one event, so that a worker does not take an event for which another one is to be woken. Some(true):
    /// a connection; Some(false): the end.
    fn wait(&self) -> Result<Option<bool>> {
        match self {
            Self::Epoll(set) => {
                let mut events = [const { std::mem::MaybeUninit::uninit() }];
                match epoll::wait(set.as_fd(), &mut events, None) {
                    Ok((events, _)) => Ok(events.first().map(|event| event.data.u64() != STOP)),
                    Err(rustix::io::Errno::INTR) => Ok(None),
                    Err(error) => Err(error).context("epoll_wait"),
                }
            }
            Self::Kqueue(queue, stop) => {
                let mut events = [Kevent::new(0, EVFILT_READ, 0)];
                let events = queue.kevent(&[], &mut events, None).context("kevent")?;
                Ok(events.first().map(|event| event.ident() as u64 != *stop))
            }
        }
    }
}

fn one(way: Way, workers: usize, plan: Plan, check: &dyn Fn() -> Result<()>) -> Result<Found> {
    let listeners = listeners(if way.reuseport { workers } else { 1 })?;
    let (stop, stopped) = UnixStream::pair()?;
    let mut queues = Vec::new();
    for worker in 0..if way.shared { 1 } else { workers } {
        queues.push(Arc::new(Queue::new(way.api, &listeners[worker % listeners.len()], &stopped)?));
    }
    let counts: Vec<Counts> = (0..workers).map(|_| Counts::default()).collect();
    let (ready, broken) = (Barrier::new(workers + 1), AtomicBool::new(false));
    let connections = thread::scope(|scope| {
        for (worker, counts) in counts.iter().enumerate() {
            let (queue, listener) = (queues[worker % queues.len()].clone(), &listeners[worker % listeners.len()]);
            let (ready, broken) = (&ready, &broken);
            scope.spawn(move || {
                if work(&queue, listener, counts, ready).is_err() {
                    broken.store(true, SeqCst);
                }
            });
        }
        ready.wait();
        let connected = connect(listeners[0].local_addr()?, &counts, plan, &broken, check);
        // Readable for all workers from now on.
        drop(stop);
        connected
    })?;
    ensure!(!broken.load(SeqCst), "a worker could not wait or accept");
    let sum = |count: fn(&Counts) -> &AtomicU64| counts.iter().map(|it| count(it).load(SeqCst)).sum::<u64>() as f64;
    ensure!(sum(|it| &it.accepted) == connections as f64, "accepted and connected differ");
    let most = counts.iter().map(|it| it.accepted.load(SeqCst)).max().unwrap_or(0);
    let each = connections as f64;
    Ok(Found {
        woken: sum(|it| &it.slept) / each,
        returned: sum(|it| &it.returned) / each,
        busiest: most as f64 / each,
    })
}

/// One listener, or several that share its port.
fn listeners(count: usize) -> Result<Vec<TcpListener>> {
    let mut addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listeners: Vec<TcpListener> = Vec::new();
    while listeners.len() < count {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        if count > 1 {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(1024)?;
        socket.set_nonblocking(true)?;
        listeners.push(socket.into());
        addr = listeners[0].local_addr()?;
    }
    Ok(listeners)
}

fn work(queue: &Queue, listener: &TcpListener, counts: &Counts, ready: &Barrier) -> Result<()> {
    // The counter's thread may run on one processor only. The workers are a server's, and run anywhere.
    move_to(Place::Anywhere);
    counts.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), SeqCst);
    ready.wait();
    let before = times_slept()?;
    loop {
        match queue.wait()? {
            Some(false) => break,
            Some(true) => {
                counts.returned.fetch_add(1, SeqCst);
                loop {
                    match listener.accept() {
                        Ok(_) => counts.accepted.fetch_add(1, SeqCst),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error).context("accept"),
                    };
                }
            }
            None => {}
        }
    }
    // The last wakeup was for the end.
    counts.slept.store((times_slept()? - before).saturating_sub(1), SeqCst);
    Ok(())
}

fn times_slept() -> Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).context("no voluntary_ctxt_switches in /proc/thread-self/status")
}

fn connect(
    addr: SocketAddr,
    counts: &[Counts],
    plan: Plan,
    broken: &AtomicBool,
    check: &dyn Fn() -> Result<()>,
) -> Result<u64> {
    let start = Instant::now();
    let mut clients = Vec::new();
    let accepted = || counts.iter().map(|it| it.accepted.load(SeqCst)).sum::<u64>();
    for number in 0.. {
        check()?;
        let end = Instant::now() + BACKSTOP;
        while !(accepted() == number && all_sleep(counts)?) {
            ensure!(!broken.load(SeqCst), "a worker could not wait or accept");
            ensure!(Instant::now() < end, "{} of {number} were accepted, and not all workers sleep", accepted());
            thread::yield_now();
        }
        if number >= plan.connections || number >= FEWEST && start.elapsed() > plan.time {
            return Ok(number);
        }
        clients.push(TcpStream::connect(addr).context("connect")?);
    }
    unreachable!("the loop has no end of its own")
}

fn all_sleep(counts: &[Counts]) -> Result<bool> {
    for counts in counts {
        let thread = counts.thread.load(SeqCst);
        let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).context("a worker has ended")?;
        // The state follows the name, which is in parentheses.
        if stat.rsplit(") ").next().is_none_or(|rest| !rest.starts_with('S')) {
            return Ok(false);
        }
    }
    Ok(true)
}
