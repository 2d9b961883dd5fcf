//! The memory that glibc's malloc has from the kernel, as /proc/PID/smaps shows it.
//!
//! Invariant: only what is malloc's by its place counts. What a runtime maps for its own heap (V8, a JVM, Go, Python's
//! objects) does not.

use crate::Process;

/// glibc reserves this much for each thread's arena (`HEAP_MAX_SIZE`), at a multiple of it.
const ARENA: u64 = 64 << 20;
/// The kernel places arenas near the top of the address space. Go reserves its heap in the same way, at 0xc000000000.
const LOWEST: u64 = 1 << 40;

/// A line of smaps with addresses, and the resident bytes of the lines below it.
struct Mapping {
    start: u64,
    end: u64,
    writable: bool,
    named: String,
    resident: u64,
}

impl Process {
    /// Resident bytes of the heap (brk) and of the arenas of threads.
    pub fn allocated(self) -> Option<u64> {
        let mappings = parse(&std::fs::read_to_string(format!("/proc/{}/smaps", self.pid)).ok()?);
        let mut sum = 0;
        for (at, mapping) in mappings.iter().enumerate() {
            let reserved = mappings.get(at + 1).is_some_and(|next| next.start == mapping.end && !next.writable);
            let arena = mapping.named.is_empty() && mapping.start >= LOWEST && mapping.start % ARENA == 0 && reserved;
            if mapping.writable && (mapping.named == "[heap]" || arena) {
                sum += mapping.resident;
            }
        }
        Some(sum)
    }
}

fn parse(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some((start, end)) = addresses(first) {
            let writable = words.next().is_some_and(|mode| mode.starts_with("rw"));
            let named = words.nth(3).unwrap_or_default().to_owned();
            mappings.push(Mapping { start, end, writable, named, resident: 0 });
        } else if let ("Rss:", Some(mapping)) = (first, mappings.last_mut()) {
            let kib: u64 = words.next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
            mapping.resident = kib << 10;
        }
    }
    mappings
}

fn addresses(word: &str) -> Option<(u64, u64)> {
    let (start, end) = word.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Process, parse};

    #[test]
    fn a_heap_and_an_arena_are_told_from_other_memory() {
        let smaps = "55d0c0000000-55d0c0021000 rw-p 00000000 00:00 0                          [heap]\nRss:   12 kB\n\
                     7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \nSize: 132 kB\nRss:   8 kB\n\
                     7f0000021000-7f0004000000 ---p 00000000 00:00 0 \nRss:   0 kB\n";
        let found: Vec<_> = parse(smaps).iter().map(|it| (it.named.clone(), it.writable, it.resident)).collect();
        let expected = [("[heap]", true, 12 << 10), ("", true, 8 << 10), ("", false, 0)];
        assert_eq!(found, expected.map(|(name, writable, rss)| (name.to_owned(), writable, rss)));
    }

    #[test]
    fn what_is_allocated_and_written_to_counts() {
        let me = Process { pid: std::process::id() as i32 };
        let before = me.allocated().expect("Linux has smaps");
        let pieces: Vec<Vec<u8>> = (0..1000).map(|_| vec![1; 10_000]).collect();
        assert!(me.allocated().expect("as before") >= before + 8_000_000, "{} pieces", pieces.len());
    }
}
