//! The operations of an io_uring: those that a call is about to submit, as the kernel lists them in `/proc/PID/fdinfo`,
//! and those that have completed, from the completion queue itself, which the server maps.
//!
//! Invariant: an operation is shown as what its entry said; a completion of which the entry was not seen is left out.

use std::collections::HashMap;

use crate::made::{LINKED, Made};
use crate::process::Process;
use crate::ring::Completion;
use crate::syscall::Kind;

/// Beyond this many, those that were submitted are not remembered.
const REMEMBERED: usize = 65_536;

/// What was submitted, by process, ring and `user_data`.
#[derive(Debug, Default)]
pub struct Operations {
    submitted: HashMap<(i32, i32, u64), Made>,
    /// What `io_uring_setup` said, by process and ring.
    params: HashMap<(i32, i32), [u8; 120]>,
    /// Completion queues, by process and ring.
    queues: HashMap<(i32, i32), CompletionQueue>,
}

/// Where a completion queue lies in the server's memory. What was posted can be read there also after the program has taken
/// it, until the queue has gone round once.
#[derive(Debug, Clone, Copy)]
pub struct CompletionQueue {
    tail: u64,
    mask: u32,
    entries: u64,
    entry_size: u64,
    /// How many completions were looked at.
    seen: u32,
}

impl CompletionQueue {
    /// Of a ring; `params` is what `io_uring_setup` has filled in. `None` until the program has mapped it.
    pub fn find(process: Process, ring: i32, params: &[u8; 120]) -> Option<Self> {
        /// IORING_SETUP_CQE32.
        const WIDE: u32 = 1 << 11;
        let number = |at: usize| u32::from_le_bytes([params[at], params[at + 1], params[at + 2], params[at + 3]]);
        let inode =
            process.fd_info(ring).lines().find_map(|line| line.strip_prefix("ino:")?.trim().parse::<u64>().ok())?;
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid)).ok()?;
        let base = maps.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_it = fields.get(4)?.parse() == Ok(inode) && u64::from_str_radix(fields.get(2)?, 16) == Ok(0);
            if is_it { u64::from_str_radix(fields.first()?.split('-').next()?, 16).ok() } else { None }
        })?;
        // struct io_cqring_offsets: head, tail, ring_mask, ring_entries, overflow, cqes.
        let at = |field: usize| base + u64::from(number(80 + field));
        Some(Self {
            tail: at(4),
            mask: u32::from_le_bytes(process.readable(at(8))?),
            entries: at(20),
            entry_size: if number(8) & WIDE != 0 { 32 } else { 16 },
            seen: 0,
        })
    }

    /// How many there were by the last look, since the ring was made; it wraps around.
    pub fn posted(&self) -> u32 {
        self.seen
    }

    /// What came since the last look. Nothing if the memory is gone: a server that was just killed can be looked at, and
    /// its tail would read as zero, a whole round ahead.
    pub fn news(&mut self, process: Process) -> Vec<Completion> {
        let Some(tail) = process.readable(self.tail).map(u32::from_le_bytes) else { return Vec::new() };
        let count = tail.wrapping_sub(self.seen).min(self.mask.saturating_add(1));
        let first = tail.wrapping_sub(count);
        self.seen = tail;
        let entry = |place: u32| {
            let at = self.entries + u64::from(first.wrapping_add(place) & self.mask) * self.entry_size;
            let [data, rest] = [process.readable(at)?, process.readable(at + 8)?].map(u64::from_le_bytes);
            Some(Completion { user_data: data, result: i64::from(rest as u32 as i32), flags: (rest >> 32) as u32 })
        };
        (0..count).filter_map(entry).collect()
    }
}

impl Operations {
    /// A ring was set up; its queues are mapped later.
    pub fn set_up(&mut self, process: Process, ring: i32, params: u64) {
        self.params.insert((process.pid, ring), process.word(params));
    }

    /// What has completed since the last look.
    fn completed(&mut self, process: Process, ring: i32) -> Vec<Made> {
        let at = (process.pid, ring);
        if !self.queues.contains_key(&at)
            && let Some(queue) = self.params.get(&at).and_then(|params| CompletionQueue::find(process, ring, params))
        {
            self.queues.insert(at, queue);
        }
        let news = self.queues.get_mut(&at).map(|queue| queue.news(process)).unwrap_or_default();
        let made = |completion: Completion| {
            let submitted = self.submitted.get(&(process.pid, ring, completion.user_data))?.clone();
            Some(Made { value: Some(completion.result), more: completion.has_more(), ..submitted })
        };
        news.into_iter().filter_map(made).collect()
    }

    /// At the entry of `io_uring_enter`: what has completed since the last call, and what is about to be submitted.
    pub fn before(&mut self, process: Process, ring: i32) -> (Vec<Made>, Vec<Made>) {
        let completed = self.completed(process, ring);
        let info = process.fd_info(ring);
        let entries = info.lines().skip_while(|line| !line.starts_with("SQEs:")).skip(1);
        let entries: Vec<(u64, Made)> = entries.map_while(|line| entry(line.trim_start())).collect();
        if self.submitted.len() > REMEMBERED {
            self.submitted.clear();
        }
        self.submitted.extend(entries.iter().map(|(data, made)| ((process.pid, ring, *data), made.clone())));
        (completed, entries.into_iter().map(|(_, made)| made).collect())
    }

    /// At its exit: what has completed.
    pub fn after(&mut self, process: Process, ring: i32) -> Vec<Made> {
        self.completed(process, ring)
    }
}

/// `    3: opcode:RECV, fd:7, flags:0, off:0, addr:0x7f, rw_flags:0x0, buf_index:0 user_data:13`
fn entry(line: &str) -> Option<(u64, Made)> {
    const FIXED_FILE: u64 = 1;
    /// IOSQE_IO_LINK and IOSQE_IO_HARDLINK.
    const LINKS: u64 = 1 << 2 | 1 << 3;
    let name = field(line, "opcode:")?.trim_end_matches(',');
    let number = |name: &str| field(line, name)?.trim_end_matches(',').parse::<i64>().ok();
    let flags = field(line, "flags:").and_then(|flags| u64::from_str_radix(flags.trim_end_matches(','), 16).ok());
    let kind = match name {
        "ACCEPT" => Kind::Accept,
        name if name.starts_with("RECV") || name.starts_with("READ") => Kind::Read,
        name if name.starts_with("SEND") || name.starts_with("WRITE") => Kind::Write,
        "CLOSE" => Kind::Close,
        "SHUTDOWN" => Kind::Shutdown,
        "POLL_ADD" => Kind::Poll,
        _ => Kind::Other,
    };
    let fd = number("fd:").map(|fd| fd as i32);
    let address = field(line, "addr:0x").and_then(|at| u64::from_str_radix(at.trim_end_matches(','), 16).ok());
    // The address of a poll is its mask.
    let buffer = address.filter(|_| matches!(kind, Kind::Read | Kind::Write)).unwrap_or(0);
    let mut made = Made { fd, buffer, ..Made::new(name, kind) };
    if flags.is_some_and(|flags| flags & FIXED_FILE != 0) {
        made.words = fd.map(|fd| format!("slot {fd}")).into_iter().collect();
        made.fd = None;
    }
    if flags.is_some_and(|flags| flags & LINKS != 0) {
        made.words.push(LINKED.into());
    }
    Some((number("user_data:").map(|data| data as u64).or_else(|| field(line, "user_data:")?.parse().ok())?, made))
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.match_indices(name).find(|(at, _)| *at == 0 || line[..*at].ends_with([' ', ',']))?.0;
    line[at + name.len()..].split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read() {
        let line = "3: opcode:RECV, fd:7, flags:0, off:0, addr:0x7f, rw_flags:0x0, buf_index:0 user_data:13";
        let (data, made) = entry(line).expect("it is one");
        assert_eq!((data, made.to_string().as_str(), made.kind), (13, "RECV(7) submitted", Kind::Read));
        let slot = line.replace("flags:0,", "flags:1,");
        assert_eq!(entry(&slot).expect("it is one").1.to_string(), "RECV(slot 7) submitted");
        assert!(entry("CQEs:\t0").is_none());
    }

    #[test]
    fn a_process_that_has_ended_completes_nothing() {
        let mut ended = std::process::Command::new("true").spawn().expect("it is there");
        let mut queue = CompletionQueue { tail: 0x1000, mask: 255, entries: 0x2000, entry_size: 16, seen: 40 };
        let process = Process { pid: ended.id() as i32 };
        ended.wait().expect("a child");
        assert_eq!(queue.news(process), []);
    }
}
