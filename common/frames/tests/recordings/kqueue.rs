//! kqueue on Linux: a recording shows kevent with its changes and events, and not what the stand-in does instead.

use std::sync::atomic::AtomicBool;

use explorer::record::{Event, ServerCall, State};
use explorer::{Coverage, Faults, Plan, Script};

use crate::servers::{calls, chapter, possible, recording, run};

#[test]
fn kevents_have_their_changes_and_events() {
    if !possible() {
        return;
    }
    let recording = recording(&chapter("kqueue"), "close");
    let text = recording.to_json();
    let all: Vec<_> = calls(&recording).collect();
    assert!(all.iter().all(|call| !call.name.starts_with("epoll")), "{text}");
    let kevents: Vec<&ServerCall> = all.iter().copied().filter(|call| call.name == "kevent").collect();
    assert!(kevents.len() >= 5 && all.iter().any(|call| call.name == "kqueue"), "{text}");
    let has = |found: &dyn Fn(&ServerCall) -> bool| kevents.iter().any(|call| found(call));
    for (what, found) in [
        ("the listener is registered", has(&|call| call.arguments.contains("listener READ ADD"))),
        ("and the signals", has(&|call| call.arguments.contains("SIGTERM SIGNAL ADD"))),
        ("a client is registered", has(&|call| call.arguments.contains(" c0 READ ADD]"))),
        ("a connection waits", has(&|call| call.out.contains("listener READ 1"))),
        ("3 bytes wait", has(&|call| call.out.contains(" c0 READ 3"))),
        ("the FIN is told", has(&|call| call.out.ends_with("EOF"))),
        ("the inner calls are there", kevents.iter().all(|call| !call.inner.is_empty())),
        ("it waits", kevents.iter().all(|call| call.wait != call.arguments.contains("no room") && call.cost.is_some())),
    ] {
        assert!(found, "{what}: {text}");
    }
}

#[test]
fn registrations_are_a_kqueues_and_no_epolls() {
    if !possible() {
        return;
    }
    let recording = recording(&chapter("kqueue"), "back-pressure");
    let states: Vec<&State> = recording.runs[0].events.iter().filter_map(Event::state).collect();
    assert!(states.iter().all(|state| state.epolls.is_empty()), "no epoll of the stand-in is shown");
    let knotes = || states.iter().flat_map(|state| &state.kqueues).flat_map(|kqueue| &kqueue.interests);
    for (filter, label) in [("READ", "listener"), ("READ", "c0"), ("WRITE", "c0"), ("SIGNAL", "SIGTERM")] {
        assert!(knotes().any(|knote| knote.filter == filter && knote.label == label), "{filter} {label}");
    }
    for event in &recording.runs[0].events {
        let Event::Rest { sleeps, .. } = event else { continue };
        assert!(sleeps.iter().all(|sleeper| sleeper.starts_with("kevent(")), "{sleeps:?}");
    }
}

/// The stand-in says what it does only if events are kept, and the explorer passes over that.
#[test]
fn what_is_announced_is_no_place_for_a_step() {
    if !possible() {
        return;
    }
    let server = chapter("kqueue");
    // With a signal in the script, every call is a place for a step. Among them are calls that the stand-in makes once a
    // millisecond, so their number is not the same in each run.
    for script in ["close", "two"] {
        let kept = run(&server, script);
        let script = Script::standard(script).expect("it ships");
        let plan = Plan {
            subject: &server,
            script: &script,
            faults: Faults::default(),
            max_placements: 0,
            always: 0,
            max_runs: None,
            max_time: None,
        };
        let explored = explorer::explore(&plan, &AtomicBool::new(false), &|_| {}).expect("it can be explored");
        assert_eq!(explored.coverage, Coverage::Complete(0));
        assert_eq!(explored.points, kept.points.len(), "{}: as many decisions with what is announced", script.name);
    }
}
