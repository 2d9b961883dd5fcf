//! The checks, a file for each group.
//!
//! A check is one function with `#[check]`; nothing else names it. Its group is its file, its place in the group is its
//! place in the file.
//!
//! Invariant: a group's order is from the plainest to the hardest, so that the first failure is the one to look at
//! first.

use std::sync::LazyLock;

use crate::check::Check;

mod close;
mod drain;
mod echo;
mod fairness;
mod faults;
mod fd_setsize;
mod idle;
mod interleaving;
mod lifetime;
mod scale;
mod start;
mod wakeup;
mod write;

/// The groups in the order in which they are shown.
pub const GROUPS: &[&str] = &[
    "echo",
    "drain",
    "wakeup",
    "close",
    "write",
    "fd_setsize",
    "faults",
    "idle",
    "interleaving",
    "fairness",
    "scale",
    "lifetime",
    "start",
];

/// The checks that run by default, in order: all but the long checks.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    all_checks().filter(|check| !check.long)
}

/// All checks, in order, with the long checks.
pub fn all_checks() -> impl Iterator<Item = &'static Check> {
    /// The attribute registers them in any order.
    static IN_ORDER: LazyLock<Vec<&'static Check>> = LazyLock::new(|| {
        let mut checks: Vec<_> = inventory::iter::<Check>().collect();
        checks.sort_by_key(|check| (GROUPS.iter().position(|group| *group == check.group), check.line));
        checks
    });
    IN_ORDER.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_checks_is_a_group_and_every_group_has_checks() {
        for check in all_checks() {
            assert!(GROUPS.contains(&check.group), "GROUPS lacks '{}'", check.group);
        }
        for group in GROUPS {
            assert!(checks().any(|check| check.group == *group), "{group} has no check");
        }
    }

    #[test]
    fn every_check_proves_a_clause_that_exists() {
        for check in all_checks() {
            assert!(!crate::clause(check.clause).is_empty(), "{}", check.full_name());
        }
    }
}
