//! `peers`: the chapters beside echo servers on the libraries that people use.
//!
//! - Varied: the server: the chapters, and the same echo on mio, tokio (current thread) and smol.
//! - Held: the load: 50 clients with 64 bytes, 50 with 4 KiB, 900 with 64 bytes, one message in flight each.
//! - Counted: the server's CPU time per round trip (schedstat, all threads).
//!
//! The peers are in `common/bench/peers`, a workspace of its own with its own lock file: nobody who builds the course
//! builds them. `epoll-lt` takes part twice; a difference from it that is not larger than its own is a tie.

use std::time::Duration;

use anyhow::Result;
use figures::{Axis, Chart, Limit, Outcome, Series, Verdict, number};

use crate::load::Load;
use crate::server::Contestant;
use crate::stats::{Spread, is_tie, noise, ratio, too_noisy};
use crate::{Experiment, Need, Session};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "peers", needs: &[Need::Descriptors(1100)], run };

const CHAPTERS: [&str; 5] = ["poll", "epoll-lt", "epoll-et", "kqueue", "uring"];
/// The programs of `common/bench/peers`.
pub const PEERS: [&str; 3] = ["echo-mio", "echo-tokio", "echo-smol"];
const BASELINE: &str = "epoll-lt";
/// Connections, and bytes of a message.
const LOADS: [(usize, usize); 3] = [(50, 64), (50, 4096), (900, 64)];

/// CPU time per round trip in µs, by load.
type Turn = [f64; LOADS.len()];

fn run(session: &Session) -> Result<Outcome> {
    let peers = match session.peers() {
        Ok(folder) => folder,
        Err(why) => return Ok(Outcome::skipped(format!("the peers could not be built: {why}"))),
    };
    let mut notes = Vec::new();
    let mut servers = CHAPTERS.map(|name| session.contestant(name)).into_iter().collect::<Result<Vec<_>>>()?;
    if let Some(why) = crate::session::missing(Need::IoUring) {
        servers.retain(|server| server.name != "uring");
        notes.push(format!("uring is left out: {why}"));
    }
    for name in PEERS {
        let path = peers.join(name).to_string_lossy().into_owned();
        servers.push(Contestant::own(name.trim_start_matches("echo-"), vec![path]));
    }
    let baseline = servers.iter().position(|server| server.name == BASELINE).expect("it is a chapter");
    servers.push(servers[baseline].twin());
    let window = Duration::from_millis(if session.quick() { 70 } else { 300 });
    let rounds = if session.quick() { 3 } else { 7 };
    let turns = session.turns(&servers, rounds, |server| one(session, server, window))?;
    let values = |server: usize, load: usize| turns[server].iter().map(|turn| turn[load]).collect::<Vec<f64>>();
    let noises: Vec<f64> =
        (0..LOADS.len()).map(|load| noise(&values(servers.len() - 1, load), &values(baseline, load))).collect();
    servers.pop();
    let ratios: Vec<(String, [Spread; LOADS.len()])> = servers
        .iter()
        .enumerate()
        .map(|(at, server)| {
            let of = |load: usize| ratio(&values(at, load), &values(baseline, load));
            (server.name.clone(), std::array::from_fn(of))
        })
        .collect();
    for (load, noise) in noises.iter().enumerate() {
        notes.push(format!("{}: {BASELINE} against itself differs by up to {:.0} %", named(load), noise * 100.0));
    }
    let times = chart("cpu", "CPU time of a round trip", "server CPU per round trip (µs)", &servers, |at, load| {
        Spread::of(&values(at, load))
    });
    let relative =
        chart("ratio", "CPU time of a round trip, epoll-lt = 1", "times epoll-lt's CPU time", &servers, |at, load| {
            ratios[at].1[load]
        });
    let relative = Chart { limits: vec![Limit::at_y("epoll-lt", 1.0)], ..relative };
    let (verdict, found) = judged(&ratios, &noises);
    Ok(Outcome { verdict, found, charts: vec![relative, times], notes })
}

fn one(session: &Session, server: &Contestant, window: Duration) -> Result<Turn> {
    let running = session.start(server)?;
    let mut turn = Turn::default();
    for ((connections, bytes), figure) in LOADS.into_iter().zip(&mut turn) {
        session.check()?;
        let load = Load::connect(running.addr, connections, bytes)?;
        (*figure, _) = running.cpu_per_trip(&load, window)?;
    }
    Ok(turn)
}

fn named(load: usize) -> String {
    let (connections, bytes) = LOADS[load];
    let size = if bytes >= 1024 { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") };
    format!("{connections} × {size}")
}

fn chart(name: &str, title: &str, y: &str, servers: &[Contestant], of: impl Fn(usize, usize) -> Spread) -> Chart {
    let points = |at| (0..LOADS.len()).map(|load| of(at, load).at(load as f64)).collect();
    let series =
        servers.iter().enumerate().map(|(at, server)| Series { name: server.name.clone(), points: points(at) });
    Chart {
        name: name.into(),
        title: title.into(),
        x: Axis::named("clients × bytes of a message", (0..LOADS.len()).map(named)),
        y: Axis::linear(y),
        series: series.collect(),
        limits: Vec::new(),
    }
}

/// The chapter loses where a library takes less, by more than the noise.
fn judged(ratios: &[(String, [Spread; LOADS.len()])], noises: &[f64]) -> (Verdict, String) {
    let libraries =
        || ratios.iter().filter(|(name, _)| PEERS.iter().any(|peer| peer.trim_start_matches("echo-") == name));
    let told: Vec<String> = libraries()
        .map(|(name, loads)| {
            let figures: Vec<String> = loads.iter().map(|ratio| number(ratio.median)).collect();
            format!("{name} {}", figures.join(", "))
        })
        .collect();
    let heads: Vec<String> = (0..LOADS.len()).map(named).collect();
    let found = format!("CPU time with {BASELINE}'s as 1, at {}: {}", heads.join(", "), told.join("; "));
    let mut won = Vec::new();
    let mut lost = Vec::new();
    for (load, noise) in noises.iter().enumerate() {
        let cheaper = libraries().filter(|(_, loads)| loads[load].median < 1.0 && !is_tie(loads[load], *noise));
        let names: Vec<&str> = cheaper.map(|(name, _)| name.as_str()).collect();
        match names.is_empty() {
            true => won.push(named(load)),
            false => lost.push(format!("at {} less is used by {}", named(load), names.join(" and "))),
        }
    }
    let loudest = noises.iter().copied().fold(0.0, f64::max);
    let found = format!("{found} (noise {:.0} %)", loudest * 100.0);
    if let Some(nothing) = too_noisy(loudest, BASELINE) {
        return (nothing, found);
    }
    let verdict = match (won.is_empty(), lost.is_empty()) {
        (_, true) => Verdict::Holds,
        (false, false) => Verdict::HoldsIf(format!("the load is {}: {}", won.join(" or "), lost.join(", "))),
        (true, false) => Verdict::DoesNot(lost.join(", ")),
    };
    (verdict, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(mio: [f64; 3], tokio: [f64; 3]) -> Verdict {
        let all = |values: [f64; 3]| values.map(|median| Spread { low: median, median, high: median });
        let ratios =
            [("epoll-lt".to_owned(), all([1.0; 3])), ("mio".to_owned(), all(mio)), ("tokio".to_owned(), all(tokio))];
        judged(&ratios, &[0.05, 0.05, 0.05]).0
    }

    #[test]
    fn a_library_that_is_cheaper_by_more_than_the_noise_wins() {
        assert_eq!(verdict([0.97, 1.0, 1.2], [1.1; 3]), Verdict::Holds);
        let some = verdict([0.9, 1.0, 1.0], [1.1; 3]);
        assert!(
            matches!(&some, Verdict::HoldsIf(when) if when.contains("at 50 × 64 B less is used by mio")),
            "{some:?}"
        );
        assert!(matches!(verdict([0.9; 3], [0.9; 3]), Verdict::DoesNot(_)));
    }
}
