//! One run: how it is asked for, its schedule, and how it ended.
//!
//! Invariant: every replay of a run has the same values here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::{Event, Found, State};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl fmt::Display for Faults {
    /// In the syntax of `--faults`; empty for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.eintr, self.econnaborted) {
            (false, false) => "",
            (true, false) => "eintr",
            (false, true) => "econnaborted",
            (true, true) => "eintr,econnaborted",
        })
    }
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

/// Bytes of a client that will not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The client.
    pub client: usize,
    /// How many bytes of the client came back before them.
    pub at: u64,
    /// How many they are.
    pub bytes: u64,
    /// Whether later bytes came back instead. Otherwise the connection has ended.
    pub passed_over: bool,
}

/// One run.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub verdict: Verdict,
    /// The verdict in one sentence, with details of this run. Empty if the verdict is `Ok`.
    pub what: String,
    /// Bytes of a client that will not come back, if the run was recorded.
    pub missing: Option<Missing>,
    /// The decisions.
    pub points: Vec<Point>,
    /// A hash of all events.
    pub hash: u64,
    /// The events, if the run was recorded.
    pub events: Vec<Event>,
    /// The kernel's state at the end, if the run was recorded.
    pub end: Option<State>,
    /// The lesson's files that the events name, if the run was recorded.
    pub found: Found,
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
