//! Decisions: what could happen next instead of the call that a thread is about to make.
//!
//! Invariant: where there is but one thing to do, nothing is decided, so that a schedule has no idle numbers in it.

use super::*;

impl Machine<'_> {
    pub(super) fn decide(&mut self, tid: i32, call: &Pending, ready: &[i32]) -> Result<Choice, Error> {
        if self.listener.is_none() {
            return Ok(Choice::GoOn);
        }
        let mut choices = vec![Choice::GoOn];
        if self
            .order
            .script
            .steps
            .get(self.next)
            .is_some_and(|step| (self.order.relation)(call.name, *step, self.depends(tid, call, *step)))
        {
            choices.push(Choice::Step);
        }
        let thread = &self.by_tid[&tid];
        if call.kind.is_shown() && !thread.arrived && !call.kind.is_wait() && self.matters_to_others(tid, call) {
            choices.extend(ready.iter().filter(|other| **other != tid).map(|other| Choice::Preempt(*other)));
        }
        if self.order.faults.econnaborted && call.kind == Kind::Accept && self.accept_would_succeed(tid, call) {
            choices.push(Choice::Abort);
        }
        let chosen = self.choose(choices.len());
        Ok(choices.swap_remove(chosen))
    }

    /// A decision of the schedule among `options`.
    pub(super) fn choose(&mut self, options: usize) -> usize {
        if options <= 1 {
            return 0;
        }
        let (schedule, at) = (&self.order.schedule.0, self.points.len());
        let chosen = schedule.get(at).copied().unwrap_or(0);
        let before = self.hash.finish();
        let last = at + 1 == schedule.len();
        if usize::from(chosen) >= options || last && self.order.before_last.is_some_and(|it| it != before) {
            self.diverged = true;
            return 0;
        }
        self.points.push(Point { chosen, options: options as u8, before });
        usize::from(chosen)
    }

    /// Whether it makes a difference if the step comes before or after the call.
    pub(super) fn depends(&self, tid: i32, call: &Pending, step: Step) -> bool {
        let label = self.call_label(tid, call);
        let about = |client: usize| match (label, self.clients[client].as_ref()) {
            (Some(Label::Peer(port)), Some(client)) => client.port == port,
            _ => false,
        };
        let wait = call.kind.is_wait();
        match step {
            Step::Connect(_) => wait || call.kind == Kind::Accept || label == Some(Label::Listener),
            Step::Send(client, _) | Step::Shutdown(client) | Step::Close(client) => {
                wait || about(client) && matches!(call.kind, Kind::Read | Kind::Close | Kind::Shutdown | Kind::EpollCtl)
            }
            Step::Reset(client) => {
                wait || call.kind == Kind::Accept || about(client) && !matches!(call.kind, Kind::Quick | Kind::Other)
            }
            Step::Recv(client) => wait || about(client) && matches!(call.kind, Kind::Write | Kind::EpollCtl),
            Step::Signal(_) => wait,
            Step::FdsNone | Step::FdsFree => call.kind == Kind::Accept,
            // What the client does not do changes nothing by itself, and what is only looked at changes nothing at all.
            Step::Pause(_) | Step::ExpectEof(_) | Step::Interrupt => false,
        }
    }

    pub(super) fn matters_to_others(&self, tid: i32, call: &Pending) -> bool {
        matches!(self.call_label(tid, call), Some(Label::Peer(_) | Label::Listener | Label::Epoll))
    }

    pub(super) fn place_step(&mut self, tid: i32, call: &Pending) -> Result<(), Error> {
        let step = self.order.script.steps[self.next];
        let before = if self.order.keep { self.text(tid, call) } else { String::new() };
        self.next += 1;
        if let Step::Signal(signal) = step {
            self.log_step(step, true, before, 0);
            return self.signal_before(tid, *call, signal);
        }
        let bytes = self.perform(step)?;
        self.log_step(step, true, before, bytes);
        Ok(())
    }

    pub(super) fn preempt(&mut self, tid: i32, other: i32) {
        let (index, instead) = (self.by_tid[&other].index, self.by_tid[&tid].index);
        (index, instead).hash(&mut self.hash);
        if self.order.keep {
            self.events.push(Event::Preempted { thread: index, instead_of: instead });
        }
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.arrived = true;
        }
        self.current = Some(other);
    }
}
