//! `syscalls`: how many system calls a round trip takes, which ones, and what they cost.
//!
//! - Varied: busy connections, 1 to 1,000.
//! - Held: 64-byte messages, one in flight for each connection.
//! - Counted: the server's system calls by name, and, in runs of their own, its CPU time.
//!
//! The calls are counted with ptrace(2), exactly. The server is held at each of its waits until every client's message has
//! arrived, so the counts are those of a server that all of them keep busy, and do not depend on how slow the tracer makes
//! it. The CPU time is that of servers that nobody traces, in turns.

use std::time::Duration;

use anyhow::Result;
use figures::{Axis, Chart, Limit, Outcome, Point, Series, Verdict, number};
use observe::Call;

use crate::held::{self, Calls};
use crate::load::Load;
use crate::server::Contestant;
use crate::stats::Spread;
use crate::{Experiment, Need, Session};

/// The experiment.
pub const EXPERIMENT: Experiment =
    Experiment { name: "syscalls", needs: &[Need::Ptrace, Need::Descriptors(1200)], run };

const SERVERS: [&str; 6] = ["select", "poll", "epoll-lt", "epoll-et", "kqueue", "uring"];
const RINGS: [&str; 2] = ["examples/multishot", "examples/sqpoll --wait sleep"];
/// select serves descriptors below FD_SETSIZE.
const OF_SELECT: usize = 1000;
/// Rounds in which the calls are counted.
const ROUNDS: usize = 4;
/// Where the calls are shown by name.
const BY_NAME: usize = 50;

fn run(session: &Session) -> Result<Outcome> {
    let busy = if session.quick() { &[1, 10, 50, 500][..] } else { &[1, 2, 5, 10, 50, 200, 1_000] };
    let mut notes = Vec::new();
    let mut servers = SERVERS.map(|name| session.contestant(name)).into_iter().collect::<Result<Vec<_>>>()?;
    match crate::session::missing(Need::IoUring) {
        Some(why) => {
            servers.retain(|server| server.name != "uring");
            notes.push(format!("the rings are left out: {why}"));
        }
        None => {
            for ring in RINGS {
                servers.push(session.contestant(ring)?.on_all_cores());
            }
        }
    }
    let mut counts = Vec::new();
    for server in &servers {
        let mut row = Vec::new();
        for connections in places(server, busy) {
            session.step(&format!("counting the calls of {server}, {connections} busy"));
            row.push((connections, calls(session, server, connections)?));
        }
        counts.push(row);
    }
    let costs = costs(session, &servers, busy)?;
    let (verdict, found) = judged(&counts, &servers);
    notes.push("calls are counted while every client's message lies ready at each wait".into());
    Ok(Outcome { verdict, found, charts: charts(&servers, &counts, &costs), notes })
}

fn places(server: &Contestant, busy: &[usize]) -> Vec<usize> {
    let most = if server.name == "select" { OF_SELECT - 1 } else { usize::MAX };
    busy.iter().copied().filter(|connections| *connections <= most).collect()
}

/// The calls of some rounds, and how many round trips they served.
fn calls(session: &Session, server: &Contestant, connections: usize) -> Result<(Calls, u64)> {
    session.check()?;
    let running = session.start(server)?;
    let mut all = Calls::default();
    for round in held::rounds(&running, connections, 64, ROUNDS)? {
        for (number, calls) in round.calls {
            *all.calls.entry(number).or_default() += calls;
        }
    }
    Ok((all, (ROUNDS * connections) as u64))
}

/// CPU time per round trip, in µs: for each number of connections the rounds of each server that takes so many.
type Costs = Vec<(usize, Vec<(String, Spread)>)>;

fn costs(session: &Session, servers: &[Contestant], busy: &[usize]) -> Result<Costs> {
    let window = Duration::from_millis(if session.quick() { 50 } else { 150 });
    let rounds = if session.quick() { 3 } else { 5 };
    let mut costs = Vec::new();
    // In a quick run the first, the last and one between.
    let step = if session.quick() { 2 } else { 1 };
    for connections in busy.iter().rev().step_by(step).rev() {
        let taking: Vec<Contestant> =
            servers.iter().filter(|server| places(server, busy).contains(connections)).cloned().collect();
        let rounds = session.turns(&taking, rounds, |server| {
            let running = session.start(server)?;
            let load = Load::connect(running.addr, *connections, 64)?;
            Ok(running.cpu_per_trip(&load, window)?.0)
        })?;
        let spreads = taking.iter().zip(&rounds).map(|(server, values)| (server.name.clone(), Spread::of(values)));
        costs.push((*connections, spreads.collect()));
    }
    Ok(costs)
}

type CallRow = Vec<(usize, (Calls, u64))>;

fn charts(servers: &[Contestant], counts: &[CallRow], costs: &Costs) -> Vec<Chart> {
    let calls = servers.iter().zip(counts).map(|(server, row)| Series {
        name: server.name.clone(),
        points: row.iter().map(|(busy, found)| Point::exact(*busy as f64, per_trip(found))).collect(),
    });
    let cpu = servers.iter().map(|server| {
        let of =
            |spreads: &Vec<(String, Spread)>| spreads.iter().find(|(name, _)| *name == server.name).map(|(_, it)| *it);
        let points = costs.iter().filter_map(|(busy, spreads)| Some(of(spreads)?.at(*busy as f64)));
        Series { name: server.name.clone(), points: points.collect() }
    });
    vec![
        Chart {
            name: "calls".into(),
            title: "System calls of a 64-byte round trip".into(),
            x: Axis::log("busy connections"),
            y: Axis::log("system calls per round trip"),
            series: calls.collect(),
            limits: vec![Limit::at_y("one call", 1.0)],
        },
        Chart {
            name: "cpu".into(),
            title: "CPU time of a 64-byte round trip".into(),
            x: Axis::log("busy connections"),
            y: Axis::log("server CPU per round trip (µs)"),
            series: cpu.collect(),
            limits: Vec::new(),
        },
        by_name(servers, counts),
    ]
}

fn by_name(servers: &[Contestant], counts: &[CallRow]) -> Chart {
    let of = |row: &CallRow| row.iter().find(|(busy, _)| *busy == BY_NAME).map(|(_, found)| found.clone());
    let found: Vec<Option<(Calls, u64)>> = counts.iter().map(of).collect();
    let name = |number: &i64| Call::new(*number, [0; 6]).name;
    let mut names: Vec<&str> = found.iter().flatten().flat_map(|(counts, _)| counts.calls.keys().map(name)).collect();
    names.sort_unstable();
    names.dedup();
    let series = servers.iter().zip(&found).filter_map(|(server, found)| {
        let (counts, trips) = found.as_ref()?;
        let point = |(at, of): (usize, &&str)| {
            let calls: u64 =
                counts.calls.iter().filter(|(number, _)| name(number) == *of).map(|(_, calls)| calls).sum();
            (calls > 0).then(|| Point::exact(at as f64, calls as f64 / *trips as f64))
        };
        Some(Series { name: server.name.clone(), points: names.iter().enumerate().filter_map(point).collect() })
    });
    Chart {
        name: "by-name".into(),
        title: format!("Which calls, at {BY_NAME} busy connections"),
        series: series.collect(),
        x: Axis::named("system call", names.iter().copied()),
        y: Axis::log("calls per round trip"),
        limits: Vec::new(),
    }
}

fn per_trip((counts, trips): &(Calls, u64)) -> f64 {
    counts.total() as f64 / *trips as f64
}

fn judged(counts: &[CallRow], servers: &[Contestant]) -> (Verdict, String) {
    let row = |name: &str| {
        let at = servers.iter().position(|server| server.name == name)?;
        Some(counts[at].iter().map(|(busy, found)| (*busy, per_trip(found))).collect::<Vec<(usize, f64)>>())
    };
    let (Some(ring), Some(epoll)) = (row("uring"), row("epoll-lt")) else {
        return (Verdict::Skipped("there is no ring here".into()), String::new());
    };
    verdict(&ring, &epoll)
}

/// From the calls of a round trip by busy connections, of the ring and of epoll.
fn verdict(ring: &[(usize, f64)], epoll: &[(usize, f64)]) -> (Verdict, String) {
    let told = |row: &[(usize, f64)]| {
        let places: Vec<String> = row
            .iter()
            .filter(|(busy, _)| [1, BY_NAME].contains(busy) || Some(busy) == row.last().map(|(busy, _)| busy))
            .map(|(busy, calls)| format!("{} at {}", number(*calls), number(*busy as f64)))
            .collect();
        places.join(", ")
    };
    let (alone, many) = (ring.first().map_or(0.0, |it| it.1), ring.last().map_or(0.0, |it| it.1));
    let found = format!("calls per round trip by busy connections: uring {}; epoll-lt {}", told(ring), told(epoll));
    let verdict = if alone < 1.0 {
        Verdict::Holds
    } else if many < alone / 2.0 {
        Verdict::HoldsIf("several clients are busy at once".into())
    } else {
        Verdict::DoesNot("a ring takes as many calls with many clients as with one".into())
    };
    (verdict, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_batches_only_many_clients_holds_under_that_condition() {
        let epoll = [(1, 3.0), (50, 2.02)];
        let (verdict, found) = super::verdict(&[(1, 2.0), (50, 0.041)], &epoll);
        assert!(matches!(verdict, Verdict::HoldsIf(_)));
        assert!(found.contains("uring 2 at 1, 0.041 at 50; epoll-lt 3 at 1, 2.02 at 50"), "{found}");
        assert!(matches!(super::verdict(&[(1, 2.0), (50, 1.9)], &epoll).0, Verdict::DoesNot(_)));
        assert_eq!(super::verdict(&[(1, 0.0), (50, 0.0)], &epoll).0, Verdict::Holds);
    }
}
