//! Replays and recordings of a run: each must be the same every time.

use std::sync::atomic::AtomicBool;

use explorer::{Schedule, Script, report};

use super::proof::{NONE, explore, server};

pub fn replays(name: &str, times: usize) -> Result<(), String> {
    let target = server(name);
    let exploration = explore(&target, "close", NONE, 2, None)?;
    let finding = exploration.finding.ok_or("nothing was found")?;
    let script = Script::standard("close").expect("it ships");
    let first = report::trace(name, "close", &finding.run, 100);
    for round in 0..times {
        let run = explorer::replay(&target, &script, NONE, &finding.schedule, &AtomicBool::new(false))
            .map_err(|error| error.to_string())?;
        let trace = report::trace(name, "close", &run, 100);
        if run.verdict != finding.verdict || trace != first || run.end != finding.run.end {
            return Err(format!("replay {round}: {}\n{trace}\nfirst it was {}\n{first}", run.verdict, finding.verdict));
        }
    }
    Ok(())
}

pub fn records(name: &str, times: usize) -> Result<(), String> {
    let script = Script::standard("close").expect("it ships");
    let record = || -> Result<String, String> {
        let run = explorer::replay(&server(name), &script, NONE, &Schedule::default(), &AtomicBool::new(false));
        Ok(explorer::record::record(name, &script, &run.map_err(|error| error.to_string())?))
    };
    let first = record()?;
    for round in 1..times {
        let other = record()?;
        let differ = first.lines().zip(other.lines()).find(|(one, other)| one != other);
        if let Some((one, other)) = differ {
            return Err(format!("recording {round} has '{other}' where the first has '{one}'"));
        }
    }
    Ok(())
}

/// A recording has the events and states that a player shows.
pub fn recorded() -> Result<(), String> {
    let script = Script::standard("close").expect("it ships");
    let run = explorer::replay(&server("et"), &script, NONE, &Schedule::default(), &AtomicBool::new(false))
        .map_err(|error| error.to_string())?;
    let text = explorer::record::record("et", &script, &run);
    let record: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let events = record["events"].as_array().ok_or("no events")?;
    let call = |name: &'static str| events.iter().filter(move |event| event["name"] == name);
    let facts = [
        ("format", record["format"] == "event-loop-run" && record["version"] == 1),
        ("verdict", record["verdict"] == "ok"),
        ("a wait with what it returned", call("epoll_wait").any(|it| it["out"] == "5 c0 IN|OUT" && it["value"] == 1)),
        ("bytes moved", call("recvfrom").any(|it| it["value"] == 4096 && it["client"] == 0)),
        ("what stayed in the socket", call("recvfrom").any(|it| it["state"]["connections"][0]["unread"] == 904)),
        ("interest masks", call("epoll_ctl").any(|it| it["arguments"] == "4, ADD, 5 c0, IN|OUT|RDHUP|ET")),
        (
            "registrations",
            events.iter().any(|it| it["state"]["epolls"][0]["interests"][1]["mask"] == "IN|OUT|RDHUP|ET"),
        ),
        ("the accept queue", events.iter().any(|it| it["step"] == "c0 connect" && it["state"]["accept_queue"] == 1)),
        ("the client's steps", events.iter().filter(|it| it["event"] == "step" && it["implied"] == false).count() == 5),
        ("where it rests", events.iter().any(|it| it["event"] == "rest" && it["sleeps"][0] == "epoll_wait(4)")),
    ];
    match facts.iter().find(|(_, holds)| !holds) {
        Some((what, _)) => Err(format!("the record lacks {what}:\n{text}")),
        None => Ok(()),
    }
}
