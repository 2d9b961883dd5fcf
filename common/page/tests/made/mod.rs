//! Recordings that are made up, for what no real run has.
//!
//! Invariant: each is a recording that `record::read` accepts.

use explorer::Recording;
use serde_json::{Value, json};

fn recording(value: Value) -> Recording {
    explorer::record::read(&value.to_string()).expect("a recording")
}

fn state(client: Value, ready: bool, sleeps: bool) -> Value {
    json!({
        "accept_queue": 0, "connections": if client.is_null() { json!([]) } else { json!([client]) }, "kqueues": [], "rings": [],
        "epolls": [{"fd": 4, "ready": ready, "interests": [{"fd": 5, "label": "c0", "mask": "IN|OUT|ET"}]}],
        "threads": [{"thread": 0, "at": "epoll_wait(4)", "sleeps": sleeps, "frames": [], "meaning": null}]
    })
}

fn client(unread: u64, held: i64, back: u64) -> Value {
    json!({
        "client": 0, "fd": 5, "asked": 5003, "sent": 5003, "client_not_sent": 0, "unread": unread, "fin_arrived": false,
        "held": held, "not_sent": 0, "client_unread": 0, "came_back": back, "eof": false, "left": false, "level": "IN|OUT",
        "receive_room": 131_072, "send_room": 131_072, "client_receive_room": null
    })
}

fn call(name: &str, arguments: &str, value: i64, result: &str, out: &str, state: &Value) -> Value {
    let wait = name == "epoll_wait";
    let asked = arguments.rsplit(", ").next().and_then(|it| it.parse::<i64>().ok());
    json!({
        "event": "call", "thread": 0, "name": name, "arguments": arguments, "result": result, "out": out,
        "raw": [5, null, asked, null, null, null], "value": value, "fd": if wait { 4 } else { 5 },
        "client": if wait { json!(null) } else { json!(0) }, "wait": wait, "cost": null, "inner": [], "ring": null,
        "frames": [{"function": "server::look::{{closure}}", "file": "flag.rs", "source": 0, "line": 2}], "meaning": 0,
        "state": state
    })
}

fn step(text: &str, before: &str, place: Option<usize>, bytes: u64, state: &Value) -> Value {
    json!({
        "event": "step", "step": text, "script_step": place, "placed": !before.is_empty(), "implied": place.is_none(),
        "fault": false, "before": before, "client": 0, "bytes": bytes, "state": state
    })
}

fn rest(wrong: Option<&str>, state: &Value) -> Value {
    json!({"event": "rest", "sleeps": ["epoll_wait(4)"], "wrong": wrong, "state": state})
}

fn run(schedule: &str, verdict: &str, what: &str, diagnosis: &str, events: &[Value]) -> Value {
    json!({"schedule": schedule, "verdict": verdict, "what": what, "diagnosis": diagnosis, "events": events, "end": null})
}

fn whole(server: &str, runs: &[Value], passing: Option<usize>, source: &str) -> Value {
    json!({
        "format": "event-loop-run", "version": 2, "server": server, "script_name": "close",
        "script": "c0 connect; c0 send 3; c0 send 5000", "steps": ["c0 connect", "c0 send 3", "c0 send 5000"], "faults": "",
        "sources": [{"path": "flag.rs", "text": source}], "no_frames": null, "runs": runs, "passing": passing,
        "bound": {"placements": 1, "complete": true, "cut": null}
    })
}

/// A server that clears its flag too late: three runs, of which the second gap is fatal.
pub fn flag_bug() -> Recording {
    let (idle, some, lost) = (client(0, 0, 3), client(5000, 3, 0), client(5000, 0, 3));
    let busy = |client: &Value| state(client.clone(), true, false);
    let what = "5000 of c0's 5003 bytes did not come back, and the server sleeps";
    let fails = [
        call("recvfrom", "5 c0, 4096", 3, "3", "", &busy(&client(0, 3, 0))),
        call("recvfrom", "5 c0, 4096", -11, "EAGAIN", "", &busy(&client(0, 3, 0))),
        step("c0 send 5000", "epoll_wait(4, timeout 0)", Some(2), 5000, &busy(&some)),
        call("epoll_wait", "4, timeout 0", 1, "1", "5 c0 IN|OUT", &state(some.clone(), false, false)),
        call("sendto", "5 c0, 3", 3, "3", "", &state(lost.clone(), false, false)),
        step("c0 reads 3", "", None, 3, &state(lost.clone(), false, true)),
        rest(Some(what), &state(lost, false, true)),
    ];
    let diagnosis = "5000 bytes of c0 are unread in fd 5. The edge that reported these bytes is used up.";
    let passes = [rest(None, &state(idle.clone(), false, true)), step("c0 send 5000", "", Some(2), 5000, &busy(&some))];
    let other = [
        step("c0 send 5000", "recvfrom(5 c0, 4096)", Some(2), 5000, &busy(&some)),
        call("recvfrom", "5 c0, 4096", 4096, "4096", "", &busy(&some)),
        rest(None, &state(idle, false, true)),
    ];
    let runs = [
        run("0,0,1", "lost-wakeup", what, diagnosis, &fails),
        run("0", "ok", "", "", &passes),
        run("1", "ok", "", "", &other),
    ];
    recording(whole("flag bug", &runs, Some(1), "fn look() {\n    epoll.wait();\n}\n"))
}

/// Names that would like to be markup, to turn the text around, or to end what they stand in.
pub fn hostile() -> Recording {
    let name = "</script><script>alert(1)</script>\u{202e}<img src=x onerror='alert(2)'>\"' ]]> <!-- \u{0}\u{1b}[31m";
    let text =
        "\u{2066}</pre></script><script>alert(3)</script>\u{202e} // <!-- javascript&colon;\n&lt;b&gt;\r\n".repeat(3);
    let state = state(client(3, 0, 0), true, false);
    let mut events = vec![
        call(name, name, 3, name, name, &state),
        call("epoll_wait", name, 1, "1", name, &state),
        step(name, name, Some(0), 3, &state),
        step(name, "", None, 3, &state),
        rest(Some(name), &state),
    ];
    events[0]["frames"] = json!([{"function": name, "file": name, "source": 0, "line": 2}]);
    let mut value = whole(name, &[run("0", "lost-wakeup", name, name, &events)], None, &text);
    (value["script"], value["script_name"], value["faults"]) = (json!(name), json!(name), json!(name));
    (value["steps"], value["no_frames"]) = (json!([name, name, name]), json!(name));
    (value["sources"][0]["path"], value["bound"]["cut"]) = (json!(name), json!(name));
    recording(value)
}

/// A server that throws away what a write does not take: 23 pairs that succeed, 55 that do not.
pub fn long() -> Recording {
    let state = state(client(1000, 3, 0), false, false);
    let mut events = vec![call("epoll_wait", "4", 1, "1", "5 c0 IN", &state)];
    for (times, value, result) in [(23, 4096, "4096"), (55, -11, "EAGAIN")] {
        for _ in 0..times {
            events.push(call("read", "5 c0, 4096", 4096, "4096", "", &state));
            events.push(call("write", "5 c0, 4096", value, result, "", &state));
        }
    }
    events.push(call("read", "5 c0, 4096", -11, "EAGAIN", "", &state));
    events.push(rest(Some("bytes are missing"), &state));
    recording(whole("textbook", &[run("0", "truncated", "bytes are missing", "", &events)], None, "a\nb\n"))
}
