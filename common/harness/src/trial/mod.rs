//! One check at work on one server.
//!
//! Invariant: every check has a server of its own, started when the first step needs it and ended with the trial, so
//! that no check sees what another has left behind.

use std::time::{Duration, Instant};

use observe::Family;

use crate::client::{BACKSTOP, Client, ConnectOptions, echo_all};
use crate::failure::{Step, Stop, Symptom, size};
use crate::server::{Options, Server};
use crate::steps::Log;
use crate::subject::{Launch, Model, Subject};

mod answers;
mod attempts;
mod circumstances;
mod corked;
mod crowd;
mod door;
mod effort;
pub(crate) mod growth;
mod held;
mod leftovers;
mod patience;
mod pause;
mod pressure;
mod reached;
mod rest;
mod scarce;
mod verdict;
pub(crate) mod watch;

pub use scarce::{EMFILE, INSIDE};

/// A backstop for states that have to come about at once.
const SOON: Duration = Duration::from_secs(20);

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
    crowd: crowd::Crowd,
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
            crowd: crowd::Crowd::default(),
        }
    }

    /// Remembers a step that is none of a client's.
    pub fn step(&self, what: impl Into<String>) {
        self.log.step(what);
    }

    /// Starts the server with these options; a check that does not care lets `connect` do it.
    pub fn start(&mut self, options: &Options) -> Step<&mut Server> {
        self.server = None;
        self.crowd = crowd::Crowd::default();
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
    pub fn process(&mut self) -> Step<Family> {
        let server = self.server()?;
        server.process.ok_or_else(|| Stop::skip(server.out_of_reach()))
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
        self.server()?;
        self.make_room()?;
        self.connect_beyond(options)
    }

    /// As `connect_quietly`, whatever the server's limit of clients is.
    pub(crate) fn connect_beyond(&mut self, options: ConnectOptions) -> Step<Client> {
        let server = self.server()?;
        let (addr, process) = (server.addr, server.process);
        let id = self.next_client;
        self.next_client += 1;
        // While the server is stopped, a connect that has to wait would wait for ever.
        let patience = if self.frozen { Duration::from_millis(300) } else { BACKSTOP };
        let client = Client::connect(id, addr, options, process, patience, self.log.clone())?;
        Ok(client.of(self.crowd.enter()))
    }

    /// Lets all of them send `bytes` and reads everything back, as one step.
    pub fn echo_all(&mut self, clients: &mut [Client], bytes: u64) -> Step {
        self.log.step(match &*clients {
            [client] => format!("c{} sends {} and reads it back", client.id, size(bytes)),
            many => format!("{} clients send {} each and read it back", many.len(), size(bytes)),
        });
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

    /// Opens `count` connections with options, as one step. The check is skipped where the server cannot have so many at
    /// once: while it is stopped, its accept queue (listen's backlog) has to take them all.
    pub fn connect_many_with(&mut self, count: u32, options: ConnectOptions) -> Step<Vec<Client>> {
        self.server()?;
        let first = self.next_client;
        self.log.step(match count {
            1 => format!("c{first} connects"),
            _ => format!("c{first} .. c{} connect", first + count - 1),
        });
        if let Some(skip) = self.does_not_fit(count)? {
            return Err(skip);
        }
        (0..count).map(|_| self.connect_quietly(options)).collect()
    }

    /// The clients so far, and the largest number of them at once.
    pub(crate) fn clients(&self) -> (usize, usize) {
        (self.next_client as usize, self.crowd.peak())
    }

    /// Says what a spin or the server's end most likely means from here on; told where the kernel's view does not say.
    pub fn suspect(&mut self, cause: &'static str) {
        self.suspicion = cause;
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

    /// The number of the next client.
    pub(crate) fn next_client(&self) -> u32 {
        self.next_client
    }

    /// The next client has this number.
    pub(crate) fn number_clients_from(&mut self, number: u32) {
        self.next_client = number;
    }

    /// Tells `finish` that the server has ended as the check wanted.
    pub fn ended_as_wanted(&mut self) {
        self.server = None;
    }
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
