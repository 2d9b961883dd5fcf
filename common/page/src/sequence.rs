//! A run as a picture: a lane for each client, for the sockets, for the kernel's part and for the program, and a row for
//! each event, with its text beside.
//!
//! Invariant: the picture has colours only by its classes, whose values are in the style sheet: the policy of the page
//! forbids style attributes, and a printer has another palette. What it shows, the table of events has in words.

use explorer::record::{Event, RecordedRun, State};

use crate::fold::{Fold, folded};
use crate::markup::Markup;
use crate::sentences::has_threads;
use crate::words;

const WIDTH: f64 = 1000.0;
const ROW: f64 = 20.0;
const TOP: f64 = 30.0;
/// Between two clients.
const CLIENTS: f64 = 56.0;
/// Room for a letter of the text.
const LETTER: f64 = 7.3;
/// Room for the function and its line.
const PLACE: f64 = 190.0;

/// Where the lanes are.
struct Lanes {
    clients: Vec<usize>,
    sockets: f64,
    kernel: f64,
    program: f64,
    text: f64,
}

impl Lanes {
    fn of(run: &RecordedRun) -> Self {
        let states = run.events.iter().filter_map(Event::state).flat_map(|state| &state.connections);
        let mut clients: Vec<usize> = states.map(|connection| connection.client).collect();
        clients.sort_unstable();
        clients.dedup();
        let sockets = 40.0 + clients.len().max(1) as f64 * CLIENTS + 34.0;
        let (kernel, program) = (sockets + 96.0, sockets + 172.0);
        Self { clients, sockets, kernel, program, text: program + 22.0 }
    }

    fn client(&self, client: Option<usize>) -> f64 {
        let place = self.clients.iter().position(|known| Some(*known) == client).unwrap_or(0);
        40.0 + place as f64 * CLIENTS
    }
}

/// The picture, named by `label` for those who do not see it.
pub fn draw(page: &mut Markup, run: &RecordedRun, label: &str) {
    let lanes = Lanes::of(run);
    let folds = folded(&run.events);
    let height = TOP + folds.len() as f64 * ROW + 8.0;
    let view = format!("0 0 {WIDTH} {height}");
    page.element("svg", &[("class", "sequence"), ("viewBox", &view), ("role", "img"), ("aria-label", label)], |it| {
        heads(it, run, &lanes, height);
        let threads = has_threads(run);
        let mut last = None;
        for (row, fold) in folds.iter().enumerate() {
            let event = &run.events[fold.events().end - 1];
            last = event.state().or(last);
            let y = TOP + row as f64 * ROW;
            let class = class(event, *fold);
            it.element("g", &[("class", &class)], |it| {
                if let Some(state) = last {
                    levels(it, &lanes, state, y);
                }
                match fold {
                    Fold::Row(_) => {
                        moves(it, &lanes, event, y + ROW / 2.0);
                        texts(it, &lanes, event, threads, y + ROW / 2.0 + 4.0);
                    }
                    Fold::Repeated { period, times, .. } => {
                        let text = again(*period, *times);
                        word(it, "text", lanes.text, y + ROW / 2.0 + 4.0, "start", &text);
                    }
                }
            });
        }
    });
    page.line();
}

/// `the same 2 calls, 22 times more`.
pub fn again(period: usize, times: usize) -> String {
    match period {
        1 => format!("the same call, {times} times more"),
        n => format!("the same {n} calls, {times} times more"),
    }
}

fn class(event: &Event, fold: Fold) -> String {
    let kind = match event {
        _ if matches!(fold, Fold::Repeated { .. }) => "row again",
        Event::Call(call) if call.value < 0 => "row call refused",
        Event::Call(_) => "row call",
        Event::Step(step) if step.placed => "row step placed",
        Event::Step(_) => "row step",
        Event::Rest { wrong: Some(_), .. } => "row rest wrong",
        Event::Rest { .. } => "row rest",
        Event::Preempted { .. } => "row step placed",
    };
    kind.to_owned()
}

fn heads(it: &mut Markup, run: &RecordedRun, lanes: &Lanes, height: f64) {
    let lane = |it: &mut Markup, x: f64, name: &str| {
        word(it, "head", x, 16.0, "middle", name);
        let (x, top, bottom) = (number(x), number(TOP - 6.0), number(height - 4.0));
        it.empty("line", &[("class", "lane"), ("x1", &x), ("x2", &x), ("y1", &top), ("y2", &bottom)]);
    };
    for client in &lanes.clients {
        lane(it, lanes.client(Some(*client)), &format!("c{client}"));
    }
    lane(it, lanes.sockets, "sockets");
    lane(it, lanes.kernel, kernel_part(run));
    lane(it, lanes.program, "program");
}

/// What of the kernel the server asks for news.
pub fn kernel_part(run: &RecordedRun) -> &'static str {
    let states = || run.events.iter().filter_map(Event::state);
    let waits = |name: &str| {
        run.events.iter().any(|event| matches!(event, Event::Call(call) if call.wait && call.name.contains(name)))
    };
    if states().any(|state| !state.kqueues.is_empty()) {
        "kqueue"
    } else if waits("uring") {
        "ring"
    } else if states().any(|state| !state.epolls.is_empty()) {
        "epoll"
    } else if waits("poll") {
        "poll"
    } else if waits("select") {
        "select"
    } else {
        "waits"
    }
}

/// What lies where after the event.
fn levels(it: &mut Markup, lanes: &Lanes, state: &State, y: f64) {
    for connection in &state.connections {
        let x = lanes.client(Some(connection.client));
        if connection.client_unread > 0 {
            bar(it, "unread-client", x, y, connection.client_unread, 1.8);
        }
    }
    let unread: u64 = state.connections.iter().map(|connection| connection.unread).sum();
    if unread > 0 {
        bar(it, "unread", lanes.sockets, y, unread, 3.0);
    }
    if state.connections.iter().any(|connection| connection.fin_arrived && connection.fd.is_some()) {
        let (x, y) = (number(lanes.sockets), number(y + ROW / 2.0));
        it.empty("circle", &[("class", "fin"), ("cx", &x), ("cy", &y), ("r", "3.5")]);
    }
    if state.accept_queue > 0 {
        block(it, "queued", lanes.sockets - 9.0, y + 3.0, 18.0, ROW - 6.0);
    }
    let ready = state.epolls.iter().any(|epoll| epoll.ready) || state.kqueues.iter().any(|kqueue| kqueue.ready);
    if ready {
        block(it, "ready", lanes.kernel - 9.0, y, 18.0, ROW);
    }
    let in_flight: usize = state.rings.iter().map(|ring| ring.in_flight.len()).sum();
    for place in 0..in_flight.min(6) {
        let x = number(lanes.kernel + (place as f64 - (in_flight.min(6) - 1) as f64 / 2.0) * 9.0);
        let y = number(y + ROW / 2.0);
        it.empty("circle", &[("class", "in-flight"), ("cx", &x), ("cy", &y), ("r", "3.5")]);
    }
    let sleeps = !state.threads.is_empty() && state.threads.iter().all(|thread| thread.sleeps);
    let program = if sleeps { "sleeps" } else { "runs" };
    if !state.threads.is_empty() {
        block(it, program, lanes.program - 5.0, y, 10.0, ROW);
    }
    let held: u64 = state.connections.iter().filter_map(|connection| u64::try_from(connection.held).ok()).sum();
    if held > 0 {
        bar(it, "held", lanes.program, y, held, 1.4);
    }
}

/// A bar that is the wider the more bytes there are: by their logarithm, so that 3 and 450,000 can both be seen.
fn bar(it: &mut Markup, class: &str, x: f64, y: f64, bytes: u64, scale: f64) {
    let width = 6.0 + scale * 2.0 * ((bytes + 1) as f64).log2();
    block(it, class, x - width / 2.0, y + 1.0, width, ROW - 2.0);
}

/// What moves: bytes, connections, news of them.
fn moves(it: &mut Markup, lanes: &Lanes, event: &Event, y: f64) {
    let arrow = |it: &mut Markup, class: &str, from: f64, to: f64| {
        let back = if to > from { -5.0 } else { 5.0 };
        let path = format!(
            "M{} {y}H{}M{} {}L{} {y}L{} {}",
            number(from),
            number(to),
            number(to + back),
            y - 4.0,
            number(to),
            number(to + back),
            y + 4.0
        );
        it.empty("path", &[("class", class), ("d", &path)]);
    };
    let (program, sockets) = (lanes.program - 7.0, lanes.sockets + 12.0);
    match event {
        Event::Step(step) => {
            let x = lanes.client(step.client);
            if step.step.contains(" reads ") || step.step.contains(" sees ") {
                arrow(it, "moves", lanes.sockets - 12.0, x + 7.0);
            } else if ["connect", "send", "shutdown", "close", "reset"].iter().any(|it| step.step.contains(it)) {
                arrow(it, "moves", x + 7.0, lanes.sockets - 12.0);
            }
            if step.client.is_some() {
                let (x, y) = (number(x), number(y));
                it.empty("circle", &[("class", "acts"), ("cx", &x), ("cy", &y), ("r", "4.5")]);
            }
        }
        Event::Call(call) => match call.name.as_str() {
            "epoll_ctl" => arrow(it, "asks", program, lanes.kernel + 11.0),
            _ if call.ring.as_ref().is_some_and(|ring| !ring.submitted.is_empty()) => {
                arrow(it, "asks", program, lanes.kernel + 11.0);
            }
            _ if call.wait && call.value > 0 => arrow(it, "tells", lanes.kernel + 11.0, program),
            "accept" | "accept4" | "read" | "recv" | "recvfrom" | "readv" | "recvmsg" if call.value >= 0 => {
                arrow(it, "takes", sockets, program);
            }
            "write" | "send" | "sendto" | "writev" | "sendmsg" if call.value > 0 && call.client.is_some() => {
                arrow(it, "takes", program, sockets);
            }
            _ => {}
        },
        Event::Rest { .. } | Event::Preempted { .. } => {}
    }
}

fn texts(it: &mut Markup, lanes: &Lanes, event: &Event, threads: bool, y: f64) {
    let place = words::meaning(event).and_then(|frame| Some(format!("{}:{}", words::function(frame), frame.line?)));
    let mark = match event {
        Event::Step(step) if step.placed => "» ",
        Event::Preempted { .. } => "» ",
        _ => "",
    };
    let room = WIDTH - lanes.text - if place.is_some() { PLACE } else { 8.0 };
    let text = shortened(&(mark.to_owned() + &words::row(event, threads)), (room / LETTER) as usize);
    word(it, "text", lanes.text, y, "start", &text);
    if let Some(place) = place {
        word(it, "place", WIDTH - 6.0, y, "end", &shortened(&place, (PLACE / LETTER) as usize - 1));
    }
}

fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn word(it: &mut Markup, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let (x, y) = (number(x), number(y));
    it.leaf("text", &[("class", class), ("x", &x), ("y", &y), ("text-anchor", anchor)], text);
}

fn block(it: &mut Markup, class: &str, x: f64, y: f64, width: f64, height: f64) {
    let (x, y, width, height) = (number(x), number(y), number(width), number(height));
    it.empty("rect", &[("class", class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)]);
}

/// With at most one digit behind the point.
fn number(value: f64) -> String {
    let tenths = (value * 10.0).round() / 10.0;
    format!("{tenths}")
}
