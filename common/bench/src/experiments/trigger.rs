//! Is edge-triggered mode the fast one?
//!
//! **Varied:** the fan-in (how many connections have a message when the server wakes) and the size of the messages. The
//! servers: level-triggered (03-epoll-lt), edge-triggered (04-epoll-et), and edge-triggered with the shortcut of
//! epoll(7), that a short read ends a drain (04-epoll-et's `short_read`).
//!
//! **Held:** requests and answers. Each connection has one message in flight.
//!
//! **Counted:** the server's CPU time per round trip, as a ratio to `epoll-lt`. Its system calls per round trip, and
//! among them the reads that return only EAGAIN, with which a drain ends.
//!
//! **Why it can be trusted:** the servers take turns, and `epoll-lt` is measured twice: ratios inside its difference from
//! itself are ties. The calls are exact: our own tracer holds the server at its wait until the messages have arrived
//! (`held.rs`), so the tracer's slowness does not change what is counted.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use figures::{Axis, Chart, Limit, Outcome, Point, Series, Verdict};

use crate::held::{Calls, rounds};
use crate::load::Load;
use crate::stats::{Spread, noise, ratio, too_noisy};
use crate::{Contestant, Experiment, Need, Session, session};

const SMALL: usize = 64;
const LARGE: usize = 16 * 1024;
/// What client and server need for themselves.
const OTHER_DESCRIPTORS: usize = 100;
/// Two programs differ by so much at least, by how their code lies in memory.
const LAYOUT: f64 = 0.03;
/// For as long as the machine is too busy for ten round trips on each connection.
const LONGEST: Duration = Duration::from_secs(2);
/// How many times the round of a count is repeated, which should change nothing.
const REPEATS: usize = 5;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "trigger", needs: &[], run };

struct Cell<'a> {
    contestant: &'a Contestant,
    connections: usize,
    bytes: usize,
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} connections, {} bytes", self.contestant, self.connections, self.bytes)
    }
}

fn run(session: &Session) -> Result<Outcome> {
    let limit = harness::trial::raise_fd_limit() as usize;
    let level = session.contestant("epoll-lt")?;
    let twin = level.twin();
    let servers = [level, session.contestant("epoll-et")?, session.contestant("examples/short_read")?];
    let mut notes = Vec::new();
    let mut fan_in = if session.quick() { vec![1, 50, 900] } else { vec![1, 10, 50, 250, 900] };
    fan_in.retain(|connections| connections + OTHER_DESCRIPTORS <= limit);
    if fan_in.last() != Some(&900) {
        notes.push(format!("900 connections are left out: a process may open {limit} files"));
    }
    let mut charts = Vec::new();
    let (verdict, found) = cpu(session, &servers, &twin, &fan_in, &mut charts, &mut notes)?;
    match session::missing(Need::Ptrace) {
        None => calls(session, &servers, &fan_in, &mut charts)?,
        Some(why) => notes.push(format!("calls are not counted: {why}")),
    }
    Ok(Outcome { verdict, found, charts, notes })
}

/// CPU time per round trip, against `epoll-lt`.
fn cpu(
    session: &Session,
    servers: &[Contestant],
    twin: &Contestant,
    fan_in: &[usize],
    charts: &mut Vec<Chart>,
    notes: &mut Vec<String>,
) -> Result<(Verdict, String)> {
    let sizes: &[usize] = &[SMALL, LARGE];
    let mut cells = Vec::new();
    for &bytes in sizes {
        for &connections in fan_in {
            let all = std::iter::once(twin).chain(servers);
            cells.extend(all.map(|contestant| Cell { contestant, connections, bytes }));
        }
    }
    let time = Duration::from_secs_f64(if session.quick() { 0.08 } else { 0.2 });
    let rounds = session.rounds();
    let found = session.turns(&cells, rounds, |cell| {
        let server = session.start(cell.contestant)?;
        let mut time = time;
        loop {
            let load = Load::connect(server.addr, cell.connections, cell.bytes)?;
            let (cpu, round_trips) = server.cpu_per_trip(&load, time)?;
            // On a busy machine there may be none.
            if round_trips >= 10 * cell.connections as u64 || time > LONGEST {
                ensure!(round_trips > 0, "no answer in {time:?}");
                return Ok(cpu);
            }
            session.check()?;
            time *= 2;
        }
    })?;
    let load = |number: usize, place: usize| {
        &found[(number * fan_in.len() + place) * (servers.len() + 1)..][..servers.len() + 1]
    };
    let loads = (0..sizes.len()).flat_map(|number| (0..fan_in.len()).map(move |place| (number, place)));
    let noise = loads.map(|(number, place)| load(number, place)).map(|values| noise(&values[0], &values[1]));
    let noise = noise.fold(LAYOUT, f64::max);
    let (mut cheaper, mut dearer, mut ties) = (Vec::new(), Vec::new(), 0);
    for (number, &bytes) in sizes.iter().enumerate() {
        let mut series: Vec<Series> = servers[1..].iter().map(|server| Series::new(&server.name)).collect();
        for (place, &connections) in fan_in.iter().enumerate() {
            let values = load(number, place);
            for (index, series) in series.iter_mut().enumerate() {
                series.points.push(ratio(&values[2 + index], &values[1]).at(connections as f64));
            }
            let edge = ratio(&values[2], &values[1]).median;
            let words = format!("{edge:.2} at {connections} x {}", size(bytes));
            if edge < 1.0 - noise {
                cheaper.push(words);
            } else if edge > 1.0 + noise {
                dearer.push(words);
            } else {
                ties += 1;
            }
        }
        charts.push(Chart {
            name: format!("cpu-{bytes}"),
            title: format!("CPU time of {} round trips, epoll-lt = 1", size(bytes)),
            x: Axis::log("busy connections"),
            y: Axis::linear("CPU time per round trip, epoll-lt = 1"),
            series,
            limits: vec![Limit::at_y("epoll-lt", 1.0)],
        });
    }
    notes.push(format!("a tie is what differs by less than {:.0} %: as much as epoll-lt from itself", noise * 100.0));
    let all = cheaper.len() + dearer.len() + ties;
    let list = |words: &[String]| if words.is_empty() { "nowhere".to_owned() } else { words.join(", ") };
    let text = format!(
        "edge-triggered is cheaper {}, dearer {}, and a tie in {ties} of {all} loads (level-triggered = 1)",
        list(&cheaper),
        list(&dearer)
    );
    let verdict = if let Some(nothing) = too_noisy(noise, "epoll-lt") {
        nothing
    } else if cheaper.is_empty() {
        Verdict::Holds
    } else if cheaper.len() == all {
        Verdict::DoesNot("edge-triggered mode was cheaper under each load".into())
    } else {
        Verdict::HoldsIf(format!("the load is not one of {}", cheaper.join(", ")))
    };
    Ok((verdict, text))
}

/// Calls per round trip, exact.
fn calls(session: &Session, servers: &[Contestant], fan_in: &[usize], charts: &mut Vec<Chart>) -> Result<()> {
    let sizes: &[usize] = &[64, 1024, 4096, LARGE];
    let by_fan_in: Vec<(usize, usize)> = fan_in.iter().map(|&connections| (connections, SMALL)).collect();
    let by_size: Vec<(usize, usize)> = sizes.iter().map(|&bytes| (10, bytes)).collect();
    let plans = [
        ("fan-in", "64-byte messages lie ready at each wait", "messages at each wait", by_fan_in, true),
        ("size", "ten messages lie ready at each wait", "bytes of a message", by_size, false),
    ];
    for (name, title, label, cells, over_connections) in plans {
        let (mut calls, mut again) = (Vec::new(), Vec::new());
        for server in servers {
            let (mut all, mut nothing) = (Series::new(&server.name), Series::new(&server.name));
            for &(connections, bytes) in &cells {
                session.check()?;
                session.step(&format!("{server}: calls of {connections} x {bytes} bytes"));
                let running = session.start(server)?;
                let counted = rounds(&running, connections, bytes, REPEATS)?;
                let x = if over_connections { connections } else { bytes } as f64;
                all.points.push(point(x, &counted, connections, Calls::total));
                nothing.points.push(point(x, &counted, connections, |calls| calls.again));
            }
            calls.push(all);
            again.push(nothing);
        }
        let mut chart = |kind: &str, what: &str, y: &str, series: Vec<Series>| {
            let (x, y) = (Axis::log(label), Axis::linear(y));
            let (name, title) = (format!("{kind}-{name}"), format!("{what}: {title}"));
            charts.push(Chart { name, title, x, y, series, limits: Vec::new() });
        };
        chart("calls", "System calls", "system calls per round trip", calls);
        chart("again", "Reads that return EAGAIN", "reads per round trip that return EAGAIN", again);
    }
    Ok(())
}

/// A count per round trip: exact, if each round had the same.
fn point(x: f64, counted: &[Calls], connections: usize, value: impl Fn(&Calls) -> u64) -> Point {
    let values: Vec<f64> = counted.iter().map(|calls| value(calls) as f64 / connections as f64).collect();
    let exact = values.iter().all(|it| *it == values[0]);
    Point { exact, ..Spread::of(&values).at(x) }
}

fn size(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) }
}
