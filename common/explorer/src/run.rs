//! One run: its schedule, its events, and the kernel's state.
//!
//! Invariant: every replay of a run has the same values here. Addresses, process ids, ports and remaining times are
//! left out, or replaced by names.

use std::fmt;

use serde::Serialize;

use crate::script::Step;

/// The server to explore.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its command. `{port}` in an argument stands for a free port. Without it, the server chooses its port.
    pub argv: Vec<String>,
    /// Held to what is this repository's own choice: a client that comes while no file descriptor is free waits until
    /// one is. Another server may turn such a client away.
    pub own: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every byte came back and every FIN was answered.
    Ok,
    /// The server sleeps although it has work: clients in the accept queue, unread bytes, or pending bytes.
    LostWakeup,
    /// All bytes came back, but the FIN was not answered.
    NoEof,
    /// Bytes are missing: the connection ended before they came back, or later bytes came instead.
    Truncated,
    /// Bytes came back changed, twice, or in another order.
    WrongBytes,
    /// The server ended.
    Exited,
    /// The server uses CPU time without progress.
    Spinning,
    /// The same schedule did not lead to the same system calls.
    NonDeterministic,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::LostWakeup => "lost wakeup",
            Self::NoEof => "no EOF",
            Self::Truncated => "truncated",
            Self::WrongBytes => "wrong bytes",
            Self::Exited => "exited",
            Self::Spinning => "spinning",
            Self::NonDeterministic => "non-deterministic",
        })
    }
}

/// Why an exploration failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// This machine cannot explore, for this reason.
    Unsupported(String),
    /// The command never was a process, so the command line is wrong.
    NoProcess(String),
    /// The server does not listen.
    Start(String),
    /// The server did not listen in time. That may be the tracer's doing, which makes each of its calls slower.
    Slow(String),
    /// The caller stopped the exploration.
    Interrupted,
    /// In one run the server did not come to an end of its work.
    Endless,
    /// An error of the explorer itself.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(what)
            | Self::NoProcess(what)
            | Self::Start(what)
            | Self::Slow(what)
            | Self::Broken(what) => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Endless => {
                f.write_str("in one run the server worked on for 20 seconds, and the script did not come to its end")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The decisions of a run, in order. 0 lets the server go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule(pub Vec<u8>);

impl Schedule {
    /// Parses the text that `Display` writes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let choice = |part: &str| part.trim().parse::<u8>().map_err(|_| part.trim().to_owned());
        match text.trim() {
            "" => Ok(Self::default()),
            text => {
                text.split(',').map(choice).collect::<Result<_, _>>().map(Self).map_err(|part| {
                    format!("'{part}' is not a small number; a schedule is a list of them, as in 0,1,0")
                })
            }
        }
    }

    /// The schedule without the zeros at its end, which change nothing.
    pub fn trimmed(&self) -> Self {
        let end = self.0.iter().rposition(|choice| *choice != 0).map_or(0, |at| at + 1);
        Self(self.0[..end].to_vec())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        for (at, choice) in self.0.iter().enumerate() {
            write!(f, "{}{choice}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Faults that a correct server can meet at any time. The explorer tries them wherever they can occur.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// SIGSTOP and SIGCONT interrupt the wait.
    pub eintr: bool,
    /// A connection in the accept queue is gone before the accept: ECONNABORTED.
    pub econnaborted: bool,
}

/// A decision of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The choice that was taken.
    pub chosen: u8,
    /// The number of choices.
    pub options: u8,
    /// The number of placements of choice 1.
    pub placements: u8,
    /// A hash of all earlier events.
    pub before: u64,
}

impl Point {
    /// The number of placements of a choice. Each step before a call of a running server counts (steps that come together
    /// count once), and so do a change of threads and a fault.
    pub fn placements(&self, choice: u8) -> usize {
        match choice {
            0 => 0,
            1 => self.placements.into(),
            _ => 1,
        }
    }
}

/// One run.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub verdict: Verdict,
    /// The verdict in one sentence, with details of this run. Empty if the verdict is `Ok`.
    pub what: String,
    /// The decisions.
    pub points: Vec<Point>,
    /// A hash of all events.
    pub hash: u64,
    /// The events, if the run was recorded.
    pub events: Vec<Event>,
    /// The kernel's state at the end, if the run was recorded.
    pub end: Option<Snapshot>,
}

impl Run {
    /// How many placements it has.
    pub fn placements(&self) -> usize {
        self.points.iter().map(|point| point.placements(point.chosen)).sum()
    }

    /// The decisions that were taken.
    pub fn schedule(&self) -> Schedule {
        Schedule(self.points.iter().map(|point| point.chosen).collect()).trimmed()
    }
}

/// Something that happened, in order.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A system call of the server, from its entry to its exit.
    Call(ServerCall),
    /// A step of a client.
    Step(ClientStep),
    /// The server sleeps, and the oracle judges.
    Rest {
        /// The call in which each thread sleeps.
        sleeps: Vec<String>,
        /// What is missing, or `None`.
        wrong: Option<String>,
        /// The kernel's state.
        state: Snapshot,
    },
    /// One thread runs next, although the previous one could go on.
    Preempted {
        /// The thread that runs next.
        thread: usize,
        /// The thread that could go on.
        instead_of: usize,
    },
}

/// A system call of the server.
#[derive(Debug, Clone, Serialize)]
pub struct ServerCall {
    /// The thread's number. Threads are numbered from 0 in the order in which they start.
    pub thread: usize,
    /// Its name.
    pub name: &'static str,
    /// Its decoded arguments.
    pub arguments: String,
    /// Its result: a number, or the name of an error.
    pub result: String,
    /// The results behind its pointers: events, ready descriptors, the accepted client.
    pub out: String,
    /// The six arguments as numbers. A pointer is `None`.
    pub raw: [Option<i64>; 6],
    /// The result as a number. A negative number is an error.
    pub value: i64,
    /// The file descriptor that the call names.
    pub fd: Option<i32>,
    /// The client at the other end of this descriptor.
    pub client: Option<usize>,
    /// Whether the call may sleep until a descriptor is ready.
    pub wait: bool,
    /// The kernel's state after the call.
    pub state: Snapshot,
}

/// A step of a client.
#[derive(Debug, Clone, Serialize)]
pub struct ClientStep {
    /// The step of the script, or an action that the client took by itself (it reads, or sends the rest).
    pub step: String,
    /// Whether the schedule placed the step here, where the server was running or about to sleep.
    pub placed: bool,
    /// Whether the client took the step by itself.
    pub implied: bool,
    /// Whether the step is a fault that the schedule chose.
    pub fault: bool,
    /// The call before which the step was placed.
    pub before: String,
    /// The client.
    pub client: Option<usize>,
    /// The bytes that the step transferred.
    pub bytes: u64,
    /// The kernel's state after the step.
    pub state: Snapshot,
    /// The step of the script.
    #[serde(skip)]
    pub of_script: Option<Step>,
}

/// The kernel's state of the server at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The number of connections in the accept queue.
    pub accept_queue: u32,
    /// The clients' connections.
    pub connections: Vec<ConnectionState>,
    /// The server's epoll instances.
    pub epolls: Vec<EpollState>,
    /// The server's threads.
    pub threads: Vec<ThreadState>,
}

/// One connection, seen from both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionState {
    /// The client.
    pub client: usize,
    /// The server's file descriptor. `None` if the connection is not accepted yet, or is closed.
    pub fd: Option<i32>,
    /// Bytes in the server's socket that the server has not read.
    pub unread: u64,
    /// Whether the client's FIN has arrived.
    pub fin_arrived: bool,
    /// Bytes in the server's socket that the client's socket has not taken.
    pub unsent: u64,
    /// Bytes that the client was told to send.
    pub asked: u64,
    /// Bytes that the client's socket has taken.
    pub sent: u64,
    /// Bytes that came back and were read.
    pub came_back: u64,
    /// Whether the client has seen the server's FIN.
    pub eof: bool,
}

/// An epoll instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EpollState {
    /// Its file descriptor.
    pub fd: i32,
    /// Whether its ready list has an event.
    pub ready: bool,
    /// Its registrations.
    pub interests: Vec<RegistrationState>,
}

/// A registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistrationState {
    /// The descriptor.
    pub fd: i32,
    /// `listener`, `c0`, or empty.
    pub label: String,
    /// The events as in epoll_ctl(2), without the prefix EPOLL: `IN|RDHUP|ET`.
    pub mask: String,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThreadState {
    /// Its number, from 0.
    pub thread: usize,
    /// The call in which it sleeps or which it is about to make: `epoll_wait(4)`.
    pub at: String,
    /// Whether it sleeps.
    pub sleeps: bool,
}
