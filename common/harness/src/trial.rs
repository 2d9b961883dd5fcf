//! One check at work on one server.
//!
//! Invariant: every check has a server of its own, started when the first step needs it and ended with the trial, so
//! that no check sees what another has left behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::child::{self, Options, Server};
use crate::client::{BACKSTOP, Client, ConnectOptions, Log, echo_all, send_all_until_stuck, size};
use crate::diagnose;
use crate::failure::{Failure, Step, Stop, Symptom};
use crate::kernel::{self, Activity, Process, View};
use crate::subject::{Launch, Model, Subject};

/// A backstop for states that have to come about at once.
const SOON: Duration = Duration::from_secs(20);
/// More than both directions' socket buffers hold on Linux (8 to 9 MiB), so that the rest is in the server's own memory.
const FILL: u64 = 16 << 20;

/// A check's hands: starts the server, opens clients, looks at the kernel.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The server under test.
    pub subject: &'a Subject,
    /// The steps so far.
    pub log: Log,
    server: Option<Server>,
    next_client: u32,
    suspicion: &'static str,
    frozen: bool,
    restless: bool,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(subject: &'a Subject) -> Self {
        Self {
            subject,
            log: Log::default(),
            server: None,
            next_client: 0,
            suspicion: "",
            frozen: false,
            restless: false,
        }
    }

    /// Remembers a step that is none of a client's.
    pub fn step(&self, what: impl Into<String>) {
        self.log.step(what);
    }

    /// Starts the server with these options; a check that does not care lets `connect` do it.
    pub fn start(&mut self, options: &Options) -> Step<&mut Server> {
        self.server = None;
        self.server = Some(Server::start(self.subject, options)?);
        self.server()
    }

    /// The running server, started if need be.
    pub fn server(&mut self) -> Step<&mut Server> {
        if self.server.is_none() {
            self.server = Some(Server::start(self.subject, &Options::default())?);
        }
        Ok(self.server.as_mut().expect("just started"))
    }

    /// The server's process, or a skip where it was not started by the harness.
    pub fn process(&mut self) -> Step<Process> {
        self.server()?.process.ok_or_else(|| Stop::skip("needs a server that the harness starts itself"))
    }

    /// The command of the subject, or a skip where it has none.
    pub fn argv(&self) -> Step<Vec<String>> {
        match &self.subject.launch {
            Launch::Command(argv) => Ok(argv.clone()),
            Launch::Served(_) => Err(Stop::skip("needs a server that the harness starts itself")),
        }
    }

    /// Skips the check on servers that are not this repository's own.
    pub fn only_own(&self, what: &str) -> Step {
        if self.subject.own { Ok(()) } else { Err(Stop::skip(format!("{what} is this repository's own choice"))) }
    }

    /// Skips the check where /proc cannot be read.
    pub fn needs_proc(&self) -> Step {
        if cfg!(target_os = "linux") { Ok(()) } else { Err(Stop::skip("needs Linux's /proc")) }
    }

    /// Skips the check on a server of another model.
    pub fn only_model(&self, model: Model, why: &str) -> Step {
        if self.subject.model == model { Ok(()) } else { Err(Stop::skip(why)) }
    }

    /// Makes sure that the harness may open `clients` connections and the server as many.
    pub fn needs_fds(&mut self, clients: u64) -> Step {
        if let Some(limit) = self.subject.fd_limit.filter(|limit| clients >= *limit) {
            return Err(Stop::skip(format!("it serves only descriptors below {limit}, as declared")));
        }
        let limit = raise_fd_limit();
        if limit < clients + 200 {
            return Err(Stop::skip(format!(
                "needs {} descriptors, and the hard limit is {limit} (ulimit -Hn)",
                clients + 200
            )));
        }
        Ok(())
    }

    /// Opens a connection.
    pub fn connect(&mut self) -> Step<Client> {
        self.connect_with(ConnectOptions::default())
    }

    /// Opens a connection with options.
    pub fn connect_with(&mut self, options: ConnectOptions) -> Step<Client> {
        let log = self.log.clone();
        log.step(format!("c{} connects", self.next_client));
        self.connect_quietly(options)
    }

    /// Opens `count` connections, as one step.
    pub fn connect_many(&mut self, count: u32) -> Step<Vec<Client>> {
        self.connect_many_with(count, ConnectOptions::default())
    }

    /// As `connect_with`, without a step in the log.
    pub fn connect_quietly(&mut self, options: ConnectOptions) -> Step<Client> {
        let server = self.server()?;
        let (addr, process) = (server.addr, server.process);
        let id = self.next_client;
        self.next_client += 1;
        // While the server is stopped, a connect that has to wait would wait for ever.
        let patience = if self.frozen && !self.subject.own { Duration::from_millis(300) } else { BACKSTOP };
        Client::connect(id, addr, options, process, patience, self.log.clone())
    }

    /// Lets all of them send `bytes` and reads everything back, as one step.
    pub fn echo_all(&mut self, clients: &mut [Client], bytes: u64) -> Step {
        self.log.step(format!("{} clients send {} each and read it back", clients.len(), size(bytes)));
        clients.iter_mut().for_each(|client| client.plan(bytes));
        echo_all(clients)
    }

    /// A new connection, one byte there and back, closed again: is anybody being served?
    pub fn probe(&mut self) -> Step {
        self.log.step(format!("probe: c{} connects and sends 1 byte", self.next_client));
        let mut client = self.connect_quietly(ConnectOptions::default())?;
        client.plan(1);
        echo_all(std::slice::from_mut(&mut client))
    }

    /// Stops the server (SIGSTOP), so that all that follows falls into one wait.
    pub fn freeze(&mut self) -> Step {
        let process = self.process()?;
        // Asleep first: a server that is stopped on its way to the wait would meet the events one by one.
        // One that spins is stopped anyhow.
        self.comes_to_rest(Duration::from_millis(5))?;
        self.log.step("the server is stopped (SIGSTOP)");
        self.server()?.signal_all(Signal::STOP)?;
        self.frozen = true;
        let end = Instant::now() + SOON;
        while let Some(threads) = process.threads() {
            if !threads.is_empty() && threads.iter().all(|thread| matches!(thread.state, 'T' | 't')) {
                return Ok(());
            }
            // `finish` says how it ended.
            if Instant::now() > end || threads.iter().all(|thread| matches!(thread.state, 'Z' | 'X')) {
                return Err(Stop::Broken("the server could not be stopped with SIGSTOP".into()));
            }
            std::thread::yield_now();
        }
        // Nothing to see: the signal is delivered before the server runs again, which is all that is needed.
        Ok(())
    }

    /// Lets the server go on (SIGCONT).
    pub fn thaw(&mut self) -> Step {
        self.log.step("the server goes on (SIGCONT)");
        self.frozen = false;
        self.server()?.signal_all(Signal::CONT)
    }

    /// Waits until the server sleeps and stays asleep. It has failed at once if it works all the time instead.
    pub fn settle(&mut self) -> Step {
        // 0.4 s of CPU, or a thousand wake-ups, is more than any work that a check leaves behind.
        const TICKS: u64 = 40;
        const WAKEUPS: u64 = 1000;
        let process = self.process()?;
        self.needs_proc()?;
        self.await_ends()?;
        let start = process.activity();
        let end = Instant::now() + SOON;
        while process.settle(Duration::from_millis(25), Duration::from_millis(300)).is_none() {
            let (Some(start), Some(now)) = (start, process.activity()) else { return Err(gone()) };
            if self.server()?.exit_status().is_some() {
                return Err(gone());
            }
            let busy = now.since(start).ticks > TICKS || now.since(start).wakeups > WAKEUPS;
            if busy || Instant::now() > end {
                return Err(self.spinning("it has nothing to do, and does not come to rest"));
            }
        }
        Ok(())
    }

    /// Asserts that the server uses no CPU and does not wake up while `situation` lasts.
    pub fn expect_idle(&mut self, situation: &str) -> Step {
        let allowed = if self.subject.own { 0 } else { 12 };
        self.expect_wakeups(situation, allowed)
    }

    /// Asserts that the server wakes at most `allowed` times in the 0.4 s looked at, and uses next to no CPU.
    pub fn expect_wakeups(&mut self, situation: &str, allowed: u64) -> Step {
        const LOOK: Duration = Duration::from_millis(400);
        // TCP has timers of its own (a delayed acknowledgement, a probe of a closed window), and what they move may wake
        // a server once. What wakes by itself does so in every look.
        const LOOKS: u32 = 3;
        const SAMPLES: u32 = 20;
        self.log.step(format!("the server is watched for {} ms: {situation}", LOOK.as_millis()));
        self.needs_proc()?;
        let process = self.process()?;
        for look in 1.. {
            if allowed == 0 {
                self.settle()?;
            }
            let before = process.activity().ok_or_else(gone)?;
            let awake = (0..SAMPLES).filter(|_| {
                std::thread::sleep(LOOK / SAMPLES);
                process.threads().is_some_and(|threads| threads.iter().any(|thread| thread.state == 'R'))
            });
            // One that spins is always found awake, however little of the processor it gets.
            let always_awake = awake.count() as u32 >= SAMPLES - 1;
            let Activity { wakeups, ticks } = process.activity().ok_or_else(gone)?.since(before);
            // 4 ticks are a tenth of the time looked at; a spin takes all of it, or a share of what others leave.
            let busy = ticks > 4 || always_awake;
            if wakeups <= allowed && !busy {
                break;
            }
            if look == LOOKS || busy {
                let what =
                    format!("{situation}: {wakeups} wake-ups and {} ms of CPU in {} ms", ticks * 10, LOOK.as_millis());
                return Err(self.spinning(&what));
            }
        }
        Ok(())
    }

    fn spinning(&mut self, what: &str) -> Stop {
        let view = self.server.as_ref().and_then(|server| server.process?.view(server.addr.port())).unwrap_or_default();
        Stop::Fail(Box::new(Failure {
            symptom: Symptom::Spinning,
            what: what.to_owned(),
            steps: Vec::new(),
            kernel: diagnose::threads(&view),
            cause: match diagnose::spinning(&view) {
                // A list of all that it can be; the check may know better.
                cause if cause == diagnose::spinning(&View::default()) && !self.suspicion.is_empty() => {
                    self.suspicion.to_owned()
                }
                cause => cause,
            },
        }))
    }

    /// Says what a spin or the server's end most likely means from here on; told where the kernel's view does not say.
    pub fn suspect(&mut self, cause: &'static str) {
        self.suspicion = cause;
    }

    /// The server's open descriptors, at rest.
    pub fn fds(&mut self) -> Step<usize> {
        self.needs_proc()?;
        let process = self.process()?;
        process.fd_count().ok_or_else(|| Stop::skip("needs Linux's /proc"))
    }

    /// Waits until the server holds `expected` descriptors again; it has failed if it rests with more.
    pub fn expect_fds(&mut self, expected: usize, after: &str) -> Step {
        self.log.step(format!("the server has to be back at {expected} descriptors"));
        let end = Instant::now() + SOON;
        loop {
            // Asleep first: what a server has not yet accepted is no descriptor of its.
            self.await_ends()?;
            let at_rest = self.comes_to_rest(Duration::from_millis(30))?;
            let now = self.fds()?;
            if now <= expected {
                return Ok(());
            }
            if at_rest || self.restless || Instant::now() > end {
                let restless = if at_rest { "" } else { ", and does not come to rest" };
                let what = format!("{after}, the server holds {now} descriptors and not {expected}{restless}");
                let cause = "A connection that ended (read returned 0 with nothing owed, or a read, a write or the event said error) was not closed.";
                return Err(self.with_view(Symptom::Leak, what, cause));
            }
        }
    }

    /// Operations in flight on the server's io_urings that wait for their socket; 0 where there are none.
    pub fn in_flight(&mut self) -> Step<usize> {
        let port = self.server()?.addr.port();
        Ok(self.process()?.view(port).map_or(0, |view| view.armed))
    }

    /// At rest, no more than `expected` of them are left.
    pub fn expect_in_flight(&mut self, expected: usize, after: &str) -> Step {
        self.rest()?;
        let now = self.in_flight()?;
        if now <= expected {
            return Ok(());
        }
        let what = format!("{after}, {now} operations are in flight and not {expected}");
        Err(self.with_view(Symptom::Leak, what, diagnose::LEFT_IN_FLIGHT))
    }

    /// Whether the server sleeps, and sleeps on for `apart`. One that did not within two seconds is not waited for again.
    fn comes_to_rest(&mut self, apart: Duration) -> Step<bool> {
        let patience = if self.restless { 4 * apart } else { Duration::from_secs(2) };
        let at_rest = self.process()?.settle(apart, patience).is_some();
        self.restless = cfg!(target_os = "linux") && !at_rest;
        Ok(at_rest)
    }

    /// Waits until the server's end knows of every connection that a client has ended.
    pub fn await_ends(&mut self) -> Step {
        let port = self.server()?.addr.port();
        let end = Instant::now() + Duration::from_secs(2);
        while kernel::ends_under_way(port) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// A failure with the threads' state as the kernel's view.
    pub fn with_view(&mut self, symptom: Symptom, what: String, cause: &str) -> Stop {
        let view = self.server.as_ref().and_then(|server| server.process?.view(server.addr.port()));
        let kernel = view.as_ref().map(diagnose::threads).unwrap_or_default();
        Stop::Fail(Box::new(Failure { symptom, what, steps: Vec::new(), kernel, cause: cause.to_owned() }))
    }

    /// Ends the trial: adds the steps to a failure, and turns it into `Exited` if the server is dead.
    pub(crate) fn finish(mut self, result: Step) -> Step {
        // Its sockets close a moment before its status can be read.
        const DYING: Duration = Duration::from_millis(500);
        let cut_off = matches!(&result, Err(Stop::Fail(failure))
            if matches!(failure.symptom, Symptom::Reset | Symptom::Truncated | Symptom::Refused));
        let patience = if cut_off { DYING } else { Duration::ZERO };
        let died = self.server.as_mut().and_then(|server| server.wait_exit(patience));
        let hides = || self.server.as_ref().and_then(|server| server.process).is_some_and(|process| process.hides());
        let mut failure = match (result, died) {
            (Ok(()) | Err(Stop::Skip(_)), None) if self.subject.own && hides() => Box::new(Failure {
                symptom: Symptom::Contract,
                what: "the server hides from /proc, by which it is judged".into(),
                steps: Vec::new(),
                kernel: Vec::new(),
                cause: "It has called prctl(PR_SET_DUMPABLE, 0), or its program file cannot be read: leave it out."
                    .into(),
            }),
            (Err(Stop::Fail(failure)), None) => failure,
            (Err(Stop::Fail(failure)), Some(_)) if failure.symptom == Symptom::Contract => failure,
            (Err(Stop::Fail(failure)), Some(status)) => {
                let what = format!("the server ended with {}; {}", child::describe(status), failure.what);
                Box::new(Failure {
                    symptom: Symptom::Exited,
                    what,
                    kernel: Vec::new(),
                    cause: self.death(status),
                    ..*failure
                })
            }
            (Ok(()) | Err(Stop::Broken(_)), Some(status)) => Box::new(Failure {
                symptom: Symptom::Exited,
                what: format!("the server ended with {} during the check", child::describe(status)),
                steps: Vec::new(),
                kernel: Vec::new(),
                cause: self.death(status),
            }),
            (other, _) => return other,
        };
        failure.steps = self.log.steps();
        Err(Stop::Fail(failure))
    }

    fn death(&self, status: std::process::ExitStatus) -> String {
        use std::os::unix::process::ExitStatusExt;
        let known = match status.signal() {
            Some(libc::SIGPIPE) => {
                "It wrote to a connection that was reset: ignore SIGPIPE, or send with MSG_NOSIGNAL."
            }
            Some(libc::SIGABRT) => "It aborted; glibc's fortify does that at FD_SET of a descriptor of 1024 or more.",
            Some(libc::SIGSEGV | libc::SIGBUS) => "It touched memory that is not its own.",
            _ => "What a client or the machine's state can cause must not end a server.",
        };
        // What the server itself says comes first: the check's own suspicion may be about something else.
        let words = self.server.as_ref().map(|server| {
            server.output();
            server.last_words()
        });
        let words = words.filter(|words| !words.is_empty());
        let suspicion = Some(self.suspicion).filter(|suspicion| !suspicion.is_empty());
        let suspicion = suspicion.map(|suspicion| format!("This check is about: {suspicion}"));
        [words, Some(known.to_owned()), suspicion].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Tells `finish` that the server has ended as the check wanted.
    pub fn ended_as_wanted(&mut self) {
        self.server = None;
    }
}

/// `finish` turns it into a failure that says how the server ended.
fn gone() -> Stop {
    Stop::Broken("the server has gone".into())
}

/// Raises the harness's own soft limit of descriptors to the hard one, and returns it.
pub fn raise_fd_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // macOS has an infinite hard limit and refuses more than OPEN_MAX (10240) as the soft one.
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(if cfg!(target_os = "macos") { 10_240 } else { 1 << 20 });
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Steps that several groups of checks share.
impl Trial<'_> {
    /// Opens `count` connections with options, as one step. They may be fewer while a foreign server is stopped: as many
    /// as its accept queue (listen's backlog) takes.
    pub fn connect_many_with(&mut self, count: u32, options: ConnectOptions) -> Step<Vec<Client>> {
        self.server()?;
        self.log.step(format!("c{} .. c{} connect", self.next_client, self.next_client + count - 1));
        let mut clients = Vec::new();
        for _ in 0..count {
            match self.connect_quietly(options) {
                Err(Stop::Fail(_)) if self.frozen && !self.subject.own && !clients.is_empty() => {
                    self.log.step(format!("the accept queue is full with {} of them", clients.len()));
                    break;
                }
                client => clients.push(client?),
            }
        }
        Ok(clients)
    }

    /// Lets all of them send without reading until the server takes no more; returns what it took in all.
    pub fn fill(&mut self, clients: &mut [Client]) -> Step<u64> {
        self.fill_up_to(clients, FILL)
    }

    /// As `fill`, with at most `limit` bytes for each.
    pub fn fill_up_to(&mut self, clients: &mut [Client], limit: u64) -> Step<u64> {
        let who = match &*clients {
            [client] => format!("c{} sends", client.id),
            many => format!("{} clients send", many.len()),
        };
        self.log.step(format!("{who} without reading until the server takes no more"));
        let taken = send_all_until_stuck(clients, limit);
        let taken = self.unless_cut_off(taken)?;
        self.log.step(format!("{} were taken", size(taken)));
        Ok(taken)
    }

    /// Bytes that a `NARROW` client has to send without reading so that the server reads them all, and cannot write them all
    /// on: less than what a server may hold for one connection, and more than its socket takes, which depends on the
    /// kernel's congestion control.
    pub fn more_than_fits(&mut self) -> Step<u64> {
        const STEP: u64 = 32 * 1024;
        const HELD: u64 = 2 * STEP;
        // A socket that takes this much takes all that these checks are about.
        const MOST: u64 = 2 << 20;
        // Without /proc, what suits most.
        const USUAL: u64 = 200 * 1024;
        let mut client = self.connect_quietly(ConnectOptions::NARROW)?;
        while client.sent < MOST {
            let sent = client.send_quietly(STEP);
            self.unless_cut_off(sent)?;
            self.rest()?;
            match client.at_server() {
                None => return Ok(USUAL),
                // Where some are unread it reads no more, and holds all that it ever will.
                Some((unread, held)) if unread > 0 || held >= HELD => break,
                Some(_) => {}
            }
        }
        let enough = client.sent;
        client.reset_quietly();
        self.probe()?;
        Ok(enough)
    }

    /// A foreign server may cut off a client that does not read, instead of waiting for it: then the check is skipped.
    pub fn unless_cut_off<T>(&mut self, result: Step<T>) -> Step<T> {
        match result {
            Err(stop) if self.cuts_off(&stop)? => {
                Err(Stop::skip("it cuts off a client that does not read, by its own policy"))
            }
            other => other,
        }
    }

    /// Whether this is a foreign server's policy against a client that does not read, and not its death.
    pub fn cuts_off(&mut self, stop: &Stop) -> Step<bool> {
        const DYING: Duration = Duration::from_millis(200);
        let cut = matches!(stop, Stop::Fail(failure) if matches!(failure.symptom, Symptom::Reset | Symptom::Truncated));
        Ok(cut && !self.subject.own && self.server()?.wait_exit(DYING).is_none())
    }

    /// Leaves the server alone until it sleeps, or would have by now; whether it ever does is the idle checks' business.
    pub fn rest(&mut self) -> Step {
        const SETTLED: Duration = Duration::from_millis(20);
        if self.server()?.process.is_none() || !self.comes_to_rest(SETTLED)? {
            std::thread::sleep(SETTLED);
        }
        Ok(())
    }

    /// The server's descriptors while nobody is connected, after it has served somebody.
    pub fn fds_without_clients(&mut self) -> Step<usize> {
        self.needs_proc()?;
        self.process()?;
        self.probe()?;
        self.rest()?;
        self.fds()
    }
}

/// What a check does to the server's circumstances, and the states it waits for.
impl Trial<'_> {
    /// Lets the server open `room` more descriptors and no more (prlimit(2) on its processes).
    pub fn leave_room(&mut self, room: usize) -> Step {
        self.process()?;
        self.log.step(format!("the server's limit of descriptors is lowered: room for {room} more"));
        self.server()?.leave_room(room)
    }

    /// Sets the server's limit of descriptors to the highest there is.
    pub fn lift_limit(&mut self) -> Step {
        self.process()?;
        self.log.step("the server's limit of descriptors is raised");
        self.server()?.lift_limit()
    }

    /// Each of these clients sends `bytes`, whether or not the server has a descriptor for it.
    pub fn knock(&mut self, clients: &mut [Client], bytes: u64) {
        self.log.step(format!("each of the {} sends {}", clients.len(), size(bytes)));
        for client in clients {
            client.plan(bytes);
            // One that a foreign server has turned away at once may say so here already; `admitted` sees to it.
            let _ = client.write_some(bytes as usize);
        }
    }

    /// The clients that knocked are served now. A foreign server may have turned some away instead: those are left out.
    pub fn admitted(&mut self, clients: Vec<Client>) -> Step<Vec<Client>> {
        let mut served = Vec::new();
        for mut client in clients {
            match client.expect_echo() {
                Ok(()) => served.push(client),
                Err(stop) if self.cuts_off(&stop)? => self.log.step(format!("c{} was turned away", client.id)),
                Err(stop) => return Err(stop),
            }
        }
        Ok(served)
    }

    /// Waits until `state` has come about; `what` says which, if it never does.
    pub fn wait_until(&mut self, what: &str, mut state: impl FnMut(&mut Self) -> Step<bool>) -> Step {
        let end = Instant::now() + SOON;
        while !state(self)? {
            let died = self.server.as_mut().is_some_and(|server| server.exit_status().is_some());
            if Instant::now() > end || died {
                return Err(self.with_view(Symptom::Slow, format!("{what}: not after {} s", SOON.as_secs()), ""));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
