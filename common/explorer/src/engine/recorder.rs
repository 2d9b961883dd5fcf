//! The recorder: the hash of what happens in a run, and its events if they are wanted.
//!
//! Invariant: no address, process id, port or remaining time goes into the hash or an event, so replays give the same.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use observe::decode::Patience;
use observe::errno;
use observe::syscall::{Call, Kind};

use super::cost;
use super::scene::Scene;
use super::tracee::Returned;
use crate::record::{ClientStep, Event, ServerCall};
use crate::script::Step;

/// Calls in a row that move nothing: more than any server makes between two waits.
pub const IDLE_CALLS: u32 = 2000;
/// Of those, so many are kept.
const IDLE_KEPT: u32 = 40;

/// What a client did by itself, while the server slept.
#[derive(Debug, Clone, Copy)]
pub struct Implied {
    pub id: usize,
    pub read: u64,
    pub sent: u64,
    pub sent_fin: bool,
    pub saw_fin: bool,
    pub was_reset: bool,
}

impl Implied {
    pub fn is_nothing(&self) -> bool {
        self.read == 0 && self.sent == 0 && !self.sent_fin && !self.saw_fin && !self.was_reset
    }
}

/// What a call showed at its entry, and does not show at its exit: a wait overwrites its sets.
#[derive(Debug)]
struct Entry {
    arguments: String,
    /// How many descriptors it asks about.
    asks_about: u64,
}

pub struct Recorder {
    /// Keep the events.
    pub keep: bool,
    /// By thread.
    entries: HashMap<i32, Entry>,
    hash: DefaultHasher,
    pub events: Vec<Event>,
    /// Calls in a row that moved nothing.
    idle: u32,
    /// The call that ends such a row.
    last_call: String,
}

impl Recorder {
    pub fn new(keep: bool) -> Self {
        Self {
            keep,
            entries: HashMap::new(),
            hash: DefaultHasher::new(),
            events: Vec::new(),
            idle: 0,
            last_call: String::new(),
        }
    }

    /// All that has happened, as one number.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Something that has no event of its own.
    pub fn note(&mut self, what: impl Hash) {
        what.hash(&mut self.hash);
    }

    /// Something moves.
    pub fn moved(&mut self) {
        self.idle = 0;
    }

    pub fn count_idle_call(&mut self) {
        self.idle += 1;
    }

    /// Calls go round in circles; the last of them.
    pub fn spins(&self) -> Option<&str> {
        if self.idle > IDLE_CALLS { Some(&self.last_call) } else { None }
    }

    /// A thread is about to make a call.
    pub fn entered(&mut self, scene: Scene<'_>, tid: i32, call: &Call) {
        if self.keeps() && call.kind.is_shown() {
            let arguments = scene.decode(tid, |decoder| decoder.arguments(call));
            let asks_about = cost::asks_about(**scene.tracee.process_of(tid), call);
            self.entries.insert(tid, Entry { arguments, asks_about });
            // In the call, its stack cannot be looked at. Before the first listen, its libraries may not be loaded.
            if scene.world.listener.is_some() || call.kind == Kind::Listen {
                scene.tracee.located(tid);
            }
        }
    }

    /// Whether what comes now is kept, and not left out of a row of calls that move nothing.
    pub fn keeps(&self) -> bool {
        self.keep && self.idle <= IDLE_KEPT
    }

    /// A call that has returned. The trace begins with `listen`.
    pub fn call(&mut self, scene: Scene<'_>, returned: &Returned) {
        let Returned { tid, call, value } = returned;
        let entry = self.entries.remove(tid);
        if scene.world.listener.is_none() || !call.kind.is_shown() {
            return;
        }
        let thread = scene.tracee.index(*tid);
        // How often a timeout runs out before something happens differs from run to run.
        let timed = matches!(scene.tracee.patience(*tid, call), Patience::Until(_));
        if !(call.is_wait() && *value == 0 && timed) {
            let label = scene.tracee.label_of_call(*tid, call);
            (thread, call.number, call.fd(), label.map(|label| scene.name(label)), value).hash(&mut self.hash);
        }
        if self.idle == IDLE_CALLS || self.keep {
            self.last_call = format!("{} = {}", scene.text(*tid, call), errno::result(*value));
        }
        // One of the stand-in's is a part of its kevent.
        if !self.keeps() || scene.tracee.kqueues.inside(*tid).is_some() {
            return;
        }
        let process = **scene.tracee.process_of(*tid);
        let (arguments, asked) = match entry {
            Some(Entry { arguments, asks_about }) => (arguments, asks_about),
            None => (scene.decode(*tid, |decoder| decoder.arguments(call)), cost::asks_about(process, call)),
        };
        let located = scene.tracee.located(*tid);
        let event = ServerCall {
            thread,
            name: call.name.to_owned(),
            arguments,
            result: errno::result(*value),
            out: scene.decode(*tid, |decoder| decoder.outcome(call, *value)),
            raw: call.numbers(),
            value: *value,
            fd: call.fd(),
            client: scene.client_of_call(*tid, call),
            wait: call.is_wait(),
            cost: cost::of(process, call, asked, *value),
            inner: Vec::new(),
            ring: if call.kind == Kind::UringEnter {
                scene.tracee.rings.of_call(process.pid, &call.args)
            } else {
                None
            },
            frames: located.frames.clone(),
            meaning: located.meaning,
            state: scene.snapshot(),
        };
        self.events.push(Event::Call(event));
    }

    /// A step of the script. `before` is the call that the schedule has placed it before; without one, it came while the
    /// server slept.
    pub fn step(&mut self, scene: Scene<'_>, step: Step, before: Option<String>, bytes: u64) {
        if !self.keep {
            return;
        }
        self.events.push(Event::Step(ClientStep {
            step: step.to_string(),
            script_step: scene.world.last_taken(),
            placed: before.is_some(),
            implied: false,
            fault: false,
            before: before.unwrap_or_default(),
            client: step.client(),
            bytes,
            state: scene.snapshot(),
        }));
    }

    /// A fault that the schedule chose.
    pub fn fault(&mut self, scene: Scene<'_>, what: &str) {
        what.hash(&mut self.hash);
        if !self.keep {
            return;
        }
        self.events.push(Event::Step(ClientStep {
            step: what.to_owned(),
            script_step: None,
            placed: true,
            implied: false,
            fault: true,
            before: String::new(),
            client: None,
            bytes: 0,
            state: scene.snapshot(),
        }));
    }

    pub fn implied(&mut self, scene: Scene<'_>, done: Implied) {
        if !self.keep {
            return;
        }
        let mut parts = Vec::new();
        if done.read > 0 {
            parts.push(format!("reads {}", done.read));
        }
        if done.sent > 0 {
            parts.push(format!("goes on: sends {}", done.sent));
        }
        if done.sent_fin {
            parts.push("its FIN follows".into());
        }
        if done.saw_fin {
            parts.push("sees FIN".into());
        }
        if done.was_reset {
            parts.push("is reset".into());
        }
        self.events.push(Event::Step(ClientStep {
            step: format!("c{} {}", done.id, parts.join(", ")),
            script_step: None,
            placed: false,
            implied: true,
            fault: false,
            before: String::new(),
            client: Some(done.id),
            bytes: done.read + done.sent,
            state: scene.snapshot(),
        }));
    }

    /// The server sleeps, and the oracle has looked.
    pub fn rest(&mut self, scene: Scene<'_>, wrong: Option<String>) {
        if self.keep {
            self.events.push(Event::Rest { sleeps: scene.sleepers(), wrong, state: scene.snapshot() });
        }
    }

    pub fn preempted(&mut self, thread: usize, instead_of: usize) {
        (thread, instead_of).hash(&mut self.hash);
        if self.keep {
            self.events.push(Event::Preempted { thread, instead_of });
        }
    }
}
