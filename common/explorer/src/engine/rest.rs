//! Rest: no thread goes on by itself. The oracle looks, the next step comes, or time has to pass.
//!
//! Invariant: a verdict is given only when nothing is in flight, no timer of the server is left to go off, and a second look
//! some time later shows the same.

use std::time::{Duration, Instant};

use observe::decode::Patience;
use observe::handle;
use observe::start::DEADLINE;

use super::client::Wrong;
use super::machine::Machine;
use super::oracle::{self, Ending};
use super::recorder::Implied;
use super::scene::Scene;
use super::tracee::Position;
use super::world::World;
use crate::run::{Error, Verdict};
use crate::script::{MAX_CLIENTS, Step};

/// A timer of the server gets this long before its silence counts.
const TIMERS: Duration = Duration::from_millis(1500);
/// A server that has slept this long, and listens elsewhere, will not come to listen where it was told.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// For bytes in flight through loopback; a backstop.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// What has not come after this long does not come by itself.
const FOR_EVER: Duration = Duration::from_millis(60);

impl Machine<'_> {
    /// No thread can go on. An ending, or something has changed.
    pub fn rest(&mut self) -> Result<Option<Ending>, Error> {
        if self.world.listener.is_none() {
            return self.go_on_starting();
        }
        if self.settle()? {
            return Ok(None);
        }
        if let Some(ending) = oracle::look(&self.world, &self.tracee) {
            if self.time_passes()? || !self.stays_so()? {
                return Ok(None);
            }
            self.record_rest(Some(ending.1.clone()))?;
            return Ok(Some(ending));
        }
        self.waited = Duration::ZERO;
        self.recorder.note("rest");
        self.record_rest(None)?;
        if self.world.to_come().is_empty() {
            return Ok(Some(Ending(Verdict::Ok, String::new())));
        }
        if self.order.faults.eintr && !self.interrupted {
            if self.choose() {
                self.interrupted = true;
                let scene = Scene { tracee: &self.tracee, world: &self.world };
                self.recorder.fault(scene, "SIGSTOP, SIGCONT: the wait is interrupted");
                self.interrupt()?;
                return Ok(None);
            }
            if self.decisions.diverged {
                return Ok(None);
            }
        }
        self.interrupted = false;
        self.next_step()?;
        Ok(None)
    }

    fn record_rest(&mut self, wrong: Option<String>) -> Result<(), Error> {
        self.look_at_rings()?;
        self.recorder.rest(Scene { tracee: &self.tracee, world: &self.world }, wrong);
        Ok(())
    }

    /// Whether what the oracle found stays as it is, unless something was late.
    fn stays_so(&mut self) -> Result<bool, Error> {
        std::thread::sleep(FOR_EVER);
        if self.settle()? || !self.tracee.ready().is_empty() {
            return Ok(false);
        }
        self.note_returned()?;
        Ok(self.tracee.ready().is_empty())
    }

    fn go_on_starting(&mut self) -> Result<Option<Ending>, Error> {
        let elsewhere = self.world.elsewhere.is_some() && self.started.elapsed() > ELSEWHERE;
        if self.started.elapsed() > DEADLINE || elsewhere {
            let sleepers = self.scene().sleepers().join(", ");
            return Err(self.late(&format!("it sleeps in {sleepers}, and does not listen")));
        }
        if !self.time_passes()? {
            std::thread::sleep(Duration::from_millis(1));
            self.waited = Duration::ZERO;
        }
        Ok(None)
    }

    /// For the message about a server that was told a port and listens on another.
    pub fn elsewhere(&self) -> String {
        self.world.elsewhere.map_or_else(String::new, |addr| {
            let port = addr.port();
            format!(
                " on the port that it was given, but on port {port} (write {{port}} where its command takes the port)"
            )
        })
    }

    /// The time for its start is over.
    pub fn late(&mut self, what: &str) -> Error {
        let elsewhere = self.elsewhere();
        if !elsewhere.is_empty() {
            return self.no_start(&format!("{what}{elsewhere}"));
        }
        let words = self.tracee.last_words();
        let (name, seconds) = (&self.order.subject.name, self.started.elapsed().as_secs_f64());
        Error::Slow(format!(
            "'{name}': under the tracer, {seconds:.1} s after its start, {what}{words}. A tracer makes each system call \
             slower: if its program is a shim (pyenv and asdf have such scripts), give the path of the interpreter itself"
        ))
    }

    pub fn no_start(&mut self, what: &str) -> Error {
        let words = self.tracee.last_words();
        let (name, seconds) = (&self.order.subject.name, self.started.elapsed().as_secs_f64());
        Error::Start(format!("'{name}': {what} {seconds:.1} s after its start{words}"))
    }

    /// Lets the clients read and go on sending, and waits for what is in flight; whether anything has moved.
    fn settle(&mut self) -> Result<bool, Error> {
        let end = Instant::now() + IN_FLIGHT;
        loop {
            let mut moved = false;
            for id in 0..MAX_CLIENTS {
                moved |= self.client_goes_on(id)?;
            }
            if moved {
                self.recorder.moved();
                // What this has caused may be there already; the rest comes with the next look.
                return Ok(true);
            }
            if !self.is_in_flight() || Instant::now() > end {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(200));
            if !self.tracee.ready().is_empty() {
                return Ok(true);
            }
        }
    }

    /// A client reads what is there, and sends what its socket takes now; whether it did anything.
    fn client_goes_on(&mut self, id: usize) -> Result<bool, Error> {
        let Some(client) = self.world.clients[id].as_mut() else { return Ok(false) };
        let (eof, reset, finished) = (client.eof, client.reset, client.finished);
        let read = if client.paused { 0 } else { client.pull() };
        let sent = client.push();
        let done = Implied {
            id,
            read,
            sent,
            sent_fin: client.finished && !finished,
            saw_fin: client.eof && !eof,
            was_reset: client.reset && !reset,
        };
        if done.is_nothing() {
            return Ok(false);
        }
        self.look_at_rings()?;
        self.recorder.implied(Scene { tracee: &self.tracee, world: &self.world }, done);
        Ok(true)
    }

    /// Whether bytes or a FIN are between the two ends of a connection, and arrive by themselves.
    fn is_in_flight(&mut self) -> bool {
        let World { clients, served, .. } = &mut self.world;
        for (client, served) in clients.iter().zip(served) {
            let Some(client) = client.as_ref().filter(|client| !client.gone) else { continue };
            let outgoing = client.unacknowledged();
            let Some((_, fd)) = self.tracee.end_of(client.port) else {
                // The server has closed. On a busy machine the FIN behind the last bytes comes late.
                if *served && !client.eof && !client.reset && !client.paused {
                    return true;
                }
                continue;
            };
            *served = true;
            let _ = fd.set_tcp_quickack(true);
            let (unread, unsent) = (handle::in_queue(&fd), handle::out_queue(&fd));
            if outgoing > 0 && unread == 0 || unsent > 0 && !client.paused {
                return true;
            }
        }
        false
    }

    /// Lets a timeout of the server run out, if there is one and patience is left; whether something happened.
    fn time_passes(&mut self) -> Result<bool, Error> {
        if self.waited > TIMERS {
            return Ok(false);
        }
        let start = Instant::now();
        let timed =
            self.tracee.at_entry().into_iter().filter_map(|(tid, call)| match self.tracee.patience(tid, &call) {
                Patience::Until(time) => Some((time, tid, call)),
                _ => None,
            });
        if let Some((_, tid, call)) = timed.min_by_key(|(time, tid, _)| (*time, *tid)) {
            self.make(tid, call, false)?;
            self.waited += start.elapsed().max(Duration::from_millis(1));
            return Ok(true);
        }
        let happened = self.wait_for_a_timer(start)?;
        self.waited += start.elapsed();
        Ok(happened)
    }

    /// For threads that block in the kernel, and for a timerfd.
    fn wait_for_a_timer(&mut self, start: Instant) -> Result<bool, Error> {
        let mut blocked = self.tracee.in_call();
        blocked.retain(|tid| self.tracee.ends_by_itself(*tid));
        let timer = self.tracee.has_armed_timer();
        while (timer || !blocked.is_empty()) && self.waited + start.elapsed() < TIMERS {
            std::thread::sleep(Duration::from_millis(1));
            if timer && !self.tracee.ready().is_empty() {
                return Ok(true);
            }
            for tid in &blocked {
                if !self.tracee.is_still_in_call(*tid)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// One byte more tells whether bytes that the server has read are held back or gone: if it comes back alone, the others
    /// are gone.
    pub fn dropped_or_held(&mut self, verdict: Verdict, what: String) -> Result<Ending, Error> {
        if verdict != Verdict::LostWakeup || self.tracee.signalled {
            return Ok(Ending(verdict, what));
        }
        let mut present = self.world.present();
        let owes = present.find(|(_, it)| it.owed() > 0 && !it.gone && !it.paused && !it.finished);
        let Some((id, owed, port)) = owes.map(|(id, client)| (id, client.owed(), client.port)) else {
            return Ok(Ending(verdict, what));
        };
        drop(present);
        let read_all = self.tracee.end_of(port).is_some_and(|(_, fd)| handle::in_queue(&fd) == 0);
        if !read_all {
            return Ok(Ending(verdict, what));
        }
        if let Some(client) = self.world.clients[id].as_mut() {
            client.send(1);
        }
        let kept = std::mem::take(&mut self.recorder.events);
        self.run_to_rest()?;
        self.recorder.events = kept;
        match self.world.clients[id].as_ref().and_then(super::client::Client::wrong) {
            Some(Wrong::Gap(..)) => {
                let what = format!(
                    "{owed} bytes that the server has read did not come back to c{id}, and never will: \
                     the next byte came without them"
                );
                Ok(Ending(Verdict::Truncated, what))
            }
            _ => Ok(Ending(verdict, what)),
        }
    }

    /// Without decisions, until nothing moves any more.
    fn run_to_rest(&mut self) -> Result<(), Error> {
        for _ in 0..10_000 {
            self.note_returned()?;
            if self.tracee.end().is_some() {
                return Ok(());
            }
            let Some(tid) = self.tracee.ready().first().copied() else {
                if self.settle()? {
                    continue;
                }
                return Ok(());
            };
            match self.tracee.position(tid) {
                Some(Position::AtEntry(call)) => self.make(tid, call, false)?,
                _ => self.tracee.run_to_entry(tid)?,
            }
        }
        Ok(())
    }

    pub fn after_its_end(&mut self) -> Result<Ending, Error> {
        let Some(end) = self.tracee.end().cloned() else { return Ok(Ending(Verdict::Ok, String::new())) };
        let how = end.how;
        if end.spun {
            let what = "the server computed for seconds and made no system call, so it was ended";
            return Ok(Ending(Verdict::Spinning, what.into()));
        }
        if self.world.listener.is_none() {
            let advice =
                match end.clean && self.tracee.threads().iter().any(|thread| thread.process != self.tracee.pid()) {
                    true => " (what it has detached is not explored: start it so that it stays in the foreground)",
                    false => "",
                };
            return Err(self.no_start(&format!("it ended with {how}, before it listened{advice},")));
        }
        if !self.tracee.signalled {
            let words = self.tracee.last_words();
            return Ok(Ending(Verdict::Exited, format!("the server ended with {how}{words}")));
        }
        Ok(match end.clean {
            true => Ending(Verdict::Ok, String::new()),
            false => {
                let what = format!("after the signal the server ended with {how}, not with exit code 0");
                Ending(Verdict::Exited, what)
            }
        })
    }

    /// The script's next step, and what comes together with it, while the server sleeps.
    fn next_step(&mut self) -> Result<(), Error> {
        for _ in 0..self.world.end_of_moment(0) {
            let Some(step) = self.world.take_step() else { return Ok(()) };
            let bytes = self.perform(step)?;
            self.record_step(step, None, bytes)?;
        }
        let Some(step) = self.world.take_step() else { return Ok(()) };
        let Step::Signal(signal) = step else {
            let bytes = self.perform(step)?;
            self.record_step(step, None, bytes)?;
            return match step {
                Step::Interrupt => self.interrupt(),
                _ => Ok(()),
            };
        };
        // It comes while the server sleeps in its wait, or just before: after the server's last look at what the handler
        // changes.
        let held = self.tracee.at_entry().into_iter().find(|(_, call)| call.is_wait());
        match held {
            Some((tid, call)) if self.choose() => {
                let before = self.text_before(tid, &call);
                self.record_step(step, Some(before), 0)?;
                self.signal_before(tid, &call, signal)
            }
            _ => {
                self.record_step(step, None, 0)?;
                self.signal_now(signal)
            }
        }
    }
}
