//! `idle-tax`: what connections that do nothing cost those that do something.
//!
//! - Varied: idle connections, from none to the limit of descriptors; 1 or 50 busy ones beside them.
//! - Held: 64-byte messages, one in flight for each busy connection; server and client on a processor each.
//! - Counted: the server's CPU time per round trip (schedstat, nanoseconds, all threads).
//!
//! Each turn starts a server anew and lets the idle connections grow under it, so all figures of a turn are of one
//! process. `epoll-lt` takes part twice; what it differs from itself is the noise. An idle connection has made one round
//! trip, so it is accepted and registered, and whatever the server allocates for it is there.

use std::time::Duration;

use anyhow::Result;
use figures::{Axis, Chart, Limit, Outcome, Series, Verdict, number};

use crate::load::Load;
use crate::server::Contestant;
use crate::stats::{Spread, noise};
use crate::{Experiment, Need, Session};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "idle-tax", needs: &[Need::Descriptors(1500)], run };

const BUSY: [usize; 2] = [1, 50];
/// select serves descriptors below FD_SETSIZE, of which the server needs some for itself.
const OF_SELECT: usize = 900;
const SERVERS: [&str; 8] =
    ["select", "poll", "epoll-lt", "epoll-et", "kqueue", "uring", "examples/thread_per_connection", "epoll-lt"];
const BASELINE: usize = 2;
const TWIN: usize = 7;
/// A wait that looks at every descriptor is dearer by more than this at thousands of idle connections. One that does not
/// stays below [`FREE`]: what is left is the cache, which more connections share.
const TAXED: f64 = 2.0;
const FREE: f64 = 1.5;
/// With fewer, a fast machine may show nothing.
const MANY: f64 = 5000.0;

/// CPU time per round trip in µs, by number of busy connections and then by number of idle ones; nothing beyond what
/// the server takes.
type Turn = [Vec<Option<f64>>; 2];

fn run(session: &Session) -> Result<Outcome> {
    let most = (harness::trial::raise_fd_limit() as usize - 300).min(19_000);
    let all = if session.quick() { &[0, 900, 5_000][..] } else { &[0, 100, 900, 3_000, 9_000, 19_000] };
    let mut levels: Vec<usize> = all.iter().copied().filter(|level| *level < most).collect();
    // Where the limit is low, the curve goes as far as it goes.
    if levels.len() < all.len() && most > 900 {
        levels.push(most);
    }
    let mut servers = SERVERS.map(|name| session.contestant(name)).into_iter().collect::<Result<Vec<_>>>()?;
    servers[TWIN] = servers[BASELINE].twin();
    let window = Duration::from_millis(if session.quick() { 40 } else { 150 });
    let rounds = if session.quick() { 2 } else { 4 };
    let turns = session.turns(&servers, rounds, |server| one(session, server, &levels, window))?;
    let charts: Vec<Chart> = (0..BUSY.len()).rev().map(|busy| chart(busy, &servers, &levels, &turns)).collect();
    let mut notes = vec![format!(
        "{} against itself differs by up to {:.0} %; a smaller difference is a tie",
        servers[BASELINE],
        100.0 * noise_of(&turns, &levels)
    )];
    if let Some(why) = refused(&turns, &servers, &levels) {
        notes.push(why);
    }
    let (verdict, found) = judged(&charts[0], &levels);
    Ok(Outcome { verdict, found, charts, notes })
}

fn one(session: &Session, server: &Contestant, levels: &[usize], window: Duration) -> Result<Turn> {
    let running = session.start(server)?;
    let mut turn: Turn = Default::default();
    let loads = BUSY.map(|busy| Load::connect(running.addr, busy, 64));
    let loads = loads.into_iter().collect::<Result<Vec<Load>>>()?;
    let mut idle = Load::connect(running.addr, 0, 64)?;
    for (at, level) in levels.iter().enumerate() {
        session.check()?;
        let begun = idle.sockets().len();
        let is_beyond = server.name == "select" && *level > OF_SELECT;
        // A machine may have too few threads for a server with one for each connection: its curve ends there.
        let grown = !is_beyond && idle.grow(running.addr, *level).and_then(|()| idle.once_from(begun)).is_ok();
        for (load, figures) in loads.iter().zip(&mut turn) {
            let has_ended = at > 0 && figures[at - 1].is_none();
            figures.push(if grown && !has_ended { Some(running.cpu_per_trip(load, window)?.0) } else { None });
        }
    }
    Ok(turn)
}

fn chart(busy: usize, servers: &[Contestant], levels: &[usize], turns: &[Vec<Turn>]) -> Chart {
    let count = BUSY[busy];
    let series = servers.iter().zip(turns).take(TWIN).map(|(server, turns)| {
        let points = levels.iter().enumerate().filter_map(|(at, level)| {
            let values: Vec<f64> = turns.iter().filter_map(|turn| turn[busy][at]).collect();
            (values.len() == turns.len()).then(|| Spread::of(&values).at(*level as f64))
        });
        Series { name: server.name.clone(), points: points.collect() }
    });
    Chart {
        name: format!("busy-{count}"),
        title: format!("A round trip beside idle connections, {count} busy"),
        x: Axis::log("idle connections"),
        y: Axis::log("server CPU per round trip (µs)"),
        series: series.collect(),
        limits: vec![Limit::at_x("FD_SETSIZE", 1024.0)],
    }
}

/// The largest A/A spread of any level, with 50 busy connections.
fn noise_of(turns: &[Vec<Turn>], levels: &[usize]) -> f64 {
    let values = |server: usize, at: usize| turns[server].iter().filter_map(|turn| turn[1][at]).collect::<Vec<f64>>();
    let all = (0..levels.len()).map(|at| (values(TWIN, at), values(BASELINE, at)));
    all.filter(|(twin, base)| !twin.is_empty() && !base.is_empty())
        .map(|(twin, base)| noise(&twin, &base))
        .fold(0.01, f64::max)
}

fn refused(turns: &[Vec<Turn>], servers: &[Contestant], levels: &[usize]) -> Option<String> {
    let ended = servers.iter().zip(turns).take(TWIN).filter_map(|(server, turns)| {
        let most = levels
            .iter()
            .zip(&turns.first()?[0])
            .filter(|(_, figure)| figure.is_some())
            .map(|(level, _)| level)
            .max()?;
        (most < levels.last()?).then(|| format!("{server} at {}", number(*most as f64)))
    });
    let ended: Vec<String> = ended.collect();
    (!ended.is_empty())
        .then(|| format!("curves that end early, where the server takes no more connections: {}", ended.join(", ")))
}

/// The claim is about the largest number of idle connections.
fn judged(chart: &Chart, levels: &[usize]) -> (Verdict, String) {
    let most = *levels.last().expect("there is 0") as f64;
    let growth = |name: &str| {
        let series = chart.series(name)?;
        Some(series.at(most)?.median / series.at(0.0)?.median)
    };
    let (Some(poll), Some(epoll)) = (growth("poll"), growth("epoll-lt")) else {
        return (Verdict::Skipped("poll or epoll-lt could not be measured".into()), String::new());
    };
    let at = |name: &str| chart.series(name).and_then(|it| it.at(most)).map_or(f64::NAN, |point| point.median);
    let times = at("poll") / at("epoll-lt");
    let found = format!(
        "with {} idle connections and 50 busy ones, a round trip takes poll {} times the CPU time it takes epoll-lt; \
         since 0 idle, poll's has grown {} times, epoll-lt's {} times",
        number(most),
        number(times),
        number(poll),
        number(epoll)
    );
    let verdict = match (poll >= TAXED, epoll <= FREE) {
        (true, true) => Verdict::Holds,
        (true, false) => Verdict::HoldsIf("one counts the cache misses out: epoll's round trips grow too".into()),
        (false, _) if most < MANY => Verdict::Skipped(format!("{} idle connections are too few to tell", number(most))),
        (false, _) => Verdict::DoesNot(format!("{} idle connections make poll hardly dearer", number(most))),
    };
    (verdict, found)
}

#[cfg(test)]
mod tests {
    use figures::Point;

    use super::*;

    #[test]
    fn the_verdict_needs_poll_to_grow_and_epoll_to_stay() {
        let verdict = |poll: f64, epoll: f64| {
            let series = |name: &str, last: f64| Series {
                name: name.into(),
                points: vec![Point::exact(0.0, 1.0), Point::exact(9000.0, last)],
            };
            let chart = Chart {
                name: String::new(),
                title: String::new(),
                x: Axis::log(""),
                y: Axis::log(""),
                series: vec![series("poll", poll), series("epoll-lt", epoll)],
                limits: Vec::new(),
            };
            judged(&chart, &[0, 9000]).0
        };
        assert_eq!(verdict(19.0, 1.1), Verdict::Holds);
        assert!(matches!(verdict(19.0, 2.0), Verdict::HoldsIf(_)));
        assert!(matches!(verdict(1.1, 1.0), Verdict::DoesNot(_)));
        assert!(matches!(verdict(2.2, 1.0), Verdict::Holds));
    }
}
