//! What does one wait cost, when many descriptors are idle and one is ready?
//!
//! **Varied:** the idle descriptors, from 10 to 1,000,000. select and poll take the descriptors themselves, so they end
//! at this process's limit (select's fd_set already at 1,024). A registration in an epoll or a ring outlives the
//! process's own descriptor, so epoll and io_uring go on (`crowd.rs` says how).
//!
//! **Held:** one descriptor is ready at each wait, so no wait blocks. All are eventfds. Only epoll ET and io_uring do
//! more than wait: an edge is made by one write, and the poll of the ready descriptor is armed again by the same call
//! that waits. Both belong to the figure. select's figure has the copy of the set.
//!
//! **Counted:** the CPU time of this thread for one wait, from CLOCK_THREAD_CPUTIME_ID, over as many waits as take 2 ms.
//!
//! **Why it can be trusted:** all ways take turns at each size, over the same descriptors. Each wait is checked: it
//! reports the ready descriptor and nothing else. At each size the children that hold descriptors are alive. `epoll LT`
//! has two turns in each round, and the two figures show the noise.

use std::fmt;

use anyhow::{Context, Result};
use figures::{Axis, Chart, Limit, Outcome, Series, Verdict};

use crate::crowd::Crowd;
use crate::stats::{Spread, noise};
use crate::waits::{Epoll, Poll, Queue, Reach, Ring, Select, Wait, sample};
use crate::{Experiment, Need, Session, session};

/// What this program needs for itself.
const OTHER_DESCRIPTORS: usize = 100;
const LEVEL: &str = "epoll LT";
const SIZES: [usize; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// From the fewest to the most: select and poll grow by more than this, or cannot be said to look at all.
const GROWS: f64 = 3.0;
/// Epoll grows by less than this, while the idle descriptors become up to 100,000 times as many.
const FLAT: f64 = 2.0;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "wait", needs: &[], run };

struct Way {
    name: &'static str,
    wait: Box<dyn Wait>,
    series: Series,
    open: bool,
}

struct Turn(usize, String);

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

fn run(session: &Session) -> Result<Outcome> {
    let limit = harness::trial::raise_fd_limit() as usize;
    let mut notes = Vec::new();
    let mut ways = ways(&mut notes)?;
    let mut crowd = Crowd::new()?;
    let most_open = limit.saturating_sub(OTHER_DESCRIPTORS);
    let mut sizes: Vec<usize> = SIZES.to_vec();
    if !sizes.contains(&most_open) && most_open < SIZES[5] {
        sizes.push(most_open);
    }
    sizes.sort_unstable();
    let mut reached = 0;
    let mut noises: Vec<f64> = Vec::new();
    for size in sizes {
        if size > most_open {
            retire(
                &mut ways,
                &[Reach::Set, Reach::Open],
                &format!("ends at {reached}: this process may open {limit} files"),
                &mut notes,
            );
        }
        if let Err(error) = grow(session, &mut crowd, &mut ways, size, most_open, &mut notes) {
            session.check()?;
            notes.push(format!("the curves end at {} idle: {error:#}", thousands(crowd.len())));
            if crowd.len() > reached {
                settle(&mut ways)?;
                noises.push(measure(session, &mut ways, crowd.len())?);
                reached = crowd.len();
            }
            break;
        }
        crowd.check()?;
        noises.push(measure(session, &mut ways, size)?);
        reached = size;
    }
    let outcome = outcome(&ways, limit, reached, Spread::of(&noises).median, notes);
    drop(ways);
    crowd.end()?;
    Ok(outcome)
}

fn ways(notes: &mut Vec<String>) -> Result<Vec<Way>> {
    let mut ways: Vec<Way> = Vec::new();
    let mut add = |name: &'static str, wait: Box<dyn Wait>| {
        ways.push(Way { name, wait, series: Series::new(name), open: true });
    };
    add("select", Box::new(Select::new(false)?));
    add("select, larger bitmap", Box::new(Select::new(true)?));
    add("poll", Box::new(Poll::new()?));
    add(LEVEL, Box::new(Epoll::new(false)?));
    add("epoll ET", Box::new(Epoll::new(true)?));
    match Queue::new() {
        Ok(queue) => add("kqueue (stand-in)", Box::new(queue)),
        Err(error) => notes.push(format!("kqueue is left out: {error:#}")),
    }
    match session::missing(Need::IoUring) {
        None => add("io_uring", Box::new(Ring::new()?)),
        Some(why) => notes.push(format!("io_uring is left out: {why}")),
    }
    Ok(ways)
}

/// Ends the curves of the ways that do not reach further.
fn retire(ways: &mut [Way], reaches: &[Reach], why: &str, notes: &mut Vec<String>) {
    let ended: Vec<&str> = ways
        .iter_mut()
        .filter(|way| way.open && reaches.contains(&way.wait.reach()))
        .map(|way| (way.open = false, way.name).1)
        .collect();
    if !ended.is_empty() {
        notes.push(format!("{} {why}", ended.join(", ")));
    }
}

fn grow(
    session: &Session,
    crowd: &mut Crowd,
    ways: &mut [Way],
    size: usize,
    most_open: usize,
    notes: &mut Vec<String>,
) -> Result<()> {
    while crowd.len() < size {
        if crowd.len().is_multiple_of(1000) {
            session.check()?;
            session.step(&format!("registers {} of {size}", crowd.len()));
        }
        let mut full = None;
        crowd.grow(|fd| {
            use std::os::fd::AsRawFd;
            for way in ways.iter_mut().filter(|way| way.open) {
                if way.wait.reach() == Reach::Set && fd.as_raw_fd() as usize >= libc::FD_SETSIZE {
                    full = Some(fd.as_raw_fd());
                    continue;
                }
                way.wait.watch(fd)?;
            }
            Ok(())
        })?;
        if full.is_some() {
            let why = format!("ends before {} idle ones: FD_SETSIZE is {}", crowd.len(), libc::FD_SETSIZE);
            retire(ways, &[Reach::Set], &why, notes);
        }
        if crowd.is_full(most_open) || crowd.len() == size {
            settle(ways)?;
            if crowd.is_full(most_open) && crowd.len() < size {
                crowd.hand_over()?;
            }
        }
    }
    Ok(())
}

fn settle(ways: &mut [Way]) -> Result<()> {
    ways.iter_mut().filter(|way| way.open).try_for_each(|way| way.wait.settle())
}

/// Adds a point to each open curve; returns how far one way is from itself.
fn measure(session: &Session, ways: &mut [Way], size: usize) -> Result<f64> {
    let open = ways.iter().enumerate().filter(|(_, way)| way.open);
    let mut turns: Vec<Turn> = open.map(|(index, way)| Turn(index, format!("{}, {size} idle", way.name))).collect();
    let twin = ways.iter().position(|way| way.name == LEVEL).context("no epoll")?;
    turns.push(Turn(twin, format!("{LEVEL} again, {size} idle")));
    let rounds = if session.quick() { 5 } else { 15 };
    let values = session.turns(&turns, rounds, |turn| sample(&mut *ways[turn.0].wait))?;
    for (turn, values) in turns.iter().zip(&values).take(turns.len() - 1) {
        ways[turn.0].series.points.push(Spread::of(values).at(size as f64));
    }
    let base = turns.iter().position(|turn| turn.0 == twin).context("no epoll")?;
    Ok(noise(&values[turns.len() - 1], &values[base]))
}

fn outcome(ways: &[Way], limit: usize, reached: usize, noise: f64, mut notes: Vec<String>) -> Outcome {
    let growth = |name: &str| {
        let points = &ways.iter().find(|way| way.name == name)?.series.points;
        let (first, last) = (points.first()?, points.last()?);
        Some((last.median / first.median, last.x, last.median))
    };
    let (scan, flat) = (growth("poll"), growth(LEVEL));
    let (Some((scan, scanned, scan_costs)), Some((flat, _, flat_costs))) = (scan, flat) else {
        return Outcome::skipped("the limits of this machine leave no room for ten descriptors");
    };
    let found = format!(
        "poll: {scan_costs:.0} µs at {} idle ({:.0} ns each); epoll LT: {flat_costs:.2} µs at {}, {flat:.2} times what 10 cost",
        thousands(scanned as usize),
        scan_costs * 1000.0 / scanned,
        thousands(reached)
    );
    let select = growth("select, larger bitmap").map_or(0.0, |it| it.0);
    let verdict = if scan < GROWS || select < GROWS {
        Verdict::DoesNot(format!(
            "from 10 to {scanned} idle, poll became {scan:.1} times as dear, and select {select:.1} times"
        ))
    } else if flat > FLAT {
        Verdict::DoesNot(format!("epoll became {flat:.1} times as dear"))
    } else {
        Verdict::Holds
    };
    let at = |name: &str| Some(ways.iter().find(|way| way.name == name)?.series.at(10_000.0)?.median);
    if let (Some(select), Some(epoll)) = (at("select, larger bitmap"), at(LEVEL)) {
        notes.push(format!(
            "10,000 idle: a wait of select takes {select:.0} µs, one of epoll {epoll:.2} µs: {:.0} times as much",
            select / epoll
        ));
    }
    notes.push(format!("the same epoll measured twice differs by {:.1} %", noise * 100.0));
    notes.push("all descriptors are eventfds: to look at a socket costs select and poll more".into());
    let limits =
        vec![Limit::at_x("FD_SETSIZE", libc::FD_SETSIZE as f64), Limit::at_x("descriptors of a process", limit as f64)];
    let chart = Chart {
        name: "wait".into(),
        title: "One wait, one descriptor ready".into(),
        x: Axis::log("idle descriptors"),
        y: Axis::log("CPU time of one wait (µs)"),
        series: ways.iter().map(|way| way.series.clone()).collect(),
        limits,
    };
    Outcome { verdict, found, charts: vec![chart], notes }
}

/// `1,000,000`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
