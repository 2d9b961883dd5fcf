//! A recording made by hand, which has what the tests need: gaps of both kinds, rows that repeat, a source, a run that
//! fails beside one that passes.
//!
//! Invariant: it is read by the same reader as a recording of the explorer, so it has all the fields of the format.

use explorer::record::{Recording, read};
use serde_json::{Value, json};

/// The steps of the script.
const STEPS: [&str; 4] = ["c0 connect", "c0 send 3", "c0 send 5000", "c0 shutdown"];
/// The calls of the server before which the third step may come, and whether that is fatal.
pub const GAPS: [(usize, bool); 5] = [(8, false), (9, false), (10, true), (11, true), (12, false)];

/// The recording. The server's name and its source may be hostile.
pub fn recording(server: &str, remark: &str) -> Recording {
    let mut runs = vec![run(Some(10), true), run(None, false)];
    runs.extend(GAPS.iter().map(|&(calls, fatal)| run(Some(calls), fatal)));
    let source: String = (1..=60).map(|line| format!("    line_{line}(); // {remark}\n")).collect();
    let recording = json!({
        "format": "event-loop-run", "version": 2, "server": server,
        "script_name": "close", "script": STEPS.join("; "), "steps": STEPS, "faults": "",
        "sources": [{ "path": "sample/server.rs", "text": source }], "no_frames": null,
        "runs": runs, "passing": 1, "bound": { "placements": 1, "complete": true, "cut": null },
    });
    read(&recording.to_string()).expect("the sample has the fields of the format")
}

/// A run under way: its events so far, and where c0's bytes are.
#[derive(Default)]
struct Maker {
    events: Vec<Value>,
    calls: usize,
    connected: bool,
    queue: u32,
    unread: u64,
    held: u64,
    sent: u64,
    at_client: u64,
    back: u64,
    ready: bool,
    /// Whether the edge of what is unread has been reported.
    told: bool,
}

/// A run in which the third step comes before a call of this number, or else while the server sleeps. In a fatal one the
/// server never reads what it brings.
fn run(gap: Option<usize>, fatal: bool) -> Value {
    let mut it = Maker::default();
    it.call("listen", "3 listener", 0, "", 4);
    it.call("epoll_ctl", "4, ADD, 3 listener, IN|ET", 0, "", 5);
    it.rest(None);
    it.connect();
    it.call("epoll_wait", "4", 1, "3 listener IN", 10);
    it.accept();
    it.call("epoll_ctl", "4, ADD, 5 c0, IN|OUT|RDHUP|ET", 0, "", 22);
    it.call("accept4", "3 listener", -11, "", 20);
    it.rest(None);
    it.send(3, 1, None);
    it.call("epoll_wait", "4", 1, "5 c0 IN|OUT", 10);
    it.read(3);
    it.placed(gap, "recvfrom(5 c0, 4096)");
    it.read(0);
    it.placed(gap, "epoll_wait(4, timeout 0)");
    it.call("epoll_wait", "4, timeout 0", 0, "", 12);
    it.placed(gap, "sendto(5 c0, 3)");
    it.write(3);
    it.placed(gap, "epoll_wait(4, timeout 0)");
    it.call("epoll_wait", "4, timeout 0", 0, "", 12);
    it.placed(gap, "epoll_wait(4)");
    it.client_reads();
    if fatal {
        it.rest(Some("5000 of c0's 5003 bytes did not come back, and the server sleeps"));
        return it.end(gap, "lost-wakeup");
    }
    if gap.is_none() {
        it.rest(None);
        it.send(5000, 2, None);
    }
    it.call("epoll_wait", "4", 1, "5 c0 IN|OUT", 10);
    for _ in 0..5 {
        it.read(1000);
        it.write(1000);
    }
    it.read(0);
    it.client_reads();
    it.rest(None);
    it.end(gap, "ok")
}

impl Maker {
    fn state(&self) -> Value {
        let connection = json!({
            "client": 0, "fd": if self.connected { json!(5) } else { json!(null) }, "unread": self.unread,
            "fin_arrived": false, "asked": self.sent, "sent": self.sent, "came_back": self.back, "eof": false, "left": false,
            "client_unread": self.at_client, "client_not_sent": 0, "not_sent": 0, "held": self.held,
            "level": if self.unread > 0 { "IN|OUT" } else { "OUT" },
            "receive_room": 65536, "send_room": 87040, "client_receive_room": 65536,
        });
        let mut interests = vec![json!({ "fd": 3, "label": "listener", "mask": "IN|ET" })];
        if self.connected {
            interests.push(json!({ "fd": 5, "label": "c0", "mask": "IN|OUT|RDHUP|ET" }));
        }
        json!({
            "accept_queue": self.queue,
            "connections": if self.connected || self.queue > 0 { vec![connection] } else { vec![] },
            "epolls": [{ "fd": 4, "ready": self.ready, "interests": interests }], "kqueues": [], "rings": [],
            "threads": [{ "thread": 0, "at": "epoll_wait(4)", "sleeps": true, "frames": frames(10), "meaning": 0 }],
        })
    }

    fn call(&mut self, name: &str, arguments: &str, value: i64, out: &str, line: u32) {
        let wait = name == "epoll_wait";
        if wait {
            self.ready = false;
            self.told = self.unread > 0;
        }
        let client = arguments.starts_with("5 c0").then_some(0);
        let result = if value == -11 { "EAGAIN".to_owned() } else { value.to_string() };
        self.events.push(json!({
            "event": "call", "thread": 0, "name": name, "arguments": arguments, "result": result, "out": out,
            "raw": [null, null, null, null, null, null], "value": value, "fd": client.map(|_| 5), "client": client,
            "wait": wait, "state": self.state(), "frames": frames(line), "meaning": 0, "inner": [], "ring": null,
            "cost": if wait { json!({ "looked_at": value, "copied_in": 0, "copied_out": 12 * value }) } else { json!(null) },
        }));
        self.calls += 1;
    }

    fn read(&mut self, bytes: u64) {
        (self.unread, self.held) = (self.unread - bytes, self.held + bytes);
        let value = if bytes == 0 { -11 } else { bytes as i64 };
        self.call("recvfrom", "5 c0, 4096", value, "", 31);
    }

    fn write(&mut self, bytes: u64) {
        (self.held, self.at_client) = (self.held - bytes, self.at_client + bytes);
        self.call("sendto", &format!("5 c0, {bytes}"), bytes as i64, "", 40);
    }

    fn accept(&mut self) {
        (self.queue, self.connected) = (0, true);
        self.call("accept4", "3 listener", 5, "c0", 20);
    }

    fn step(&mut self, step: &str, script_step: Option<usize>, bytes: u64, before: &str) {
        self.events.push(json!({
            "event": "step", "step": step, "placed": !before.is_empty(), "implied": script_step.is_none(),
            "fault": false, "before": before, "client": 0, "bytes": bytes, "script_step": script_step,
            "state": self.state(),
        }));
    }

    fn connect(&mut self) {
        (self.queue, self.ready) = (1, true);
        self.step(STEPS[0], Some(0), 0, "");
    }

    fn send(&mut self, bytes: u64, step: usize, before: Option<&str>) {
        (self.unread, self.sent, self.ready) = (self.unread + bytes, self.sent + bytes, true);
        self.step(STEPS[step], Some(step), bytes, before.unwrap_or_default());
    }

    /// The third step, if this is its place.
    fn placed(&mut self, gap: Option<usize>, before: &str) {
        if gap == Some(self.calls) {
            self.send(5000, 2, Some(before));
        }
    }

    fn client_reads(&mut self) {
        let bytes = std::mem::take(&mut self.at_client);
        self.back += bytes;
        self.step(&format!("c0 reads {bytes}"), None, bytes, "");
    }

    fn rest(&mut self, wrong: Option<&str>) {
        self.events.push(json!({
            "event": "rest", "sleeps": ["epoll_wait(4)"], "wrong": wrong, "state": self.state(), "frames": frames(10),
            "meaning": 0,
        }));
    }

    fn end(self, gap: Option<usize>, verdict: &str) -> Value {
        let what =
            if verdict == "ok" { "" } else { "5000 of c0's 5003 bytes did not come back, and the server sleeps" };
        let diagnosis = if verdict == "ok" { "" } else { "The edge that reported these bytes is used up." };
        let end = self.state();
        json!({
            "schedule": gap.map_or("0".to_owned(), |calls| format!("{}1", "0,".repeat(calls))), "verdict": verdict,
            "what": what, "diagnosis": diagnosis, "events": self.events, "end": end,
        })
    }
}

fn frames(line: u32) -> Value {
    json!([
        { "function": "sample::serve", "file": "sample/server.rs", "source": 0, "line": line },
        { "function": "sample::main", "file": "sample/server.rs", "source": 0, "line": 2 },
    ])
}
