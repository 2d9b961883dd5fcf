//! `fairness`: how much of a flood passes before a quiet client has its answer.
//!
//! - Varied: flooding clients, 0 to 64, each of which keeps its socket full.
//! - Held: one quiet client, which sends a byte, waits for it, and sends the next one.
//! - Counted: the flood's bytes that come back during one round trip of the quiet client. Bytes and not time, because
//!   they do not depend on how fast the machine is: they say how many others were served in between.
//!
//! The bound that is drawn is what a fair turn allows: four reads of 64 KiB for each flooding client, twice, because a
//! byte that arrives just after a wait is seen at the next one. The `firehose` is exercise 28's broken server, which
//! reads a client for as long as there is something to read.

use std::time::Duration;

use anyhow::Result;
use figures::{Axis, Chart, Outcome, Point, Series, Verdict, number};
use harness::BATCH;

use crate::flood::{Flood, PIECE, Passed};
use crate::server::Contestant;
use crate::stats::Spread;
use crate::{Experiment, Need, Session};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "fairness", needs: &[Need::Descriptors(256)], run };

const SERVERS: [&str; 6] = ["select", "poll", "epoll-lt", "epoll-et", "kqueue", "uring"];
const FIREHOSE: &str = "exercises 28_firehose/starter";
/// So many times the bound, no fair server lets pass; one that does gets no second question.
const UNFAIR: f64 = 16.0;
/// Until the sockets of the flood are full.
const WARM_UP: Duration = Duration::from_millis(20);
const MIB: f64 = 1024.0 * 1024.0;

/// The round trips of one turn, by number of flooding clients.
type Turn = Vec<Vec<Passed>>;

fn run(session: &Session) -> Result<Outcome> {
    let floods = if session.quick() { &[0, 1, 16, 64][..] } else { &[0, 1, 2, 4, 8, 16, 32, 64] };
    let rounds = if session.quick() { 2 } else { 5 };
    let mut servers = SERVERS.map(|name| session.contestant(name)).into_iter().collect::<Result<Vec<_>>>()?;
    let mut notes = Vec::new();
    if let Some(why) = crate::session::missing(Need::IoUring) {
        servers.retain(|server| server.name != "uring");
        notes.push(format!("uring is left out: {why}"));
    }
    servers.push(session.contestant(FIREHOSE)?.named("firehose"));
    let turns = session.turns(&servers, rounds, |server| {
        floods.iter().map(|flooding| one(session, server, *flooding)).collect::<Result<Turn>>()
    })?;
    let mut series: Vec<Series> =
        servers.iter().zip(&turns).map(|(server, turns)| line(server, turns, floods)).collect();
    let silent = silent(&servers, &turns);
    series.push(Series {
        name: "the bound".into(),
        points: floods.iter().map(|flooding| Point::exact(*flooding as f64, bound(*flooding) / MIB)).collect(),
    });
    let chart = Chart {
        name: "passed".into(),
        title: "What passes before a quiet client has its answer".into(),
        x: Axis::log("flooding clients"),
        y: Axis::log("MiB of the flood per round trip"),
        series,
        limits: Vec::new(),
    };
    let (verdict, found) = judged(&chart, *floods.last().expect("some") as f64, &silent);
    notes.extend((!silent.is_empty()).then(|| {
        let servers = silent.join(", ");
        format!("{servers}: no answer when {UNFAIR} times the bound had passed; the point is what had passed by then")
    }));
    Ok(Outcome { verdict, found, charts: vec![chart], notes })
}

/// What a fair turn lets pass, in bytes.
fn bound(flooding: usize) -> f64 {
    2.0 * f64::from(BATCH.reads) * (PIECE * flooding) as f64
}

fn one(session: &Session, server: &Contestant, flooding: usize) -> Result<Vec<Passed>> {
    session.check()?;
    let running = session.start(server)?;
    let mut flood = Flood::connect(running.addr, flooding)?;
    flood.go_on(WARM_UP)?;
    // Without a flood nothing passes.
    let most = (UNFAIR * bound(flooding.max(1))) as u64;
    let mut passed = Vec::new();
    for _ in 0..if session.quick() { 20 } else { 60 } {
        let trip = flood.round_trip(most)?;
        passed.push(trip);
        if !trip.answered {
            break;
        }
        // The questions fall on different moments of the server's turns.
        flood.go_on(Duration::from_micros(300))?;
    }
    Ok(passed)
}

/// The median and quartiles of all round trips of all rounds; of a server that fell silent, what had passed by then.
fn line(server: &Contestant, turns: &[Turn], floods: &[usize]) -> Series {
    let point = |(at, flooding): (usize, &usize)| {
        let trips: Vec<Passed> = turns.iter().flat_map(|turn| turn[at].iter().copied()).collect();
        // One that fell silent is asked no more: such a round counts as a whole round of silence.
        let silent: Vec<Passed> = trips.iter().copied().filter(|trip| !trip.answered).collect();
        let is_silent = silent.len() * 2 > turns.len();
        let counted = if is_silent { silent } else { trips };
        let bytes: Vec<f64> = counted.iter().map(|trip| trip.bytes as f64 / MIB).collect();
        Spread::of(&bytes).at(*flooding as f64)
    };
    Series { name: server.name.clone(), points: floods.iter().enumerate().map(point).collect() }
}

/// The servers that let too much pass in most rounds of some flood. Once is not enough: a processor that was taken away
/// from the server at a bad moment does it too.
fn silent<'a>(servers: &'a [Contestant], turns: &[Vec<Turn>]) -> Vec<&'a str> {
    let fell_silent = |turn: &Turn, at: usize| turn[at].iter().any(|trip| !trip.answered);
    let is_silent = |turns: &[Turn]| {
        let floods = turns.first().map_or(0, Vec::len);
        (0..floods).any(|at| turns.iter().filter(|turn| fell_silent(turn, at)).count() * 2 > turns.len())
    };
    let silent = servers.iter().zip(turns).filter(|(_, turns)| is_silent(turns));
    silent.map(|(server, _)| server.name.as_str()).collect()
}

fn judged(chart: &Chart, most: f64, silent: &[&str]) -> (Verdict, String) {
    let at_most = |series: &Series| series.at(most).map_or(0.0, |point| point.median);
    let chapters: Vec<&Series> = chart.series.iter().filter(|it| SERVERS.contains(&it.name.as_str())).collect();
    let bound = chart.series("the bound").map_or(0.0, at_most);
    let is_fair = |series: &Series| at_most(series) <= bound && !silent.contains(&series.name.as_str());
    let (fair, unfair): (Vec<&Series>, Vec<&Series>) = chapters.into_iter().partition(|series| is_fair(series));
    let names = |all: &[&Series]| all.iter().map(|it| it.name.as_str()).collect::<Vec<&str>>().join(", ");
    let Some(worst) = fair.iter().max_by(|one, other| at_most(one).total_cmp(&at_most(other))) else {
        return (Verdict::DoesNot("every chapter lets more pass than a fair turn".into()), String::new());
    };
    let firehose = worst_of("firehose", chart).map_or(String::new(), |(times, flooding)| {
        format!("; beside {}, the firehose lets {} times as much pass as fair turns", number(flooding), number(times))
    });
    let found = format!(
        "beside {} flooding clients, at most {} MiB pass in the median ({}), and fair turns allow {}{firehose}",
        number(most),
        number(at_most(worst)),
        worst.name,
        number(bound)
    );
    let verdict = match unfair.is_empty() {
        true => Verdict::Holds,
        false => Verdict::HoldsIf(format!("the server is {}: {} lets more pass", names(&fair), names(&unfair))),
    };
    (verdict, found)
}

/// How many times the bound a server lets pass at its worst, and beside how many flooding clients.
fn worst_of(name: &str, chart: &Chart) -> Option<(f64, f64)> {
    let bound = chart.series("the bound")?;
    let points = chart.series(name)?.points.iter().filter(|point| point.x > 0.0);
    let times = points.filter_map(|point| Some((point.median / bound.at(point.x)?.median, point.x)));
    times.max_by(|one, other| one.0.total_cmp(&other.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(chapter: f64, silent: &[&str]) -> (Verdict, String) {
        let series = |name: &str, value: f64| Series { name: name.into(), points: vec![Point::exact(64.0, value)] };
        let chart = Chart {
            name: String::new(),
            title: String::new(),
            x: Axis::log(""),
            y: Axis::log(""),
            series: vec![
                series("poll", chapter),
                series("uring", 1.0),
                series("firehose", 500.0),
                series("the bound", 32.0),
            ],
            limits: Vec::new(),
        };
        judged(&chart, 64.0, silent)
    }

    #[test]
    fn a_chapter_may_let_pass_what_a_fair_turn_allows() {
        assert_eq!(verdict(16.0, &[]).0, Verdict::Holds);
        assert_eq!(verdict(16.0, &["firehose"]).0, Verdict::Holds);
        let if_not_poll = Verdict::HoldsIf("the server is uring: poll lets more pass".into());
        assert_eq!(verdict(40.0, &[]).0, if_not_poll);
        assert_eq!(verdict(16.0, &["poll", "firehose"]).0, if_not_poll);
        assert!(matches!(verdict(16.0, &["poll", "uring"]).0, Verdict::DoesNot(_)));
        assert!(verdict(16.0, &[]).1.contains("16 MiB pass in the median (poll)"));
    }

    #[test]
    fn a_fair_turn_has_four_reads_of_each_client_twice() {
        assert_eq!(bound(64) / MIB, 32.0);
        assert_eq!(bound(0), 0.0);
    }
}
