//! What happens in a run, one event after the other.
//!
//! Invariant: every replay of a run has the same events. Addresses, process ids, ports and remaining times are left out,
//! or replaced by names.

use serde::{Deserialize, Serialize};

use super::state::{Operation, State};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "most events are calls")]
pub enum Event {
    /// A system call of the server, from its entry to its exit.
    Call(ServerCall),
    /// A step of a client.
    Step(ClientStep),
    /// The server sleeps, and the oracle judges.
    Rest {
        /// The call in which each thread sleeps. Its frames are in `state`.
        sleeps: Vec<String>,
        /// What is missing, or `None`.
        wrong: Option<String>,
        /// The kernel's state.
        state: State,
    },
    /// One thread runs next, although the previous one could go on.
    Preempted {
        /// The thread that runs next.
        thread: usize,
        /// The thread that could go on.
        instead_of: usize,
    },
}

impl Event {
    /// The kernel's state right after the event.
    pub fn state(&self) -> Option<&State> {
        match self {
            Self::Call(call) => Some(&call.state),
            Self::Step(step) => Some(&step.state),
            Self::Rest { state, .. } => Some(state),
            Self::Preempted { .. } => None,
        }
    }
}

/// A system call of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCall {
    /// The thread's number. Threads are numbered from 0 in the order in which they start.
    pub thread: usize,
    /// Its name.
    pub name: String,
    /// Its arguments, decoded at its entry.
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
    /// What a wait costs.
    pub cost: Option<Cost>,
    /// The system calls inside one kevent(2) of the stand-in for Linux.
    pub inner: Vec<String>,
    /// What one io_uring_enter(2) has submitted and what was completed by its return.
    pub ring: Option<RingCall>,
    /// Where in the source the call is made, innermost first. Empty if unknown.
    pub frames: Vec<Frame>,
    /// The frame that means something to a reader: the innermost one of the lesson's file that is not a thin wrapper.
    pub meaning: Option<usize>,
    /// The kernel's state after the call.
    pub state: State,
}

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The function.
    pub function: String,
    /// The file, from the workspace's root; `None` if unknown.
    pub file: Option<String>,
    /// Its place in the recording's `sources`, if its text is there.
    pub source: Option<usize>,
    /// The line; `None` if unknown.
    pub line: Option<u32>,
}

/// What a wait makes the kernel do. A timeout is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The descriptors that the kernel looks at.
    pub looked_at: u64,
    /// Bytes that the kernel copies in: sets of descriptors, changes.
    pub copied_in: u64,
    /// Bytes that the kernel copies out: sets of descriptors, events.
    pub copied_out: u64,
}

/// The operations of one io_uring_enter(2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingCall {
    /// Those that the call submits.
    pub submitted: Vec<Operation>,
    /// Those that were completed by its return, and that no earlier call shows.
    pub completed: Vec<Operation>,
}

/// A step of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStep {
    /// The step of the script, or an action that the client took by itself (it reads, or sends the rest).
    pub step: String,
    /// The step's place in the recording's `steps`; `None` for what the client did by itself, and for a fault.
    pub script_step: Option<usize>,
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
    pub state: State,
}

impl ClientStep {
    /// Whether it is a signal of the script.
    pub fn is_signal(&self) -> bool {
        self.script_step.is_some() && self.step.starts_with("signal ")
    }
}
