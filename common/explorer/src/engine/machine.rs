//! One run of the server, from its start to a verdict.
//!
//! Invariant: a decision is taken while no thread runs. Where the schedule decides nothing, the same thread goes on until it
//! would block, and then the oldest one that can.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use observe::start::DEADLINE;
use observe::syscall::{Call, Kind};

use super::client::Wrong;
use super::decisions::Decisions;
use super::independence;
use super::ledger;
use super::oracle::Ending;
use super::recorder::{IDLE_CALLS, Recorder};
use super::scene::Scene;
use super::tracee::{Position, Returned, Tracee};
use super::watchdog::Watchdog;
use super::world::{WhichListener, World};
use crate::order::Order;
use crate::record::Found;
use crate::run::{Error, Missing, Run, Verdict};

/// A run takes milliseconds. One that goes on for so long has a server that never rests: one that starts another timer
/// with each accept that fails, say.
const LONGEST: Duration = Duration::from_secs(20);

/// What comes next, at the entry of a call.
enum Choice {
    /// The call.
    Continue,
    /// So many steps of the script.
    PlaceSteps(usize),
    /// Another thread.
    Preempt(i32),
    /// The connection that the call would accept goes away.
    AbortConnection,
}

pub struct Machine<'a> {
    pub order: &'a Order<'a>,
    /// Dropped before the tracee: a client that leaves resets its connection, which then ends at once on both sides.
    pub world: World<'a>,
    pub tracee: Tracee<'a>,
    pub decisions: Decisions<'a>,
    pub recorder: Recorder,
    pub started: Instant,
    /// The thread that went on last.
    current: Option<i32>,
    /// The wait was interrupted since the server went to sleep.
    pub interrupted: bool,
    /// So long the run has waited for timers of the server, since the server slept and all was well.
    pub waited: Duration,
}

impl<'a> Machine<'a> {
    /// Starts the server and runs the script; `None` if the server turns out to listen for clients on another socket.
    pub fn run(
        order: &'a Order<'a>,
        argv: &[String],
        which: WhichListener,
        watchdog: &'a Watchdog,
    ) -> Result<Option<Run>, Error> {
        let mut machine = Machine {
            order,
            tracee: Tracee::start(argv, watchdog, order.keep)?,
            world: World::new(order.script, order.subject.own, which),
            decisions: Decisions::new(order.schedule, order.before_last),
            recorder: Recorder::new(order.keep),
            started: Instant::now(),
            current: None,
            interrupted: false,
            waited: Duration::ZERO,
        };
        let Some(Ending(verdict, what)) = machine.drive()? else { return Ok(None) };
        machine.look_at_rings()?;
        let end = if order.keep { Some(machine.scene().snapshot()) } else { None };
        let Ending(verdict, what) = match machine.decisions.diverged {
            true => {
                let what = "the same decisions did not lead to the same system calls";
                Ending(Verdict::NonDeterministic, what.to_owned())
            }
            false => machine.dropped_or_held(verdict, what)?,
        };
        let found = if order.keep { machine.tracee.found() } else { Found::default() };
        Ok(Some(Run {
            verdict,
            what,
            missing: if order.keep { machine.missing() } else { None },
            points: std::mem::take(&mut machine.decisions.points),
            hash: machine.recorder.hash(),
            events: std::mem::take(&mut machine.recorder.events),
            end,
            found,
        }))
    }

    pub fn scene(&self) -> Scene<'_> {
        Scene { tracee: &self.tracee, world: &self.world }
    }

    fn drive(&mut self) -> Result<Option<Ending>, Error> {
        loop {
            if self.world.listens_elsewhere {
                return Ok(None);
            }
            if self.order.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if self.world.listener.is_some() && self.started.elapsed() > LONGEST {
                return Err(Error::Endless);
            }
            if self.decisions.diverged {
                return Ok(Some(Ending(Verdict::NonDeterministic, String::new())));
            }
            self.note_returned()?;
            if self.tracee.end().is_some() {
                return self.after_its_end().map(Some);
            }
            if let Some(last) = self.recorder.spins() {
                let what = format!("{IDLE_CALLS} system calls in a row moved nothing; the last one was {last}");
                return Ok(Some(Ending(Verdict::Spinning, what)));
            }
            if self.world.listener.is_none() && self.started.elapsed() > DEADLINE {
                return Err(self.late("it did not listen"));
            }
            let ready = self.tracee.ready();
            let goes_on = self.current.filter(|tid| ready.contains(tid)).or_else(|| ready.first().copied());
            match goes_on {
                Some(tid) => self.advance(tid, &ready)?,
                None => {
                    if let Some(ending) = self.rest()? {
                        return Ok(Some(ending));
                    }
                }
            }
        }
    }

    /// Lets a thread do one thing.
    fn advance(&mut self, tid: i32, ready: &[i32]) -> Result<(), Error> {
        self.current = Some(tid);
        let Some(Position::AtEntry(call)) = self.tracee.position(tid) else {
            self.tracee.run_to_entry(tid)?;
            self.note_kevents();
            return Ok(());
        };
        match self.decide(tid, &call, ready) {
            Choice::Continue => self.make(tid, call, false),
            Choice::PlaceSteps(count) => self.place_steps(tid, &call, count),
            Choice::Preempt(other) => {
                self.recorder.preempted(self.tracee.index(other), self.tracee.index(tid));
                self.tracee.pass_over(tid);
                self.current = Some(other);
                Ok(())
            }
            Choice::AbortConnection => self.abort_connection(tid, &call),
        }
    }

    fn decide(&mut self, tid: i32, call: &Call, ready: &[i32]) -> Choice {
        if self.world.listener.is_none() {
            return Choice::Continue;
        }
        let mut choices = vec![Choice::Continue];
        let steps = independence::steps_to_place(self.scene(), tid, call, self.order.relation);
        choices.extend(steps.map(Choice::PlaceSteps));
        if !self.tracee.was_passed_over(tid) && independence::may_change_threads(self.scene(), tid, call) {
            choices.extend(ready.iter().filter(|other| **other != tid).map(|other| Choice::Preempt(*other)));
        }
        let may_abort = self.order.faults.econnaborted && call.kind == Kind::Accept;
        if may_abort && self.tracee.accept_would_succeed(tid, call) {
            choices.push(Choice::AbortConnection);
        }
        let placements = steps.map_or(1, |steps| self.world.moments(steps));
        let chosen = self.decisions.choose(choices.len(), placements, self.recorder.hash());
        choices.swap_remove(chosen)
    }

    /// A decision of the schedule that places one step, or a fault.
    pub fn choose(&mut self) -> bool {
        self.decisions.choose(2, 1, self.recorder.hash()) == 1
    }

    /// Makes the call that a thread stands before.
    pub fn make(&mut self, tid: i32, call: Call, may_block: bool) -> Result<(), Error> {
        self.world.has_started |= self.world.listener.is_some() && independence::waits_for_clients(&call);
        self.look_at_rings()?;
        self.recorder.entered(Scene { tracee: &self.tracee, world: &self.world }, tid, &call);
        match self.tracee.make(tid, call, may_block)? {
            Some(returned) => self.after_call(&returned),
            None => Ok(()),
        }
    }

    /// Notes the calls that were blocked in the kernel and have returned.
    pub fn note_returned(&mut self) -> Result<(), Error> {
        for returned in self.tracee.returned()? {
            self.after_call(&returned)?;
        }
        Ok(())
    }

    fn after_call(&mut self, returned: &Returned) -> Result<(), Error> {
        let Returned { tid, call, value } = *returned;
        let moved = match call.kind {
            Kind::Read | Kind::Write => value > 0,
            Kind::Accept | Kind::Close => value >= 0,
            _ => false,
        };
        if moved {
            self.recorder.moved();
        } else {
            self.recorder.count_idle_call();
        }
        self.tracee.learn(returned);
        if call.kind == Kind::Listen
            && value == 0
            && self.world.listener.is_none()
            && let Some(process) = self.tracee.thread(tid).map(|thread| thread.process)
        {
            self.world.found_listener(&self.tracee, process, call.args[0] as i32)?;
            self.recorder.moved();
        }
        // It has accepted, and has no descriptor for what else a connection needs: a pipe, a file.
        if call.kind != Kind::Accept && [libc::EMFILE, libc::ENFILE].map(|error| -i64::from(error)).contains(&value) {
            self.world.lacked_a_descriptor();
        }
        // Its output is a file: what it has written is there.
        if call.kind == Kind::Write && (call.args[0] == 1 || call.args[0] == 2) {
            let said = self.tracee.said_address();
            self.world.compare_listener(said);
        }
        self.count_bytes(returned);
        self.look_at_rings()?;
        if self.order.keep && call.kind == Kind::Close {
            self.count_close(self.scene().client_of_call(tid, &call));
        }
        self.recorder.call(Scene { tracee: &self.tracee, world: &self.world }, returned);
        self.note_inner(returned);
        self.note_enter(returned);
        self.tracee.unlearn(returned);
        Ok(())
    }

    /// Notes the bytes that a call has moved between the program and a client's connection.
    fn count_bytes(&mut self, returned: &Returned) {
        let Returned { tid, call, value } = *returned;
        let Ok(bytes @ 1..) = u64::try_from(value) else { return };
        if !self.order.keep {
            return;
        }
        let (from, to) = ledger::moves(&call);
        let client = |fd: Option<i32>| self.scene().client_of(tid, fd?);
        let (from, to) = (client(from), client(to));
        if let Some(client) = from {
            self.world.ledger.took(client, bytes);
        }
        if let Some(client) = to {
            let passed_over = self.passed_over(tid, &call, client, bytes);
            self.world.ledger.gave(client, bytes, passed_over);
        }
    }

    /// How many bytes of a client's stream a write has left out. Only what stands in its memory tells.
    fn passed_over(&self, tid: i32, call: &Call, id: usize, bytes: u64) -> u64 {
        let Some(client) = &self.world.clients[id] else { return 0 };
        let first = ledger::first_bytes(**self.tracee.process_of(tid), call, bytes);
        let next = self.world.ledger.next(id);
        let held = u64::try_from(self.world.ledger.held(id)).unwrap_or(0);
        client.passed_over(next, next + held, &first)
    }

    /// Notes that a client's connection is closed.
    pub fn count_close(&mut self, closed: Option<usize>) {
        let port = closed.and_then(|client| Some((client, self.world.clients[client].as_ref()?.port)));
        if let Some((client, _)) = port.filter(|(_, port)| self.tracee.end_of(*port).is_none()) {
            self.world.ledger.closed(client);
        }
    }

    /// The bytes that did not come back, if some will not come back any more.
    fn missing(&self) -> Option<Missing> {
        self.world.present().filter(|(_, client)| !client.gone).find_map(|(id, client)| match client.wrong() {
            Some(Wrong::Gap(at, bytes)) => Some(Missing { client: id, at, bytes, passed_over: true }),
            None if (client.eof || client.reset) && client.owed() > 0 => {
                Some(Missing { client: id, at: client.came_back, bytes: client.owed(), passed_over: false })
            }
            _ => None,
        })
    }
}
