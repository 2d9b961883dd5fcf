//! `latency`: how long an answer takes, at loads below what the server can do.
//!
//! - Varied: the load, 10 % to 90 % of what the server can do.
//! - Held: 50 connections, messages of one byte, arrivals of a Poisson process (an open loop: no arrival waits for an
//!   answer, so no slow moment is left out).
//! - Counted: the time from the moment a message is due until its echo is there, in an HdrHistogram: p50, p99, p99.9.
//!
//! What a server can do is the inverse of its CPU time per round trip when 50 clients keep it busy, measured first in
//! each turn. The client spins on a processor of its own. Where the client itself cannot send as fast as that, the point
//! is left out and a note says so: it would show the client.

use std::time::Duration;

use anyhow::Result;
use figures::{Axis, Chart, Outcome, Series, Verdict, number};

use crate::load::Load;
use crate::open_loop::{self, Latencies};
use crate::server::Contestant;
use crate::stats::Spread;
use crate::{Experiment, Need, Session};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "latency", needs: &[Need::Cores(2)], run };

const SERVERS: [&str; 6] = ["select", "poll", "epoll-lt", "epoll-et", "kqueue", "uring"];
const CONNECTIONS: usize = 50;
const QUANTILES: [(&str, &str, f64); 3] =
    [("p50", "p50, the median", 0.5), ("p99", "p99: one in a hundred takes longer", 0.99), ("p999", "p99.9", 0.999)];
/// A client whose median message leaves so late is overloaded itself.
const LATE: u64 = 50_000;
/// The tail has grown if it is this much longer at the higher load.
const GROWN: f64 = 1.5;

/// By load: the three quantiles in µs; nothing where the client was too slow.
type Turn = Vec<Option<[f64; 3]>>;

fn run(session: &Session) -> Result<Outcome> {
    let loads = if session.quick() { &[10, 50, 80][..] } else { &[10, 30, 50, 70, 80, 90] };
    let window = Duration::from_millis(if session.quick() { 120 } else { 400 });
    let rounds = if session.quick() { 3 } else { 4 };
    let mut servers = SERVERS.map(|name| session.contestant(name)).into_iter().collect::<Result<Vec<_>>>()?;
    let mut notes = Vec::new();
    if let Some(why) = crate::session::missing(Need::IoUring) {
        servers.retain(|server| server.name != "uring");
        notes.push(format!("uring is left out: {why}"));
    }
    let mut seed = 0;
    let turns = session.turns(&servers, rounds, |server| {
        seed += 1;
        one(session, server, loads, window, seed)
    })?;
    let charts: Vec<Chart> = QUANTILES.iter().enumerate().map(|(at, _)| chart(at, &servers, loads, &turns)).collect();
    notes.extend(left_out(&servers, loads, &turns));
    let (verdict, found) = judged(&charts, loads);
    // The tail is what the experiment is about.
    Ok(Outcome { verdict, found, charts: charts.into_iter().rev().collect(), notes })
}

fn one(session: &Session, server: &Contestant, loads: &[u32], window: Duration, seed: u64) -> Result<Turn> {
    let running = session.start(server)?;
    let load = Load::connect(running.addr, CONNECTIONS, 1)?;
    load.once()?;
    let before = running.cpu()?;
    let (trips, _) = load.run(window / 2)?;
    let possible = trips as f64 / (running.cpu()? - before).as_secs_f64();
    let mut turn = Vec::new();
    for percent in loads {
        session.check()?;
        let Latencies { whole, late } = open_loop::run(&load, possible * f64::from(*percent) / 100.0, window, seed)?;
        let is_late = late.value_at_quantile(0.5) > LATE;
        let quantile = |(_, _, share): (&str, &str, f64)| whole.value_at_quantile(share) as f64 / 1000.0;
        turn.push((!is_late).then(|| QUANTILES.map(quantile)));
    }
    Ok(turn)
}

fn chart(at: usize, servers: &[Contestant], loads: &[u32], turns: &[Vec<Turn>]) -> Chart {
    let (name, title, _) = QUANTILES[at];
    let series = servers.iter().zip(turns).map(|(server, turns)| {
        let points = loads.iter().enumerate().filter_map(|(place, percent)| {
            let values: Vec<f64> = turns.iter().filter_map(|turn| Some(turn[place]?[at])).collect();
            (values.len() * 2 > turns.len()).then(|| Spread::of(&values).at(f64::from(*percent)))
        });
        Series { name: server.name.clone(), points: points.collect() }
    });
    Chart {
        name: name.into(),
        title: format!("Latency in an open loop: {title}"),
        x: Axis::linear("load (% of what the server can do)"),
        y: Axis::log("µs from due to echoed"),
        series: series.collect(),
        limits: Vec::new(),
    }
}

fn left_out(servers: &[Contestant], loads: &[u32], turns: &[Vec<Turn>]) -> Option<String> {
    let mut places = Vec::new();
    for (server, turns) in servers.iter().zip(turns) {
        for (place, percent) in loads.iter().enumerate() {
            if turns.iter().filter(|turn| turn[place].is_none()).count() * 2 >= turns.len() {
                places.push(format!("{server} at {percent} %"));
            }
        }
    }
    let places = places.join(", ");
    (!places.is_empty()).then(|| format!("left out, because the client itself could not send so fast: {places}"))
}

/// From the lowest load to the highest that all chapters were measured at.
fn judged(charts: &[Chart], loads: &[u32]) -> (Verdict, String) {
    let [median, tail, far] = charts else { return (Verdict::Skipped("nothing was measured".into()), String::new()) };
    let has_all = |percent: &&u32| tail.series.iter().all(|series| series.at(f64::from(**percent)).is_some());
    let (Some(low), Some(high)) = (loads.first(), loads.iter().rev().find(has_all)) else {
        return (Verdict::Skipped("the client is too slow for any load".into()), String::new());
    };
    let of = |chart: &Chart, percent: u32| {
        let values = chart.series.iter().filter_map(|series| series.at(f64::from(percent))).map(|point| point.median);
        let values: Vec<f64> = values.collect();
        if values.is_empty() { f64::NAN } else { Spread::of(&values).median }
    };
    let grown = of(tail, *high) / of(tail, *low);
    let found = format!(
        "median of the chapters: p50 {} µs at {low} % and {} at {high} %, p99 {} and {}, p99.9 {} and {}",
        number(of(median, *low)),
        number(of(median, *high)),
        number(of(tail, *low)),
        number(of(tail, *high)),
        number(of(far, *low)),
        number(of(far, *high))
    );
    let verdict = match grown >= GROWN {
        true => Verdict::Holds,
        false => Verdict::DoesNot(format!("p99 is {} times as long at {high} % as at {low} %", number(grown))),
    };
    (verdict, found)
}

#[cfg(test)]
mod tests {
    use figures::Point;

    use super::*;

    #[test]
    fn the_tail_is_judged_at_the_highest_load_that_all_were_measured_at() {
        let chart = |values: [f64; 2]| Chart {
            name: String::new(),
            title: String::new(),
            x: Axis::linear(""),
            y: Axis::log(""),
            series: vec![
                Series { name: "a".into(), points: vec![Point::exact(10.0, values[0]), Point::exact(50.0, values[1])] },
                Series {
                    name: "b".into(),
                    points: vec![Point::exact(10.0, values[0]), Point::exact(50.0, values[1]), Point::exact(90.0, 1e6)],
                },
            ],
            limits: Vec::new(),
        };
        let charts = [chart([10.0, 12.0]), chart([20.0, 60.0]), chart([40.0, 90.0])];
        let (verdict, found) = judged(&charts, &[10, 50, 90]);
        assert_eq!(verdict, Verdict::Holds);
        assert!(found.contains("p99 20 and 60"), "{found}");
        let flat = [chart([10.0, 12.0]), chart([20.0, 22.0]), chart([40.0, 90.0])];
        assert!(matches!(judged(&flat, &[10, 50, 90]).0, Verdict::DoesNot(_)));
    }
}
