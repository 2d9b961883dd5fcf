//! What a single run is to do.

use std::sync::atomic::AtomicBool;

use crate::reduction::Relation;
use crate::run::{Faults, Schedule, Subject};
use crate::script::Script;

/// One run that is asked for.
#[cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
    expect(dead_code, reason = "nothing can be run there, so nothing reads it")
)]
pub struct Order<'a> {
    pub subject: &'a Subject,
    pub script: &'a Script,
    pub faults: Faults,
    /// The decisions; 0 after the last of them.
    pub schedule: &'a Schedule,
    /// The hash of what must have happened before the last decision.
    pub before_last: Option<u64>,
    /// Which steps are placed before which calls.
    pub relation: Relation,
    /// Keep the events.
    pub keep: bool,
    pub stop: &'a AtomicBool,
}
