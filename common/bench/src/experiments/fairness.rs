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
/// No fair server is silent for so long; one that is gets no second question.
const PATIENCE: Duration = Duration::from_millis(500);
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
    let (verdict, found) = judged(&chart, *floods.last().expect("some") as f64, silent.as_deref());
    notes.extend(silent.map(|servers| {
        format!("{servers} did not answer within {} ms; its point is what had passed by then", PATIENCE.as_millis())
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
    flood.round_trip(Duration::from_secs(10))?;
    flood.go_on(WARM_UP)?;
    let mut passed = Vec::new();
    for _ in 0..if session.quick() { 20 } else { 60 } {
        let trip = flood.round_trip(PATIENCE)?;
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
        let silent: Vec<Passed> = trips.iter().copied().filter(|trip| !trip.answered).collect();
        let counted = if silent.is_empty() { trips } else { silent };
        let bytes: Vec<f64> = counted.iter().map(|trip| trip.bytes as f64 / MIB).collect();
        Spread::of(&bytes).at(*flooding as f64)
    };
    Series { name: server.name.clone(), points: floods.iter().enumerate().map(point).collect() }
}

fn silent(servers: &[Contestant], turns: &[Vec<Turn>]) -> Option<String> {
    let is_silent = |turns: &[Turn]| turns.iter().flatten().flatten().any(|trip| !trip.answered);
    let silent = servers.iter().zip(turns).filter(|(_, turns)| is_silent(turns));
    let names: Vec<&str> = silent.map(|(server, _)| server.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn judged(chart: &Chart, most: f64, silent: Option<&str>) -> (Verdict, String) {
    let at_most = |series: &Series| series.at(most).map_or(0.0, |point| point.median);
    let chapters = chart.series.iter().filter(|it| SERVERS.contains(&it.name.as_str()));
    let worst = chapters.max_by(|one, other| at_most(one).total_cmp(&at_most(other)));
    let Some(worst) = worst else { return (Verdict::Skipped("no chapter was measured".into()), String::new()) };
    let bound = chart.series("the bound").map_or(0.0, at_most);
    let firehose = match silent {
        Some(_) => "the firehose does not answer at all".to_owned(),
        None => format!("the firehose lets {} MiB pass", number(chart.series("firehose").map_or(0.0, at_most))),
    };
    let found = format!(
        "beside {} flooding clients, at most {} MiB pass in the median ({}), and a fair turn allows {}; {firehose}",
        number(most),
        number(at_most(worst)),
        worst.name,
        number(bound)
    );
    let is_fair = at_most(worst) <= bound && silent.is_none_or(|servers| servers == "firehose");
    let verdict = match is_fair {
        true => Verdict::Holds,
        false => Verdict::DoesNot(format!("{} lets more pass than a fair turn", worst.name)),
    };
    (verdict, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(chapter: f64, silent: Option<&str>) -> (Verdict, String) {
        let series = |name: &str, value: f64| Series { name: name.into(), points: vec![Point::exact(64.0, value)] };
        let chart = Chart {
            name: String::new(),
            title: String::new(),
            x: Axis::log(""),
            y: Axis::log(""),
            series: vec![series("poll", chapter), series("firehose", 500.0), series("the bound", 32.0)],
            limits: Vec::new(),
        };
        judged(&chart, 64.0, silent)
    }

    #[test]
    fn a_chapter_may_let_pass_what_a_fair_turn_allows() {
        assert_eq!(verdict(16.0, None).0, Verdict::Holds);
        assert_eq!(verdict(16.0, Some("firehose")).0, Verdict::Holds);
        assert!(matches!(verdict(40.0, None).0, Verdict::DoesNot(_)));
        assert!(matches!(verdict(16.0, Some("poll, firehose")).0, Verdict::DoesNot(_)));
        assert!(verdict(16.0, None).1.contains("16 MiB pass in the median (poll)"));
    }

    #[test]
    fn a_fair_turn_has_four_reads_of_each_client_twice() {
        assert_eq!(bound(64) / MIB, 32.0);
        assert_eq!(bound(0), 0.0);
    }
}
