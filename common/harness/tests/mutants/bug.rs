//! What can be wrong with a server.
//!
//! Invariant: a process has at most one bug, and each bug is one `if` in a base server that is correct without it.

use std::sync::OnceLock;

/// One mistake that real servers make; the table says which server and what the harness has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    // accept
    AcceptOncePerEdge,
    AcceptBatchForgotten,
    EmfileForgotten,
    EmfileIsFatal,
    AcceptNotRearmed,
    LineForEachRefusal,
    BlockingSockets,
    Herd,
    // read
    ReadOncePerEdge,
    ShortReadIsDrained,
    NoBudget,
    CloseAtRdhup,
    HalfCloseIsClose,
    EofIgnored,
    PauseNotResumed,
    OneshotNotRearmed,
    InterestAfterEof,
    UnboundedOutput,
    SharedBuffer,
    BufferEach,
    // write
    WriteEdgeLost,
    ShortWriteDropped,
    EagainIsError,
    WriteInterestLeftOn,
    SigpipeKills,
    // errors
    ResetLeaks,
    HangUpThread,
    DuplicateKept,
    ResetEndsServer,
    EventsComparedForEquality,
    // the wait
    EintrIsFatal,
    NewsTakenForOld,
    TwoEventsEach,
    ClosedSlotLeft,
    SlotNotMoved,
    NfdsOffByOne,
    SetNotRebuilt,
    BitBeyondTheSet,
    // io_uring
    TwoSendsInFlight,
    BufferLentTwice,
    FixedLength,
    DontWait,
    CloseInFlight,
    CloseAfterShutdown,
    // start and stop
    BadArgsExit1,
    BindPanics,
    Banner,
    SignalsAtDefault,
    FlagNotSeen,
}

static BUG: OnceLock<Option<Bug>> = OnceLock::new();

/// Decides what is wrong with this process.
pub fn set(bug: Option<Bug>) {
    BUG.set(bug).expect("set once, before the server starts");
}

/// Whether this is what is wrong with this process.
pub fn bug(which: Bug) -> bool {
    BUG.get().is_some_and(|bug| *bug == Some(which))
}
