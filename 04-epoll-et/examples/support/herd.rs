//! `exclusive --demo`: which threads does a connection wake, when several threads wait for one listener?
//!
//! Invariant: in the first table the next client connects only when every thread sleeps and none is left in the queue,
//! so what is counted is what one connection causes. A thread that slept and runs again was woken; the kernel counts
//! that as a voluntary context switch. Not every wake-up ends epoll_wait: if the listener is drained by then, the
//! kernel lets the thread sleep on, and only this count shows it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::support::{EDGE, EXCLUSIVE, Epoll, LISTEN, NO_EVENT};

const CONNECTIONS: u64 = 400;
/// Bounds the wait for threads that have to fall asleep.
const BACKSTOP: Duration = Duration::from_secs(30);

/// How the threads wait for the listener.
struct Way {
    name: &'static str,
    interest: u32,
    /// All threads share one epoll.
    shared: bool,
}

const WAYS: [Way; 5] = [
    Way { name: "one epoll per thread, level", interest: LISTEN, shared: false },
    Way { name: "one epoll per thread, edge", interest: LISTEN | EDGE, shared: false },
    Way { name: "one epoll per thread, level, EXCLUSIVE", interest: LISTEN | EXCLUSIVE, shared: false },
    Way { name: "one epoll for all, level", interest: LISTEN, shared: true },
    Way { name: "one epoll for all, edge", interest: LISTEN | EDGE, shared: true },
];

#[derive(Default)]
struct Counts {
    thread: AtomicI32,
    slept: AtomicU64,
    returned: AtomicU64,
    accepted: AtomicU64,
}

pub fn demo(workers: usize) -> Result<()> {
    println!("{workers} threads, {CONNECTIONS} connections; per connection:\n");
    for (title, at_rest) in [("each when all threads sleep", true), ("each right after the other", false)] {
        println!("{title:39} {:>7} {:>9} {:>8}", "woken", "returned", "busiest");
        for way in &WAYS {
            let counts = run(way, workers, at_rest).context(way.name)?;
            let per = |count: fn(&Counts) -> &AtomicU64| {
                counts.iter().map(|it| count(it).load(SeqCst)).sum::<u64>() as f64 / CONNECTIONS as f64
            };
            let busiest = counts.iter().map(|it| it.accepted.load(SeqCst)).max().unwrap_or(0);
            ensure!(per(|it| &it.accepted) == 1.0, "accepted and connected differ");
            let busiest = format!("{:.0} %", busiest as f64 * 100.0 / CONNECTIONS as f64);
            println!("{:39} {:>7.2} {:>9.2} {busiest:>8}", way.name, per(|it| &it.slept), per(|it| &it.returned));
        }
        println!();
    }
    println!("woken: a thread slept and ran again; returned: its epoll_wait reported the listener;");
    println!("busiest: the share of all connections that the busiest thread accepted");
    Ok(())
}

fn run(way: &Way, workers: usize, at_rest: bool) -> Result<Vec<Counts>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let (stop, stopped) = UnixStream::pair()?;
    let epoll = || -> Result<Epoll> {
        let epoll = Epoll::new()?;
        epoll.add(listener.as_raw_fd(), way.interest)?;
        epoll.add(stopped.as_raw_fd(), LISTEN)?;
        Ok(epoll)
    };
    let shared = Arc::new(epoll()?);
    let epolls = (0..workers).map(|_| if way.shared { Ok(shared.clone()) } else { epoll().map(Arc::new) });
    let epolls: Vec<Arc<Epoll>> = epolls.collect::<Result<_>>()?;
    // Unused here. Its registration of the listener would be one more to wake.
    if !way.shared {
        drop(shared);
    }
    let counts: Vec<Counts> = (0..workers).map(|_| Counts::default()).collect();
    let (ready, broken) = (Barrier::new(workers + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        for (epoll, counts) in epolls.iter().zip(&counts) {
            let (listener, ready, broken) = (&listener, &ready, &broken);
            let stop = stopped.as_raw_fd();
            scope.spawn(move || {
                if work(epoll, listener, stop, counts, ready).is_err() {
                    broken.store(true, SeqCst);
                }
            });
        }
        ready.wait();
        let connected = connect(listener.local_addr()?, &counts, at_rest);
        // Readable for all threads from now on.
        drop(stop);
        connected
    })?;
    ensure!(!broken.load(SeqCst), "a thread could not wait or accept");
    Ok(counts)
}

fn work(epoll: &Epoll, listener: &TcpListener, stop: i32, counts: &Counts, ready: &Barrier) -> Result<()> {
    // SAFETY: no pointers.
    counts.thread.store(unsafe { libc::gettid() }, SeqCst);
    ready.wait();
    let before = times_slept()?;
    // Room for one event, so that a thread does not take an event for which another thread is to be woken.
    let mut events = [NO_EVENT];
    loop {
        match epoll.wait(&mut events, -1)? {
            [event] if event.u64 == stop as u64 => break,
            [_] => {
                counts.returned.fetch_add(1, SeqCst);
                while listener.accept().is_ok() {
                    counts.accepted.fetch_add(1, SeqCst);
                }
            }
            _ => {}
        }
    }
    // The last wakeup was for the stop.
    counts.slept.store((times_slept()? - before).saturating_sub(1), SeqCst);
    Ok(())
}

fn times_slept() -> Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).context("no voluntary_ctxt_switches in /proc/thread-self/status")
}

fn connect(addr: SocketAddr, counts: &[Counts], at_rest: bool) -> Result<()> {
    let mut clients = Vec::new();
    let accepted = || counts.iter().map(|it| it.accepted.load(SeqCst)).sum::<u64>();
    for number in 0..CONNECTIONS {
        while at_rest && !(accepted() == number && all_sleep(counts)?) {
            thread::yield_now();
        }
        clients.push(TcpStream::connect(addr).context("connect")?);
    }
    let end = Instant::now() + BACKSTOP;
    while !(accepted() == CONNECTIONS && all_sleep(counts)?) {
        ensure!(Instant::now() < end, "{} of {CONNECTIONS} were accepted", accepted());
        thread::yield_now();
    }
    Ok(())
}

fn all_sleep(counts: &[Counts]) -> Result<bool> {
    for counts in counts {
        let thread = counts.thread.load(SeqCst);
        let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).context("a thread has ended")?;
        // The state follows the name, which is in parentheses.
        if stat.rsplit(") ").next().is_none_or(|rest| !rest.starts_with('S')) {
            return Ok(false);
        }
    }
    Ok(true)
}
