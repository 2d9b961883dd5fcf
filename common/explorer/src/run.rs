//! One run: what was asked for, what happened, and what the kernel showed.
//!
//! Invariant: nothing in here differs from one replay to the next. Addresses, process ids, ports and remaining times are
//! left out or have been given names.

use std::fmt;

use serde::Serialize;

use crate::script::Step;

/// The server that is explored.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it is called.
    pub name: String,
    /// Its command. `{port}` in an argument is replaced by a free port; without one it listens where it likes.
    pub argv: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every byte came back and every FIN was answered.
    Ok,
    /// The server sleeps while something is left to do that it was told of, or that it holds.
    LostWakeup,
    /// All bytes came back and the FIN was not answered.
    NoEof,
    /// Bytes are missing: the connection ended before they came, or others came in their place.
    Truncated,
    /// Bytes came back changed, twice or in another order.
    WrongBytes,
    /// The server ended.
    Exited,
    /// The server uses CPU and moves nothing.
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

/// Why an exploration could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not on this machine, for this reason.
    Unsupported(String),
    /// The server does not come to listen.
    Start(String),
    /// It was told to stop.
    Interrupted,
    /// A run did not come to its end in the time that there was.
    TooLong,
    /// Something else, of the explorer's own.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(what) | Self::Start(what) | Self::Broken(what) => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted"),
            Self::TooLong => f.write_str("a single run did not come to its end in the time that it had"),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The decisions of a run, one at each point where there was one to take: 0 lets the server go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule(pub Vec<u8>);

impl Schedule {
    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Result<Self, String> {
        let choice = |part: &str| part.trim().parse::<u8>().map_err(|_| part.trim().to_owned());
        match text.trim() {
            "" => Ok(Self::default()),
            text => {
                text.split(',').map(choice).collect::<Result<_, _>>().map(Self).map_err(|part| {
                    format!("'{part}' is no choice; a schedule is a list of small numbers, as in 0,1,0")
                })
            }
        }
    }

    /// Without the zeros at the end, which change nothing.
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

/// Faults that can happen to a correct server at any time, and are tried at every point where they can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// The wait is interrupted, as by a SIGSTOP and SIGCONT.
    pub eintr: bool,
    /// A connection that waits to be accepted is gone by the time of the accept: ECONNABORTED.
    pub econnaborted: bool,
}

/// A decision that was to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// What was taken.
    pub chosen: u8,
    /// How many there were to choose from.
    pub options: u8,
    /// Steps that choice 1 places here.
    pub steps: u8,
    /// All that had happened before, in one number.
    pub before: u64,
}

impl Point {
    /// How many placements a choice counts for: each step that comes while the server could have gone on is one, and so is a
    /// change of threads, and a fault.
    pub fn placements(&self, choice: u8) -> usize {
        match choice {
            0 => 0,
            1 => self.steps.into(),
            _ => 1,
        }
    }
}

/// One run.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub verdict: Verdict,
    /// What that means here, in one sentence; empty if all is well.
    pub what: String,
    /// The decisions.
    pub points: Vec<Point>,
    /// All that happened, in one number.
    pub hash: u64,
    /// What happened, if that was asked for.
    pub events: Vec<Event>,
    /// What the kernel showed at the end, if that was asked for.
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
    Call(Call),
    /// A step of the client's side.
    Step(ClientStep),
    /// The server sleeps, and the oracle looks.
    Rest {
        /// What each thread sleeps in.
        sleeps: Vec<String>,
        /// What is missing; nothing, if all is well.
        wrong: Option<String>,
        /// What the kernel shows.
        state: Snapshot,
    },
    /// Another thread goes on, although this one could.
    Preempted {
        /// The thread that goes on.
        thread: usize,
        /// The thread that could have.
        instead_of: usize,
    },
}

/// A system call.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// The thread, counted from 0 in the order of their birth.
    pub thread: usize,
    /// Its name.
    pub name: &'static str,
    /// Its decoded arguments.
    pub arguments: String,
    /// Its result: a number, or the name of an error.
    pub result: String,
    /// What came back through its pointers: events, ready descriptors, who was accepted.
    pub out: String,
    /// The six arguments as the server gave them; a pointer is null here.
    pub raw: [Option<i64>; 6],
    /// The number that came back; negative is an error.
    pub value: i64,
    /// The descriptor it is about.
    pub fd: Option<i32>,
    /// The client at the other end of it.
    pub client: Option<usize>,
    /// It is a wait.
    pub wait: bool,
    /// What the kernel shows after it.
    pub state: Snapshot,
}

/// A step of the client's side.
#[derive(Debug, Clone, Serialize)]
pub struct ClientStep {
    /// As in the script, or what the client did by itself (reading, going on sending).
    pub step: String,
    /// It was placed here by the schedule, while the server could have gone on.
    pub placed: bool,
    /// It is none of the script's: reading, sending on.
    pub implied: bool,
    /// It is a fault that the schedule chose.
    pub fault: bool,
    /// The call before which it was placed.
    pub before: String,
    /// Whose it is.
    pub client: Option<usize>,
    /// Bytes that it moved.
    pub bytes: u64,
    /// What the kernel shows after it.
    pub state: Snapshot,
    /// The step of the script.
    #[serde(skip)]
    pub of_script: Option<Step>,
}

/// What the kernel shows of the server at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Connections that wait to be accepted.
    pub accept_queue: u32,
    /// The clients' connections.
    pub connections: Vec<ConnectionState>,
    /// The server's epoll instances.
    pub epolls: Vec<EpollState>,
    /// Where each thread is.
    pub threads: Vec<ThreadState>,
}

/// One connection, seen from both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionState {
    /// The client.
    pub client: usize,
    /// The server's descriptor; none if it was not accepted, or is closed.
    pub fd: Option<i32>,
    /// Bytes in the server's socket that the server has not read.
    pub unread: u64,
    /// A FIN of the client has arrived.
    pub fin_arrived: bool,
    /// Bytes in the server's socket that the client's has not taken.
    pub unsent: u64,
    /// Bytes that the client was told to send.
    pub asked: u64,
    /// Bytes that the client's socket has taken.
    pub sent: u64,
    /// Bytes that came back and were read.
    pub came_back: u64,
    /// The client has seen the server's FIN.
    pub eof: bool,
}

/// An epoll instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EpollState {
    /// Its descriptor.
    pub fd: i32,
    /// Whether its ready list has something to report.
    pub ready: bool,
    /// What is registered.
    pub interests: Vec<Interest>,
}

/// A registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interest {
    /// The descriptor.
    pub fd: i32,
    /// What it is: `listener`, `c0`, or empty.
    pub label: String,
    /// As in epoll_ctl(2), without EPOLL: `IN|RDHUP|ET`.
    pub mask: String,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThreadState {
    /// Counted from 0.
    pub thread: usize,
    /// `sleeps in epoll_wait(4)`, or `before read(7 c0)`.
    pub at: String,
    /// It sleeps.
    pub sleeps: bool,
}
