//! What is kept of a run: the hash of all runs, the events of those that are shown.
//!
//! Invariant: no address, process id, port or remaining time goes into either.

use super::waits::{about, poll_set, select_set};
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
            (thread, call.number, about(call), label, value).hash(&mut self.hash);
        }
        if self.idle == IDLE_CALLS || self.order.keep {
            self.last_call = format!("{} = {}", self.text(tid, call), result_text(value));
        }
        if !self.order.keep || self.idle > IDLE_KEPT {
            return;
        }
        let event = Call {
            thread,
            name: call.name,
            arguments: self.arguments(tid, call),
            result: result_text(value),
            out: self.out(tid, call, value),
            raw: raw(call),
            value,
            fd: about(call),
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

    /// `read(7 c0)`: the call and what it is about.
    pub(super) fn text(&self, tid: i32, call: &Pending) -> String {
        format!("{}({})", call.name, self.arguments(tid, call))
    }

    pub(super) fn fd_text(&self, process: i32, fd: RawFd) -> String {
        let name = self.name(self.label(process, fd));
        if name.is_empty() { fd.to_string() } else { format!("{fd} {name}") }
    }

    pub(super) fn arguments(&self, tid: i32, call: &Pending) -> String {
        let process = self.by_tid[&tid].process;
        let memory = &self.processes[&process];
        let fd = |at: usize| self.fd_text(process, call.args[at] as RawFd);
        let patience = match self.patience(tid, call) {
            Patience::None if call.kind.is_wait() && call.kind != Kind::UringEnter => ", timeout 0",
            Patience::Until(_) => ", with a timeout",
            _ => "",
        };
        match call.kind {
            Kind::EpollWait => format!("{}{patience}", fd(0)),
            Kind::EpollCtl => {
                let operation = match call.args[1] as i32 {
                    libc::EPOLL_CTL_ADD => "ADD",
                    libc::EPOLL_CTL_MOD => "MOD",
                    libc::EPOLL_CTL_DEL => "DEL",
                    _ => "?",
                };
                let event: [u8; 4] = if call.args[3] == 0 { [0; 4] } else { memory.word(call.args[3]) };
                let mask = match operation {
                    "DEL" => String::new(),
                    _ => format!(", {}", kernel::mask(u32::from_le_bytes(event))),
                };
                format!("{}, {operation}, {}{mask}", fd(0), fd(2))
            }
            Kind::Poll => {
                let set = poll_set(memory, call);
                let parts = set
                    .iter()
                    .map(|(fd, events)| format!("{} {}", self.fd_text(process, *fd), kernel::poll_mask(*events)));
                format!("[{}]{patience}", parts.collect::<Vec<_>>().join(", "))
            }
            Kind::Select => {
                let set = select_set(memory, call);
                let pick = |event: i16| {
                    let fds =
                        set.iter().filter(|(_, events)| events & event != 0).map(|(fd, _)| self.fd_text(process, *fd));
                    fds.collect::<Vec<_>>().join(", ")
                };
                let write = pick(libc::POLLOUT);
                let write = if write.is_empty() { String::new() } else { format!(", write [{write}]") };
                format!("read [{}]{write}{patience}", pick(libc::POLLIN))
            }
            Kind::UringEnter => {
                let flags = if call.args[3] & 1 != 0 { format!(", wait for {}", call.args[2]) } else { String::new() };
                format!("{}, submit {}{flags}", call.args[0] as RawFd, call.args[1])
            }
            Kind::Read | Kind::Write if matches!(call.name, "read" | "recvfrom" | "write" | "sendto") => {
                format!("{}, {}", fd(0), call.args[2])
            }
            Kind::Shutdown => {
                let how = ["SHUT_RD", "SHUT_WR", "SHUT_RDWR"].get(call.args[1] as usize).unwrap_or(&"?");
                format!("{}, {how}", fd(0))
            }
            _ => match about(call) {
                Some(at) => self.fd_text(process, at),
                None => String::new(),
            },
        }
    }

    /// What came back through pointers.
    pub(super) fn out(&self, tid: i32, call: &Pending, value: i64) -> String {
        let process = self.by_tid[&tid].process;
        let memory = &self.processes[&process];
        if value < 0 {
            return String::new();
        }
        match call.kind {
            Kind::EpollWait => {
                let size = size_of::<libc::epoll_event>() as u64;
                let offset = size - 8;
                let known = memory.interests(call.args[0] as RawFd);
                let event = |at: u64| {
                    let at = call.args[1] + at * size;
                    let events = u32::from_le_bytes(memory.word(at));
                    let data = u64::from_le_bytes(memory.word(at + offset));
                    let fd = known.iter().find(|(_, _, it)| *it == data).map(|(fd, _, _)| *fd);
                    let who = fd.map_or_else(|| "?".into(), |fd| self.fd_text(process, fd));
                    format!("{who} {}", kernel::mask(events))
                };
                (0..value as u64).map(event).collect::<Vec<_>>().join(", ")
            }
            Kind::Poll => {
                let each = (0..call.args[1]).filter_map(|at| {
                    let entry: [u8; 8] = memory.word(call.args[0] + at * 8);
                    let fd = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
                    let revents = i16::from_le_bytes([entry[6], entry[7]]);
                    (fd >= 0 && revents != 0)
                        .then(|| format!("{} {}", self.fd_text(process, fd), kernel::poll_mask(revents)))
                });
                each.collect::<Vec<_>>().join(", ")
            }
            Kind::Select => {
                let ready = select_set(memory, call);
                let each = ready.iter().map(|(fd, events)| {
                    let what = if events & libc::POLLIN != 0 { "read" } else { "write" };
                    format!("{} {what}", self.fd_text(process, *fd))
                });
                each.collect::<Vec<_>>().join(", ")
            }
            Kind::Accept => self.name(self.label(process, value as RawFd)),
            _ => String::new(),
        }
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
            let info = end.as_ref().and_then(|(_, socket)| kernel::tcp_info(socket));
            Some(ConnectionState {
                client: id,
                fd: end.as_ref().map(|(fd, _)| *fd),
                unread: end.as_ref().map_or(0, |(_, socket)| kernel::in_queue(socket)),
                fin_arrived: info.as_ref().is_some_and(kernel::fin_arrived),
                unsent: end.as_ref().map_or(0, |(_, socket)| kernel::out_queue(socket)),
                asked: client.asked,
                sent: client.sent,
                came_back: client.came_back,
                eof: client.eof,
            })
        };
        let listener = self.listener.filter(|_| alive).and_then(|(process, fd)| self.processes[&process].borrow(fd));
        // For a listener, the kernel reports the length of its queue here.
        let accept_queue = listener.and_then(|fd| kernel::tcp_info(&fd)).map_or(0, |info| info.tcpi_unacked);
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
            let interests = of.interests(fd);
            let ready = !self.signalfd && of.borrow(fd).is_some_and(|fd| kernel::is_ready(&fd, libc::POLLIN));
            let interests = interests
                .iter()
                .map(|(fd, events, _)| kernel::describe(*fd, *events, self.name(self.label(process, *fd))));
            Some(EpollState { fd, ready, interests: interests.collect() })
        };
        known.into_iter().filter_map(state).collect()
    }
}

/// The arguments without pointers.
fn raw(call: &Pending) -> [Option<i64>; 6] {
    let numbers: &[usize] = match (call.kind, call.name) {
        (Kind::EpollWait, "epoll_pwait2") => &[0, 2],
        (Kind::EpollWait, _) => &[0, 2],
        (Kind::EpollCtl, _) => &[0, 1, 2],
        (Kind::Poll, _) => &[1],
        (Kind::Select, _) => &[0],
        (Kind::UringEnter, _) => &[0, 1, 2, 3],
        (Kind::Read | Kind::Write, "read" | "write") => &[0, 2],
        (Kind::Read | Kind::Write, "recvfrom" | "sendto") => &[0, 2, 3],
        (Kind::Shutdown | Kind::Listen, _) => &[0, 1],
        _ => &[0],
    };
    std::array::from_fn(|at| numbers.contains(&at).then(|| call.args[at] as i32 as i64))
}

fn result_text(value: i64) -> String {
    match value {
        -4095..0 => calls::error_name(-value as i32),
        value => value.to_string(),
    }
}
