//! The recorder: the hash of what happens in a run, and its events if they are wanted.
//!
//! Invariant: no address, process id, port or remaining time goes into the hash or an event, so replays give the same.

use std::hash::{DefaultHasher, Hash, Hasher};

use observe::decode::Patience;
use observe::errno;

use super::scene::Scene;
use super::tracee::Returned;
use crate::run::{ClientStep, Event, ServerCall};
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

pub struct Recorder {
    /// Keep the events.
    pub keep: bool,
    hash: DefaultHasher,
    pub events: Vec<Event>,
    /// Calls in a row that moved nothing.
    idle: u32,
    /// The call that ends such a row.
    last_call: String,
}

impl Recorder {
    pub fn new(keep: bool) -> Self {
        Self { keep, hash: DefaultHasher::new(), events: Vec::new(), idle: 0, last_call: String::new() }
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

    /// A call that has returned. The trace begins with `listen`.
    pub fn call(&mut self, scene: Scene<'_>, returned: &Returned) {
        let Returned { tid, call, value } = returned;
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
        if !self.keep || self.idle > IDLE_KEPT {
            return;
        }
        let event = ServerCall {
            thread,
            name: call.name,
            arguments: scene.decode(*tid, |decoder| decoder.arguments(call)),
            result: errno::result(*value),
            out: scene.decode(*tid, |decoder| decoder.outcome(call, *value)),
            raw: call.numbers(),
            value: *value,
            fd: call.fd(),
            client: scene.client_of_call(*tid, call),
            wait: call.is_wait(),
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
            placed: before.is_some(),
            implied: false,
            fault: false,
            before: before.unwrap_or_default(),
            client: step.client(),
            bytes,
            state: scene.snapshot(),
            of_script: Some(step),
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
            placed: true,
            implied: false,
            fault: true,
            before: String::new(),
            client: None,
            bytes: 0,
            state: scene.snapshot(),
            of_script: None,
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
            placed: false,
            implied: true,
            fault: false,
            before: String::new(),
            client: Some(done.id),
            bytes: done.read + done.sent,
            state: scene.snapshot(),
            of_script: None,
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
