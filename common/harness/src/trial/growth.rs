//! Memory after rounds of clients that came and left: it does not grow without end.
//!
//! Invariant: memory is compared with the same server's own after an earlier round. What it keeps once (a pool, a cache,
//! the first pages of an allocator) is no growth: what leaks is more in each third of the rounds.

use super::Trial;
use crate::failure::{Step, Symptom};

/// An allocator that reuses what was freed comes to its bound in the first rounds, and pages are counted in pieces: over
/// some thousand clients, a real leak of one small buffer for each is more than this in every third.
pub const SMALL: u64 = 512;
const KEPT: &str = "Every socket was closed, and what the server allocated for its connections is never freed.";

impl Trial<'_> {
    /// The server's memory at rest, in bytes, as far as its growth can be judged after some thousand clients: nothing
    /// where that cannot be seen.
    ///
    /// What collects garbage grows until it collects, and some collect after hundreds of megabytes. They keep their
    /// objects in memory of their own. So of a foreign server the memory of malloc is judged here, and all of it by the
    /// long check.
    pub fn memory(&mut self) -> Step<Option<u64>> {
        let process = self.process()?;
        Ok(if self.subject.own { process.resident() } else { process.allocated() })
    }

    /// `memory` after each of many equal rounds of `clients` clients does not grow without end. A leak of `each` bytes for
    /// every client is seen, and a leak of half as many is not: so much an allocator may keep.
    pub fn expect_no_memory_growth(&mut self, memory: &[u64], clients: u32, each: u64) -> Step {
        if !goes_on(memory, clients, each) {
            return Ok(());
        }
        let third = memory.len().div_ceil(3);
        let kib: Vec<String> = memory.chunks(third).map(|part| format!("{} KiB", part[0] >> 10)).collect();
        let what = format!(
            "its memory is {} after {} more clients each time, and nobody is connected: it grows without end",
            kib.join(", "),
            third * clients as usize
        );
        Err(self.with_view(Symptom::Leak, what, KEPT))
    }
}

/// Whether memory has grown in each third of the rounds, by half of `each` bytes for every client or more, and does not slow
/// down.
pub fn goes_on(memory: &[u64], clients: u32, each: u64) -> bool {
    let third = memory.len().div_ceil(3).max(1);
    let least = each * u64::from(clients) * third as u64 / 2;
    let lows: Vec<u64> = memory.chunks(third).filter_map(|part| part.iter().min().copied()).collect();
    let steps: Vec<u64> = lows.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    lows.len() == 3 && steps.iter().all(|step| *step > least) && steps[1] >= steps[0] / 2
}

/// Whether memory grows to the end: by `least` or more in each of the last four steps, and by as much in the last as in
/// the first of those, more or less. A collector's heap comes to its bound by smaller and smaller steps.
pub fn does_not_end(memory: &[u64], least: u64) -> bool {
    let Some(last) = memory.last_chunk::<5>() else { return false };
    let steps: Vec<u64> = last.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    steps.iter().all(|step| *step >= least) && steps[3] >= steps[0] / 2
}

#[cfg(test)]
mod tests {
    use super::{SMALL, does_not_end, goes_on};

    #[test]
    fn a_leak_grows_in_each_third_and_a_pool_does_not() {
        let leak: Vec<u64> = (0..21).map(|round| 5_000_000 + round * 100 * 4096).collect();
        assert!(goes_on(&leak, 100, SMALL));
        let pool: Vec<u64> = leak.iter().map(|bytes| (*bytes).min(8_000_000)).collect();
        assert!(!goes_on(&pool, 100, SMALL));
        assert!(!goes_on(&[1 << 20; 21], 100, SMALL));
        // A JVM: it comes to its bound by smaller and smaller steps.
        let slower: Vec<u64> = [3332, 6144, 6544].iter().flat_map(|kib| [kib << 10; 7]).collect();
        assert!(!goes_on(&slower, 100, SMALL));
    }

    #[test]
    fn a_collector_comes_to_its_bound_and_a_leak_does_not() {
        const MIB: u64 = 1 << 20;
        assert!(does_not_end(&[10, 50, 90, 130, 170, 210, 250].map(|mib| mib * MIB), 10 * MIB));
        assert!(!does_not_end(&[10, 90, 150, 190, 210, 220, 222].map(|mib| mib * MIB), 10 * MIB));
        assert!(!does_not_end(&[10, 60, 100, 160, 220, 160, 220].map(|mib| mib * MIB), 10 * MIB));
    }
}
