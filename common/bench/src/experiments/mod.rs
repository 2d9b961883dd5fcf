//! The experiments, one file each.
//!
//! Invariant: `ALL` has the names of `figures::CATALOGUE`, in that order.

use crate::Experiment;

#[cfg(target_os = "linux")]
mod drain;
#[cfg(target_os = "linux")]
mod fairness;
#[cfg(target_os = "linux")]
mod herd;
#[cfg(target_os = "linux")]
mod idle_tax;
#[cfg(target_os = "linux")]
mod latency;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod reads;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod syscalls;
#[cfg(target_os = "linux")]
mod threads;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod trigger;
#[cfg(target_os = "linux")]
mod wait;

/// Every experiment.
#[cfg(target_os = "linux")]
pub const ALL: &[Experiment] = &[
    wait::EXPERIMENT,
    idle_tax::EXPERIMENT,
    threads::EXPERIMENT,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    syscalls::EXPERIMENT,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    trigger::EXPERIMENT,
    herd::EXPERIMENT,
    fairness::EXPERIMENT,
    latency::EXPERIMENT,
    drain::EXPERIMENT,
    reads::EXPERIMENT,
    peers::EXPERIMENT,
];

/// None: the figures come from Linux's /proc.
#[cfg(not(target_os = "linux"))]
pub const ALL: &[Experiment] = &[];

/// The experiment with this name.
pub fn by_name(name: &str) -> Option<&'static Experiment> {
    ALL.iter().find(|experiment| experiment.name == name)
}
