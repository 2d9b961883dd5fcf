//! io_uring: a recording names the operations that are queued, in flight and complete, and whose they are.

use explorer::record::{Event, Operation};

use crate::servers::{calls, chapter, possible, recording};

/// Without io_uring the chapter does not start.
fn denied() -> bool {
    let denied = observe::io_uring_denied();
    if let Some(why) = &denied {
        eprintln!("skipped: {why}");
    }
    denied.is_some() || !possible()
}

fn is(operation: &Operation, name: &str, client: Option<usize>, result: Option<i64>) -> bool {
    (operation.operation.as_str(), operation.client, operation.result) == (name, client, result)
}

#[test]
fn operations_are_named_with_their_clients() {
    if denied() {
        return;
    }
    let recording = recording(&chapter("uring"), "close");
    let calls: Vec<_> = calls(&recording).filter_map(|call| call.ring.as_ref()).collect();
    for (what, found) in [
        (
            "an accept is submitted",
            calls.iter().any(|ring| ring.submitted.iter().any(|it| is(it, "ACCEPT", None, None))),
        ),
        (
            "a receive is submitted",
            calls.iter().any(|ring| ring.submitted.iter().any(|it| is(it, "RECV", Some(0), None))),
        ),
        (
            "c0 was accepted",
            calls.iter().any(|ring| {
                ring.completed.iter().any(|it| it.operation == "ACCEPT" && it.client == Some(0) && it.result > Some(0))
            }),
        ),
        (
            "3 bytes were received",
            calls.iter().any(|ring| ring.completed.iter().any(|it| is(it, "RECV", Some(0), Some(3)))),
        ),
        (
            "3 bytes were sent",
            calls.iter().any(|ring| ring.completed.iter().any(|it| is(it, "SEND", Some(0), Some(3)))),
        ),
        (
            "the FIN was received",
            calls.iter().any(|ring| ring.completed.iter().any(|it| is(it, "RECV", Some(0), Some(0)))),
        ),
        ("every completion is known", calls.iter().flat_map(|ring| &ring.completed).all(|it| it.operation != "?")),
    ] {
        assert!(found, "{what}: {}", recording.to_json());
    }
}

/// What completions have moved counts as what calls have moved, and so does the part of a send that the kernel has taken.
#[test]
fn bytes_are_conserved() {
    if denied() {
        return;
    }
    for script in ["close", "two", "half-close", "reset", "finish", "queue", "emfile", "back-pressure"] {
        let recording = recording(&chapter("uring"), script);
        let mut looked_at = 0;
        for event in &recording.runs[0].events {
            for connection in event.state().map_or(&[][..], |state| &state.connections) {
                looked_at += usize::from(connection.lost().is_some());
                assert!(matches!(connection.lost(), None | Some(0)), "{script}: {connection:?} after {event:?}");
            }
        }
        assert!(looked_at > 5, "{script}: {looked_at}");
    }
}

#[test]
fn what_is_in_flight_is_shown_while_the_server_sleeps() {
    if denied() {
        return;
    }
    let recording = recording(&chapter("uring"), "two");
    let mut most = 0;
    for event in &recording.runs[0].events {
        let Event::Rest { state, .. } = event else { continue };
        let [ring] = &state.rings[..] else { panic!("one ring: {state:?}") };
        assert!(ring.submitted.is_empty() && ring.completed.is_empty(), "it sleeps: {ring:?}");
        assert!(ring.in_flight.iter().any(|it| is(it, "ACCEPT", None, None)), "{ring:?}");
        most = most.max(ring.in_flight.iter().filter(|it| it.operation == "RECV" && it.client.is_some()).count());
        let of_clients = state.connections.iter().filter(|it| it.fd.is_some()).map(|it| it.client);
        for client in of_clients {
            assert!(ring.in_flight.iter().any(|it| is(it, "RECV", Some(client), None)), "c{client}: {ring:?}");
        }
    }
    assert_eq!(most, 2, "each of two clients has a receive in flight");
}
