//! The experiments, one file each.
//!
//! Invariant: `ALL` has the names of `figures::CATALOGUE`, in that order.

use crate::Experiment;

/// Every experiment.
#[cfg(target_os = "linux")]
pub const ALL: &[Experiment] = &[];

/// None: the figures come from Linux's /proc.
#[cfg(not(target_os = "linux"))]
pub const ALL: &[Experiment] = &[];

/// The experiment with this name.
pub fn by_name(name: &str) -> Option<&'static Experiment> {
    ALL.iter().find(|experiment| experiment.name == name)
}
