//! Recordings: each replay gives the same bytes, each fits the schema, and each conserves the bytes of its clients, unless the
//! server drops some.
//!
//! Invariant: only the recorded text is judged, as a player would read it.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use explorer::record::{Event, RecordedRun, Recording};
use explorer::{Plan, Schedule, Script, report};

use super::proof::{NONE, explore, server};
use super::recorded::{Lost, broken, by_the_clock, can_be_followed, is_valid};

fn record(name: &str, script: &Script, schedule: &Schedule) -> Result<String, String> {
    let run = explorer::replay(&server(name), script, NONE, schedule, &AtomicBool::new(false));
    Ok(Recording::new(name, script, NONE, &run.map_err(|error| error.to_string())?, None).to_json())
}

/// Each script, `times` times.
pub fn of_each_script(name: &str, stops: bool, times: usize) -> Result<(), String> {
    for script in Script::all_standard().into_iter().filter(|script| stops || script.name != "stop") {
        let first = record(name, &script, &Schedule::default())?;
        for round in 1..if by_the_clock(&script.name) { 1 } else { times } {
            let other = record(name, &script, &Schedule::default())?;
            is_the_same(&first, &other).map_err(|what| format!("{}, recording {round}: {what}", script.name))?;
        }
        let recording = is_valid(&first).map_err(|what| format!("{}: {what}", script.name))?;
        conserves(&recording).map_err(|what| format!("{}: {what}", script.name))?;
    }
    Ok(())
}

fn is_the_same(first: &str, other: &str) -> Result<(), String> {
    match first.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other) {
        Some((line, (one, other))) => Err(format!("line {line} is '{other}' where the first has '{one}'")),
        None if first.len() != other.len() => Err("one is longer".into()),
        None => Ok(()),
    }
}

fn conserves(recording: &Recording) -> Result<(), String> {
    if !can_be_followed(recording) {
        return Ok(());
    }
    match broken(recording) {
        (_, 0) => Err("no state was looked at".into()),
        (lost, looked_at) => match lost.first() {
            Some(Lost { bytes, text, .. }) => {
                Err(format!("{bytes} bytes are lost, in {} of {looked_at} states; first: {text}", lost.len()))
            }
            None => Ok(()),
        },
    }
}

/// Of a server that drops bytes: the law of conservation is broken by as many bytes as the verdict says are missing, from the
/// row on that shows it; and the text names the write, the client, and the number.
pub fn dropped(name: &str) -> Result<(), String> {
    let exploration = explore(&server(name), "back-pressure", NONE, 0, None)?;
    let finding = exploration.finding.ok_or("nothing was found")?;
    let script = Script::standard("back-pressure").expect("it ships");
    let missing = finding.run.missing.ok_or("the run does not say what is missing")?;
    let text = report::finding(name, &script, &finding, 100);
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let recording = Recording::of_finding(name, &script, &finding);
    is_valid(&recording.to_json())?;
    let facts = [
        ("which write", said.contains("because c0's socket was full. The server dropped the rest")),
        ("how many bytes of which client", said.contains(&format!(": {} bytes of c0", missing.bytes))),
        ("no other cause", !said.contains("ended the connection")),
        (
            "the row that explains",
            text.lines().any(|line| line.starts_with("sendto(5 c0, ") && line.contains("EAGAIN")),
        ),
    ];
    if let Some((what, _)) = facts.iter().find(|(_, holds)| !holds) {
        return Err(format!("the report lacks {what}; {missing:?}:\n{text}"));
    }
    let run = explorer::replay(&server(name), &script, NONE, &Schedule::default(), &AtomicBool::new(false))
        .map_err(|error| error.to_string())?;
    let (lost, _) = broken(&Recording::new(name, &script, NONE, &run, None));
    // The rest at which the oracle judges may come before any byte has shown that others are gone.
    match lost.first() {
        Some(first) if first.client == 0 && first.bytes > 0 => Ok(()),
        None if !missing_is_seen(&run.events) => Ok(()),
        first => Err(format!("{missing:?}, and the law was broken so: {first:?}")),
    }
}

/// Whether a byte came back behind missing ones.
fn missing_is_seen(events: &[Event]) -> bool {
    let reads = |event: &Event| matches!(event, Event::Step(step) if step.implied && step.step.contains("reads"));
    events.iter().filter(|event| reads(event)).count() > 1
}

/// With `record_all`, there is a run for each gap of the run without placements, and each of them conserves bytes.
pub fn every_gap_is_there() -> Result<(), String> {
    let (subject, script) = (server("et"), Script::standard("close").expect("it ships"));
    let plan = Plan {
        subject: &subject,
        script: &script,
        faults: NONE,
        max_placements: 1,
        always: 1,
        max_runs: None,
        max_time: None,
    };
    let recording = explorer::record_all(&plan, &AtomicBool::new(false), &|_| {}).map_err(|error| error.to_string())?;
    let recording = is_valid(&recording.to_json())?;
    conserves(&recording)?;
    if recording.bound.as_ref().is_none_or(|bound| !bound.complete || bound.placements != 1) {
        return Err(format!("{:?}", recording.bound));
    }
    let there: BTreeSet<Gap> = recording.runs.iter().filter_map(gap).collect();
    match gaps(&recording.runs[0], &recording.steps).into_iter().find(|gap| !there.contains(gap)) {
        Some(gap) => Err(format!("no run has its step in the gap {gap:?}; there are {there:?}")),
        None if there.len() < 12 => Err(format!("few gaps: {there:?}")),
        None => Ok(()),
    }
}

/// A search that is cut says so in the recording.
pub fn a_cut_is_recorded() -> Result<(), String> {
    let (subject, script) = (server("et_flag_cleared_late"), Script::standard("close").expect("it ships"));
    let plan = Plan {
        subject: &subject,
        script: &script,
        faults: NONE,
        max_placements: 1,
        always: 0,
        max_runs: Some(5),
        max_time: None,
    };
    let recording = explorer::record_all(&plan, &AtomicBool::new(false), &|_| {}).map_err(|error| error.to_string())?;
    let recording = is_valid(&recording.to_json())?;
    match (&recording.bound, recording.runs.len()) {
        (Some(bound), 5) if !bound.complete && bound.cut.as_deref() == Some("at 5 runs") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// A step of the script, and the number of the server's calls before it.
type Gap = (usize, usize);

/// Where a run has its only placed step.
fn gap(run: &RecordedRun) -> Option<Gap> {
    let placed = |event: &Event| matches!(event, Event::Step(step) if step.placed);
    let at = run.events.iter().position(placed)?;
    let Event::Step(step) = &run.events[at] else { return None };
    let calls = run.events[..at].iter().filter(|event| matches!(event, Event::Call(_))).count();
    Some((step.script_step?, calls))
}

/// The gaps of a run without placements: before each of its calls, the next step that the client does could have come.
fn gaps(base: &RecordedRun, steps: &[String]) -> Vec<Gap> {
    let (mut calls, mut next, mut gaps) = (0, 0, Vec::new());
    for event in &base.events {
        match event {
            Event::Step(step) => next = step.script_step.map_or(next, |at| at + 1),
            Event::Call(_) => {
                // The first call is `listen`, before which nobody can connect.
                if calls > 0 && steps.get(next).is_some_and(|step| !step.contains("expect-eof")) {
                    gaps.push((next, calls));
                }
                calls += 1;
            }
            _ => {}
        }
    }
    gaps
}

/// A recording has the events and states that a player shows.
pub fn has_what_a_player_needs() -> Result<(), String> {
    let text = record("et", &Script::standard("close").expect("it ships"), &Schedule::default())?;
    let record: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let events = record["runs"][0]["events"].as_array().ok_or("no events")?;
    let call = |name: &'static str| events.iter().filter(move |event| event["name"] == name);
    let connection = |event: &serde_json::Value| event["state"]["connections"][0].clone();
    let facts = [
        ("format", record["format"] == "event-loop-run" && record["version"] == 2),
        ("the steps", record["steps"][1] == "c0 send 3" && record["script_name"] == "close"),
        ("verdict", record["runs"][0]["verdict"] == "ok"),
        ("a wait with what it returned", call("epoll_wait").any(|it| it["out"] == "5 c0 IN|OUT" && it["value"] == 1)),
        ("what it costs", call("epoll_wait").any(|it| it["cost"]["looked_at"] == 1 && it["cost"]["copied_in"] == 0)),
        ("bytes moved", call("recvfrom").any(|it| it["value"] == 4096 && it["client"] == 0)),
        ("what stayed in the socket", call("recvfrom").any(|it| connection(it)["unread"] == 904)),
        ("what the program holds", call("recvfrom").any(|it| connection(it)["held"] == 4096)),
        ("what the client has not read", call("sendto").any(|it| connection(it)["client_unread"] == 3)),
        ("what poll would say", call("recvfrom").any(|it| connection(it)["level"] == "IN|OUT")),
        ("interest masks", call("epoll_ctl").any(|it| it["arguments"] == "4, ADD, 5 c0, IN|OUT|RDHUP|ET")),
        (
            "registrations",
            events.iter().any(|it| it["state"]["epolls"][0]["interests"][1]["mask"] == "IN|OUT|RDHUP|ET"),
        ),
        ("the accept queue", events.iter().any(|it| it["step"] == "c0 connect" && it["state"]["accept_queue"] == 1)),
        ("the client's steps", events.iter().filter(|it| it["event"] == "step" && it["implied"] == false).count() == 5),
        ("their places", events.iter().any(|it| it["step"] == "c0 shutdown" && it["script_step"] == 3)),
        ("where it rests", events.iter().any(|it| it["event"] == "rest" && it["sleeps"][0] == "epoll_wait(4)")),
    ];
    match facts.iter().find(|(_, holds)| !holds) {
        Some((what, _)) => Err(format!("the record lacks {what}:\n{text}")),
        None => Ok(()),
    }
}

/// The validator sees what does not fit.
pub fn a_recording_that_does_not_fit_is_refused() -> Result<(), String> {
    let text = record("et", &Script::standard("close").expect("it ships"), &Schedule::default())?;
    is_valid(&text)?;
    for (find, put) in [
        ("\"version\": 2", "\"version\": 1"),
        ("\"verdict\": \"ok\"", "\"verdict\": \"fine\""),
        ("\"unread\": 904", "\"unread\": -904"),
        ("\"script_step\": 3", "\"script_step\": \"3\""),
        ("\"held\": 4096", "\"Held\": 4096"),
        ("\"event\": \"rest\"", "\"event\": \"pause\""),
        ("\"wait\": true,", ""),
    ] {
        if !text.contains(find) {
            return Err(format!("the recording has no {find}"));
        }
        if is_valid(&text.replacen(find, put, 1)).is_ok() {
            return Err(format!("with {put} in place of {find} it is valid"));
        }
    }
    Ok(())
}
