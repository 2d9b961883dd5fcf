//! What memory does an idle connection take, and which kind?
//!
//! **Varied:** the connections, 100 to 10,000; the server: one thread for each connection, with stacks of 8 MiB (what a C
//! program gets from `ulimit -s`), of 2 MiB (Rust's default) and of 64 KiB, and the chapters.
//!
//! **Held:** every connection has made one round trip and is idle, so the part of a stack that an echo needs is used.
//!
//! **Counted:** *reserved*: the server's address space (VmSize). *Resident*: its memory that exists (smaps_rollup's Rss).
//! *Kernel*: what the whole machine has more of KernelStack, PageTables and Slab (/proc/meminfo). Each is the difference
//! from the same server without connections.
//!
//! **Why it can be trusted:** reserved and resident are the server's own. The kernel's part is the machine's, so other
//! programs disturb it, and the sockets of both ends are in it. They are the same for each server, and the difference
//! between two servers is what a thread costs. The figures are medians of up to three runs.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use figures::{Axis, Chart, Limit, Outcome, Series, Verdict};

use crate::crowd::memory_kib;
use crate::load::Load;
use crate::stats::Spread;
use crate::{Contestant, Experiment, Need, Session, session};

const SIZES: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];
/// What client and server need for themselves.
const OTHER_DESCRIPTORS: usize = 100;
/// One thread for each connection, with the stack that C programs have.
const C_STACK: &str = "threads, 8 MiB";
const EPOLL: &str = "epoll-lt";
/// What is said of ten thousand threads.
const CLAIMED_GB: f64 = 80.0;
/// So many connect before the first of them waits for its answer.
const AT_ONCE: usize = 100;
/// The server has answered, but a thread of the last connection may not have reached its read.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "threads", needs: &[Need::Descriptors(210)], run };

struct Cell<'a> {
    contestant: &'a Contestant,
    connections: usize,
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} connections", self.contestant, self.connections)
    }
}

/// MiB, each.
#[derive(Clone, Copy)]
struct Memory {
    reserved: f64,
    resident: f64,
    kernel: f64,
}

fn run(session: &Session) -> Result<Outcome> {
    let limit = harness::trial::raise_fd_limit() as usize;
    let mut notes = Vec::new();
    let contestants = contestants(session, &mut notes)?;
    let mut sizes: Vec<usize> = SIZES.into_iter().filter(|size| *size + OTHER_DESCRIPTORS <= limit).collect();
    if sizes.len() < SIZES.len() {
        notes.push(format!("ends at {} connections: a process may open {limit} files", sizes[sizes.len() - 1]));
    }
    if session.quick() {
        sizes.retain(|size| *size != 300 && *size != 3_000);
    }
    let mut cells = Vec::new();
    for &connections in &sizes {
        // Ten thousand connections take about a second for each server.
        let some = session.quick() && connections > 1_000;
        let of = contestants.iter().filter(|it| !some || it.name == C_STACK || it.name == EPOLL);
        cells.extend(of.map(|contestant| Cell { contestant, connections }));
    }
    let rounds = if session.quick() { 1 } else { 3 };
    let mut failed = Vec::new();
    let found = session.counts(&cells, rounds, |cell| match measure(session, cell) {
        Ok(memory) => Ok(Some(memory)),
        Err(error) => {
            session.check()?;
            failed.push(format!("{cell}: left out: {error:#}"));
            Ok(None)
        }
    })?;
    failed.sort();
    failed.dedup();
    notes.extend(failed);
    let found: Vec<(&Cell<'_>, Vec<Memory>)> = cells
        .iter()
        .zip(found)
        .filter_map(|(cell, memories)| Some((cell, memories.into_iter().collect::<Option<Vec<Memory>>>()?)))
        .collect();
    Ok(outcome(&contestants, &found, notes))
}

fn contestants(session: &Session, notes: &mut Vec<String>) -> Result<Vec<Contestant>> {
    let named = |name: &str, command: &str| -> Result<Contestant> {
        let mut contestant = session.contestant(command)?;
        contestant.name = name.into();
        Ok(contestant)
    };
    let mut contestants = vec![
        named(C_STACK, "examples/thread_per_connection --stack 8192")?,
        named("threads, 2 MiB", "examples/thread_per_connection")?,
        named("threads, 64 KiB", "examples/thread_per_connection --stack 64")?,
    ];
    for chapter in ["poll", EPOLL, "epoll-et", "kqueue"] {
        contestants.push(session.contestant(chapter)?);
    }
    match session::missing(Need::IoUring) {
        None => contestants.push(session.contestant("uring")?),
        Some(why) => notes.push(format!("uring is left out: {why}")),
    }
    Ok(contestants)
}

fn measure(session: &Session, cell: &Cell<'_>) -> Result<Memory> {
    let server = session.start(cell.contestant)?;
    // The first connection may bring buffers that all share.
    let first = Load::connect(server.addr, 1, 64)?;
    first.once()?;
    let before = look(server.process)?;
    let mut clients = Vec::new();
    while clients.len() < cell.connections {
        session.check()?;
        let count = AT_ONCE.min(cell.connections - clients.len());
        connect(server.addr, &mut clients, count)?;
    }
    wait_for_sleep(server.process.pid)?;
    let after = look(server.process)?;
    let mib = |after: u64, before: u64| (after as f64 - before as f64) / 1024.0;
    Ok(Memory {
        reserved: mib(after[0], before[0]),
        resident: mib(after[1], before[1]),
        kernel: mib(after[2], before[2]).max(0.0),
    })
}

/// Some more connections, each with one round trip.
fn connect(addr: SocketAddr, clients: &mut Vec<TcpStream>, count: usize) -> Result<()> {
    let first = clients.len();
    for number in first..first + count {
        let mut client = TcpStream::connect(addr).with_context(|| format!("connection {number}"))?;
        client.set_read_timeout(Some(Duration::from_secs(10)))?;
        // So that the port is free at once when it is closed.
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        client.write_all(&[b'x'; 64]).with_context(|| format!("connection {number}"))?;
        clients.push(client);
    }
    for (number, client) in clients.iter_mut().enumerate().skip(first) {
        client.read_exact(&mut [0; 64]).with_context(|| format!("connection {number} got no answer"))?;
    }
    Ok(())
}

/// Until every thread sleeps: what it does before belongs to the connection's price.
fn wait_for_sleep(pid: i32) -> Result<()> {
    let end = Instant::now() + SETTLES_WITHIN;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let sleeps = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'));
        if sleeps || Instant::now() > end {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// KiB: reserved, resident, and the kernel's on the whole machine.
fn look(process: observe::Family) -> Result<[u64; 3]> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).context("no VmSize")?;
    let reserved = line.split_whitespace().next().and_then(|word| word.parse().ok()).context("no number in VmSize")?;
    let resident = process.resident().context("no smaps_rollup")? / 1024;
    ensure!(resident > 0, "nothing is resident");
    let kernel = memory_kib("KernelStack:")? + memory_kib("PageTables:")? + memory_kib("Slab:")?;
    Ok([reserved, resident, kernel])
}

fn outcome(contestants: &[Contestant], found: &[(&Cell<'_>, Vec<Memory>)], mut notes: Vec<String>) -> Outcome {
    let chart = |name: &str, title: &str, value: fn(&Memory) -> f64, limits: Vec<Limit>| {
        let series = contestants.iter().map(|contestant| {
            let of = found.iter().filter(|(cell, _)| cell.contestant.name == contestant.name);
            let points = of.map(|(cell, memories)| {
                Spread::of(&memories.iter().map(value).collect::<Vec<_>>()).at(cell.connections as f64)
            });
            Series { name: contestant.name.clone(), points: points.collect() }
        });
        let series = series.filter(|series| !series.points.is_empty()).collect();
        let (x, y) = (Axis::log("idle connections"), Axis::log("MiB"));
        Chart { name: name.into(), title: title.into(), x, y, series, limits }
    };
    let physical = memory_kib("MemTotal:").map_or(0.0, |kib| kib as f64 / 1024.0);
    let limits = vec![Limit::at_y("memory of this machine", physical)];
    let reserved = chart("reserved", "Address space that the connections reserve", |it| it.reserved, limits);
    let resident = chart("resident", "Memory that the connections use", |it| it.resident, vec![]);
    let kernel = chart("kernel", "What the kernel keeps for the connections", |it| it.kernel, vec![]);
    let last = |chart: &Chart, name: &str| chart.series(name).and_then(|series| series.points.last().copied());
    let (Some(space), Some(used), Some(stacks)) =
        (last(&reserved, C_STACK), last(&resident, C_STACK), last(&kernel, C_STACK))
    else {
        return Outcome {
            charts: vec![reserved, resident, kernel],
            notes,
            ..Outcome::skipped("no thread could be made for each connection")
        };
    };
    let (epoll, epoll_kernel) = (last(&resident, EPOLL), last(&kernel, EPOLL));
    let each = space.median / space.x;
    let small = (used.median + stacks.median) / space.median;
    let text = format!(
        "{} threads reserve {:.1} GiB ({each:.1} MiB each) and use {:.0} MiB, and the kernel {:.0} MiB for them; epoll-lt uses {:.1} MiB, and the kernel {:.0} MiB",
        space.x,
        space.median / 1024.0,
        used.median,
        stacks.median,
        epoll.map_or(f64::NAN, |it| it.median),
        epoll_kernel.map_or(f64::NAN, |it| it.median),
    );
    notes.push(format!(
        "the {CLAIMED_GB:.0} GB of 10,000 threads are 10,000 stacks of 8 MiB of address space; they are reserved and not used, so a machine with {:.0} GiB runs them",
        physical / 1024.0
    ));
    notes.push("the first threads also reserve malloc's arenas, up to 8 of 64 MiB for each processor".into());
    notes.push("kernel: KernelStack, PageTables and Slab of the whole machine, with the sockets of both ends".into());
    let verdict = if each < 7.9 {
        Verdict::DoesNot(format!("a thread reserves {each:.1} MiB"))
    } else if small > 0.1 {
        Verdict::DoesNot(format!("{:.0} % of what is reserved is used", small * 100.0))
    } else {
        Verdict::Holds
    };
    Outcome { verdict, found: text, charts: vec![reserved, resident, kernel], notes }
}
