//! What a mutant is, and how a base asks for its bug.
//!
//! Invariant: a process has at most one bug, and a base without a bug is a correct server. A bug that no mutant has does
//! not compile.

use std::sync::OnceLock;

use harness::Symptom;

use super::catalogue::MUTANTS;
use super::serve::Base;

/// A server with a bug.
pub struct Mutant {
    pub base: Base,
    /// What `bug!` asks for. Empty where the base itself is the mistake.
    pub bug: &'static str,
    /// What it does wrong.
    pub what: &'static str,
    /// The checks that have to fail.
    pub caught: &'static [Caught],
    /// Held to this repository's own contract too.
    pub own: bool,
}

/// A check that has to fail on a mutant, with its symptom and with words of the cause.
pub struct Caught {
    pub check: &'static str,
    pub symptom: Symptom,
    pub says: &'static str,
}

impl Mutant {
    /// Is held to this repository's own contract although its base is not.
    pub const fn own(self) -> Self {
        Self { own: true, ..self }
    }

    /// As in the test's name and after `--serve`.
    pub fn name(&self) -> String {
        [self.base.name(), self.bug].join(if self.bug.is_empty() { "" } else { "_" })
    }
}

/// Whether this process has this bug.
macro_rules! bug {
    ($name:literal) => {
        $crate::mutant::is_on(const { $crate::mutant::first_with($name) })
    };
}
pub(crate) use bug;

/// The place of the bug of this process: that of the first mutant that has it.
static BUG: OnceLock<Option<usize>> = OnceLock::new();

/// Decides what is wrong with this process.
pub fn set(bug: Option<&str>) {
    BUG.set(bug.map(first_with)).expect("set once, before the server starts");
}

/// What `bug!` asks.
pub fn is_on(bug: usize) -> bool {
    BUG.get().is_some_and(|on| *on == Some(bug))
}

/// The first mutant that has this bug.
pub const fn first_with(bug: &str) -> usize {
    let mut at = 0;
    while at < MUTANTS.len() {
        if is_same(MUTANTS[at].bug, bug) {
            return at;
        }
        at += 1;
    }
    panic!("no mutant has this bug")
}

/// `==` of strings, which is not const.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// What `--serve NAME` stands for.
pub fn find(name: &str) -> (Base, Option<&'static str>) {
    if let Some(base) = CORRECT.iter().find(|base| base.name() == name) {
        return (*base, None);
    }
    let mutant = MUTANTS.iter().find(|mutant| mutant.name() == name);
    let mutant = mutant.unwrap_or_else(|| panic!("there is no server '{name}'"));
    (mutant.base, Some(mutant.bug))
}

/// The bases that are right as they are.
pub const CORRECT: &[Base] = &[
    Base::Select,
    Base::Poll,
    Base::EpollLt,
    Base::EpollEt,
    Base::Uring,
    Base::Threads,
    Base::Fork,
    Base::Workers,
    Base::Pool,
    Base::Limited,
];
