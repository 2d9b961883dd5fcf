//! Where the client and the server run.
//!
//! Invariant: with two processors or more, neither takes the other's time. With one, nothing is changed.

/// Which processors the calling thread, and the children that it starts, may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The one for servers.
    Server,
    /// The one for the client.
    Client,
    /// All that this program was given.
    Anywhere,
}

/// How many processors this program may use.
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Moves the calling thread.
#[cfg(target_os = "linux")]
pub fn move_to(place: Place) {
    use std::sync::OnceLock;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    static ALL: OnceLock<Option<CpuSet>> = OnceLock::new();
    let Some(all) = ALL.get_or_init(|| sched_getaffinity(None).ok()) else { return };
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
    let [first, .., last] = allowed[..] else { return };
    let only = |cpu: usize| {
        let mut set = CpuSet::new();
        set.set(cpu);
        set
    };
    let set = match place {
        Place::Server => only(last),
        Place::Client => only(first),
        Place::Anywhere => *all,
    };
    // Where it is denied, the threads stay where the scheduler puts them.
    let _ = sched_setaffinity(None, &set);
}

/// Leaves the thread where the scheduler puts it.
#[cfg(not(target_os = "linux"))]
pub fn move_to(_place: Place) {}
