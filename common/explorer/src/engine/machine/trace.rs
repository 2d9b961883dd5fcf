//! What is kept of a run: the hash of all runs, the events of those that are shown.
//!
//! Invariant: no address, process id, port or remaining time goes into either.

use super::*;

impl Machine<'_> {
    pub(super) fn record(&mut self, tid: i32, call: &Pending, value: i64) {
        if self.listener.is_none() || !call.kind.is_shown() {
            return;
        }
        let thread = self.by_tid[&tid].index;
        let timed = matches!(self.patience(tid, call), Patience::Until(_));
        if !(call.kind.is_wait() && value == 0 && timed) {
            let label = self.call_label(tid, call);
            let label = label.map(|label| self.name(label));
            (thread, call.number, call.fd(), label, value).hash(&mut self.hash);
        }
        if self.idle == IDLE_CALLS || self.order.keep {
            self.last_call = format!("{} = {}", self.text(tid, call), errno::result(value));
        }
        if !self.order.keep || self.idle > IDLE_KEPT {
            return;
        }
        let event = Call {
            thread,
            name: call.name,
            arguments: self.decoded(tid, |decoder| decoder.arguments(call)),
            result: errno::result(value),
            out: self.decoded(tid, |decoder| decoder.outcome(call, value)),
            raw: call.numbers(),
            value,
            fd: call.fd(),
            client: match self.call_label(tid, call) {
                Some(Label::Peer(port)) => self.client_of(port),
                _ => None,
            },
            wait: call.kind.is_wait(),
            state: self.snapshot(),
        };
        self.events.push(Event::Call(event));
    }

    pub(super) fn log_step(&mut self, step: Step, placed: bool, before: String, bytes: u64) {
        if self.order.keep {
            let state = self.snapshot();
            let client = step.client();
            let (implied, fault) = (false, false);
            let of_script = Some(step);
            let step = step.to_string();
            self.events.push(Event::Step(ClientStep {
                step,
                placed,
                implied,
                fault,
                before,
                client,
                bytes,
                state,
                of_script,
            }));
        }
    }

    pub(super) fn log_rest(&mut self, wrong: Option<String>) {
        let sleeps = self.sleepers();
        let state = self.snapshot();
        self.events.push(Event::Rest { sleeps, wrong, state });
    }

    pub(super) fn log_fault(&mut self, what: &str) {
        what.hash(&mut self.hash);
        if self.order.keep {
            let state = self.snapshot();
            let step = ClientStep {
                step: what.to_owned(),
                placed: true,
                implied: false,
                fault: true,
                before: String::new(),
                client: None,
                bytes: 0,
                state,
                of_script: None,
            };
            self.events.push(Event::Step(step));
        }
    }

    pub(super) fn log_implied(&mut self, id: usize, read: u64, sent: u64, before: (bool, bool, bool)) {
        if !self.order.keep {
            return;
        }
        let Some(client) = &self.clients[id] else { return };
        let mut parts = Vec::new();
        if read > 0 {
            parts.push(format!("reads {read}"));
        }
        if sent > 0 {
            parts.push(format!("goes on: sends {sent}"));
        }
        if client.finished && !before.2 {
            parts.push("its FIN follows".into());
        }
        if client.eof && !before.0 {
            parts.push("sees FIN".into());
        }
        if client.reset && !before.1 {
            parts.push("is reset".into());
        }
        let step = ClientStep {
            step: format!("c{id} {}", parts.join(", ")),
            placed: false,
            implied: true,
            fault: false,
            before: String::new(),
            client: Some(id),
            bytes: read + sent,
            state: self.snapshot(),
            of_script: None,
        };
        self.events.push(Event::Step(step));
    }

    /// Reads the calls of a thread, with the clients' names.
    fn decoded<T>(&self, tid: i32, read: impl FnOnce(&Decoder<'_>) -> T) -> T {
        let process = self.by_tid[&tid].process;
        let label = |fd: RawFd| self.name(self.label(process, fd));
        read(&Decoder { process: *self.processes[&process], label: &label })
    }

    /// `read(7 c0)`: the call and what it is about.
    pub(super) fn text(&self, tid: i32, call: &Pending) -> String {
        self.decoded(tid, |decoder| decoder.call(call))
    }

    pub(super) fn sleepers(&self) -> Vec<String> {
        self.thread_states().into_iter().filter(|thread| thread.sleeps).map(|thread| thread.at).collect()
    }

    pub(super) fn thread_states(&self) -> Vec<ThreadState> {
        let state = |(index, tid): (&usize, &i32)| {
            let (at, sleeps) = match self.by_tid[tid].state {
                State::Free => ("its own code".to_owned(), false),
                State::Entry(call) if self.would_sleep(*tid, &call) => (self.text(*tid, &call), true),
                State::Entry(call) => (self.text(*tid, &call), false),
                State::Asleep(call) => (self.text(*tid, &call), true),
            };
            ThreadState { thread: *index, at, sleeps }
        };
        self.threads.iter().map(state).collect()
    }

    /// What the kernel shows.
    pub(super) fn snapshot(&self) -> Snapshot {
        let alive = self.exit.is_none();
        let connection = |id: usize| {
            let client = self.clients[id].as_ref()?;
            let end = if alive { self.server_end(id) } else { None };
            let info = end.as_ref().and_then(|(_, socket)| handle::tcp_info(socket));
            Some(ConnectionState {
                client: id,
                fd: end.as_ref().map(|(fd, _)| *fd),
                unread: end.as_ref().map_or(0, |(_, socket)| handle::in_queue(socket)),
                fin_arrived: info.as_ref().is_some_and(handle::fin_arrived),
                unsent: end.as_ref().map_or(0, |(_, socket)| handle::out_queue(socket)),
                asked: client.asked,
                sent: client.sent,
                came_back: client.came_back,
                eof: client.eof,
            })
        };
        let listener = self.listener.filter(|_| alive).and_then(|(process, fd)| self.processes[&process].borrow(fd));
        // For a listener, the kernel reports the length of its queue here.
        let accept_queue = listener.and_then(|fd| handle::tcp_info(&fd)).map_or(0, |info| info.tcpi_unacked);
        Snapshot {
            accept_queue,
            connections: (0..MAX_CLIENTS).filter_map(connection).collect(),
            epolls: if alive { self.epolls() } else { Vec::new() },
            threads: if alive { self.thread_states() } else { Vec::new() },
        }
    }

    pub(super) fn epolls(&self) -> Vec<EpollState> {
        let mut known: Vec<(i32, RawFd)> =
            self.labels.iter().filter(|(_, label)| **label == Label::Epoll).map(|(at, _)| *at).collect();
        known.sort_unstable();
        let state = |(process, fd): (i32, RawFd)| {
            let of = self.processes.get(&process)?;
            let ready = !self.signalfd && of.borrow(fd).is_some_and(|fd| handle::is_ready(&fd, libc::POLLIN));
            let interests = of.registrations(fd).into_iter().map(|registration| Interest {
                fd: registration.fd,
                label: self.name(self.label(process, registration.fd)),
                mask: registration.mask.asked_for().to_string(),
            });
            Some(EpollState { fd, ready, interests: interests.collect() })
        };
        known.into_iter().filter_map(state).collect()
    }
}
