//! What comes from outside: the steps of the script, signals, interruptions, limits, aborted connections.
//!
//! Invariant: a step has happened when its call returns, and what it causes in the sockets of the server is there.

use std::time::Duration;

use observe::syscall::Call;
use socket2::SockRef;

use super::machine::Machine;
use super::scene::Scene;
use super::tracee::Returned;
use crate::run::Error;
use crate::script::{Signal, Step};

impl Machine<'_> {
    /// Places steps before the call that a thread is about to make.
    pub fn place_steps(&mut self, tid: i32, call: &Call, count: usize) -> Result<(), Error> {
        for _ in 0..count {
            let before = self.text_before(tid, call);
            let Some(step) = self.world.take_step() else { return Ok(()) };
            if let Step::Signal(signal) = step {
                self.record_step(step, Some(before), 0)?;
                return self.signal_before(tid, call, signal);
            }
            let bytes = self.perform(step)?;
            self.record_step(step, Some(before), bytes)?;
        }
        Ok(())
    }

    /// The text of a call, if events are kept.
    pub fn text_before(&self, tid: i32, call: &Call) -> String {
        if !self.order.keep {
            return String::new();
        }
        let text = self.scene().text(tid, call);
        match self.scene().inside(tid) {
            Some(kevent) => format!("{text}, in {kevent}"),
            None => text,
        }
    }

    pub fn record_step(&mut self, step: Step, before: Option<String>, bytes: u64) -> Result<(), Error> {
        if self.order.keep {
            // A thread that is blocked in io_uring_enter accepts and receives in there: the state to show is the one after.
            for tid in self.tracee.in_call() {
                self.tracee.is_still_in_call(tid)?;
            }
            self.look_at_rings()?;
        }
        self.recorder.step(Scene { tracee: &self.tracee, world: &self.world }, step, before, bytes);
        Ok(())
    }

    /// Takes a step, unless it is a signal or an interruption; the bytes that it moved.
    pub fn perform(&mut self, step: Step) -> Result<u64, Error> {
        self.recorder.moved();
        if step == Step::Interrupt {
            return Ok(0);
        }
        self.recorder.note(step);
        match step {
            Step::Connect(id) => self.world.connect(id).map(|()| 0),
            Step::FdsNone => {
                self.world.fds_limited = true;
                // Whoever has connected and was not accepted meets the lack too.
                for client in self.world.clients.iter_mut().flatten() {
                    client.came_without_fds |= self.tracee.end_of(client.port).is_none();
                }
                let root = self.tracee.root();
                root.set_fd_limit(root.first_free_fd() as u64)?;
                Ok(0)
            }
            Step::FdsFree => {
                self.world.fds_limited = false;
                self.tracee.root().set_fd_limit(u64::MAX)?;
                Ok(0)
            }
            _ => self.perform_of_client(step),
        }
    }

    fn perform_of_client(&mut self, step: Step) -> Result<u64, Error> {
        let client = step.client().and_then(|id| self.world.clients[id].as_mut());
        let client = client.ok_or_else(|| Error::Broken("a client that is not connected".into()))?;
        match step {
            Step::Send(_, bytes) => return Ok(client.send(bytes)),
            Step::Recv(_) => {
                client.paused = false;
                return Ok(client.pull());
            }
            Step::Pause(_) => client.paused = true,
            Step::Shutdown(_) => client.shutdown(),
            Step::Close(_) => client.leave(false),
            Step::Reset(_) => client.leave(true),
            _ => {}
        }
        Ok(0)
    }

    /// A signal while the server sleeps in its wait.
    pub fn signal_now(&mut self, signal: Signal) -> Result<(), Error> {
        self.recorder.note("signal");
        self.recorder.moved();
        self.tracee.expect_signal();
        self.tracee.send_signal(signal);
        // A signal finds a thread only in the kernel, not where the explorer holds it.
        self.let_sleepers_in()
    }

    /// A signal just before a call: the handler runs first, and then the call is made.
    pub fn signal_before(&mut self, tid: i32, call: &Call, signal: Signal) -> Result<(), Error> {
        self.recorder.note("signal before");
        self.recorder.moved();
        self.tracee.expect_signal();
        if !self.tracee.handle_signal_before(tid, call, signal)? {
            // It is pending until a wait lets it in, or no handler would see it.
            self.tracee.send_signal(signal);
        }
        Ok(())
    }

    /// EINTR, as a SIGSTOP and a SIGCONT give it.
    pub fn interrupt(&mut self) -> Result<(), Error> {
        self.recorder.note("interrupt");
        self.tracee.interrupt();
        self.let_sleepers_in()
    }

    /// Lets threads that are held before a call into it; a pending signal gets them out again.
    fn let_sleepers_in(&mut self) -> Result<(), Error> {
        for (tid, call) in self.tracee.at_entry() {
            if self.tracee.thread(tid).is_some() && self.tracee.end().is_none() {
                // A signal for another thread leaves this one blocked.
                self.make(tid, call, true)?;
            }
        }
        Ok(())
    }

    /// The connection at the head of the accept queue goes away, and accept says so.
    pub fn abort_connection(&mut self, tid: i32, call: &Call) -> Result<(), Error> {
        if let Some(listener) = self.tracee.process_of(tid).borrow(call.args[0] as i32) {
            let (stream, peer) = SockRef::from(&listener).accept()?;
            let port = peer.as_socket().map_or(0, |addr| addr.port());
            // Dropped with a reset.
            let _ = stream.set_linger(Some(Duration::ZERO));
            drop(stream);
            if let Some(client) = self.world.clients.iter_mut().flatten().find(|client| client.port == port) {
                client.gone = true;
            }
        }
        let scene = Scene { tracee: &self.tracee, world: &self.world };
        self.recorder.fault(scene, "a queued connection is aborted: accept says ECONNABORTED");
        self.tracee.skip(tid)?;
        let value = -i64::from(libc::ECONNABORTED);
        self.tracee.give(tid, call, value)?;
        let scene = Scene { tracee: &self.tracee, world: &self.world };
        self.recorder.call(scene, &Returned { tid, call: *call, value });
        Ok(())
    }
}
