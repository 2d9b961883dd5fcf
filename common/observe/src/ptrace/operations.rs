//! The operations of an io_uring, as the kernel lists them in `/proc/PID/fdinfo`: those that wait to be submitted, and
//! those that have completed and were not looked at.
//!
//! Invariant: an operation is shown as what its entry said; a completion of which the entry was not seen is left out.

use std::collections::{HashMap, HashSet};

use crate::made::Made;
use crate::process::Process;
use crate::syscall::Kind;

/// Beyond this many, those that were submitted are not remembered.
const REMEMBERED: usize = 65_536;

/// What was submitted, by process, ring and `user_data`.
#[derive(Debug, Default)]
pub struct Operations {
    submitted: HashMap<(i32, i32, u64), Made>,
    /// What the call that is under way submits, by process and ring.
    pending: HashMap<(i32, i32), Vec<(u64, Made)>>,
    /// Completions that were shown already and are still in the queue: by process and ring, their places.
    shown: HashMap<(i32, i32), HashSet<(u64, u64)>>,
}

impl Operations {
    /// At the entry of `io_uring_enter`.
    pub fn before(&mut self, process: Process, ring: i32) {
        let info = process.fd_info(ring);
        let entries = info.lines().skip_while(|line| !line.starts_with("SQEs:")).skip(1);
        let entries = entries.map_while(|line| entry(line.trim_start())).collect();
        self.pending.insert((process.pid, ring), entries);
    }

    /// At its exit: what it has submitted, and what has completed.
    pub fn of_a_call(&mut self, process: Process, ring: i32) -> (Vec<Made>, Vec<Made>) {
        let at = (process.pid, ring);
        let entries = self.pending.remove(&at).unwrap_or_default();
        if self.submitted.len() > REMEMBERED {
            self.submitted.clear();
        }
        let key = |data: u64| (process.pid, ring, data);
        self.submitted.extend(entries.iter().map(|(data, made)| (key(*data), made.clone())));
        let info = process.fd_info(ring);
        let lines = info.lines().skip_while(|line| !line.starts_with("CQEs:")).skip(1);
        let completions: Vec<(u64, u64, i64)> = lines.map_while(|line| completion(line.trim_start())).collect();
        let shown = self.shown.entry(at).or_default();
        let news = completions.iter().filter(|(place, data, _)| !shown.contains(&(*place, *data)));
        let made = news.filter_map(|(_, data, value)| {
            Some(Made { value: Some(*value), ..self.submitted.get(&key(*data))?.clone() })
        });
        let made = made.collect();
        *shown = completions.iter().map(|(place, data, _)| (*place, *data)).collect();
        (entries.into_iter().map(|(_, made)| made).collect(), made)
    }
}

/// `    3: opcode:RECV, fd:7, flags:0, off:0, addr:0x7f, rw_flags:0x0, buf_index:0 user_data:13`
fn entry(line: &str) -> Option<(u64, Made)> {
    const FIXED_FILE: u64 = 1;
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
    Some((number("user_data:").map(|data| data as u64).or_else(|| field(line, "user_data:")?.parse().ok())?, made))
}

/// `    3: user_data:13, res:5, flags:0`
fn completion(line: &str) -> Option<(u64, u64, i64)> {
    let place = line.split_once(':')?.0.parse().ok()?;
    let data = field(line, "user_data:")?.trim_end_matches(',').parse().ok()?;
    Some((place, data, field(line, "res:")?.trim_end_matches(',').parse().ok()?))
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.match_indices(name).find(|(at, _)| *at == 0 || line[..*at].ends_with([' ', ',']))?.0;
    line[at + name.len()..].split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_and_a_completion_are_read() {
        let line = "3: opcode:RECV, fd:7, flags:0, off:0, addr:0x7f, rw_flags:0x0, buf_index:0 user_data:13";
        let (data, made) = entry(line).expect("it is one");
        assert_eq!((data, made.to_string().as_str(), made.kind), (13, "RECV(7) submitted", Kind::Read));
        let slot = line.replace("flags:0,", "flags:1,");
        assert_eq!(entry(&slot).expect("it is one").1.to_string(), "RECV(slot 7) submitted");
        assert_eq!(completion("3: user_data:13, res:-104, flags:0"), Some((3, 13, -104)));
        assert_eq!(completion("PollList:"), None);
    }
}
