//! What a mutant is, and how a base asks for its bug.
//!
//! Invariant: a process has at most one bug, and a base without a bug is a correct server. A bug that no mutant has
//! does not compile.

use std::sync::OnceLock;

use explorer::Verdict;

use super::catalogue::MUTANTS;
use super::serve::Base;

/// A server with a bug.
pub struct Mutant {
    pub base: Base,
    /// What `bug!` asks for.
    pub bug: &'static str,
    /// What it does wrong.
    pub what: &'static str,
    /// The script that ships and shows it.
    pub script: &'static str,
    pub verdict: Verdict,
    /// Placements that it takes.
    pub placements: usize,
}

impl Mutant {
    /// As in the name of its test and after `--serve`.
    pub fn name(&self) -> String {
        format!("{}_{}", self.base.name(), self.bug)
    }
}

/// Whether this process has this bug.
macro_rules! bug {
    ($name:literal) => {
        $crate::mutant::is_on(const { $crate::mutant::place_of($name) })
    };
}
pub(crate) use bug;

/// The place of the bug of this process in the catalogue.
static BUG: OnceLock<Option<usize>> = OnceLock::new();

/// Decides what is wrong with this process.
pub fn set(bug: Option<&str>) {
    BUG.set(bug.map(place_of)).expect("set once, before the server starts");
}

/// What `bug!` asks.
pub fn is_on(bug: usize) -> bool {
    BUG.get().is_some_and(|on| *on == Some(bug))
}

/// The place of a bug in the catalogue.
pub const fn place_of(bug: &str) -> usize {
    let mut at = 0;
    while at < MUTANTS.len() {
        if is_same(MUTANTS[at].bug.as_bytes(), bug.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no mutant has this bug")
}

/// `==` of slices, which is not const.
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}
