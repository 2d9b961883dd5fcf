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
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    skipped("syscalls"),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    trigger::EXPERIMENT,
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    skipped("trigger"),
    herd::EXPERIMENT,
    fairness::EXPERIMENT,
    latency::EXPERIMENT,
    drain::EXPERIMENT,
    reads::EXPERIMENT,
    peers::EXPERIMENT,
];

/// Every experiment, skipped.
#[cfg(not(target_os = "linux"))]
pub const ALL: &[Experiment] = &[
    skipped("wait"),
    skipped("idle-tax"),
    skipped("threads"),
    skipped("syscalls"),
    skipped("trigger"),
    skipped("herd"),
    skipped("fairness"),
    skipped("latency"),
    skipped("drain"),
    skipped("reads"),
    skipped("peers"),
];

/// An experiment that this platform has not.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
const fn skipped(name: &'static str) -> Experiment {
    const WHY: &str = "needs Linux's /proc and ptrace(2), on x86-64 or aarch64";
    Experiment { name, needs: &[], run: |_| Ok(figures::Outcome::skipped(WHY)) }
}

/// The experiment with this name.
pub fn by_name(name: &str) -> Option<&'static Experiment> {
    ALL.iter().find(|experiment| experiment.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_every_experiment_in_this_order() {
        let names: Vec<&str> = ALL.iter().map(|experiment| experiment.name).collect();
        let catalogue: Vec<&str> = figures::CATALOGUE.iter().map(|about| about.name).collect();
        assert_eq!(names, catalogue);
    }
}
