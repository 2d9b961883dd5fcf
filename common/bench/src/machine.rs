//! What else the machine did: the time that the hypervisor took, and the time of other programs.
//!
//! Invariant: this program's own time, with that of its servers, is never taken for a neighbour's.

use std::time::{Duration, Instant};

/// How the time of all processors was spent until one moment.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    at: Instant,
    /// Of all programs.
    busy: Duration,
    /// By the hypervisor.
    stolen: Duration,
    /// Of this program, and of all that it has started.
    own: Duration,
}

/// What a neighbour may take of one processor during a turn: a tenth, and three ticks of the kernel's clock, by which it
/// counts.
const SHARE: f64 = 0.1;
const TICKS: Duration = Duration::from_millis(30);

impl Spent {
    /// Until now. Nothing where /proc does not tell (then nothing counts as disturbed).
    pub fn now() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let (busy, stolen) = parse(stat.lines().next()?)?;
        Some(Self { at: Instant::now(), busy, stolen, own: own()? })
    }

    /// What neighbours took since `before`, if it was too much.
    pub fn disturbed_since(&self, before: &Self) -> Option<Duration> {
        let others = (self.busy - before.busy).saturating_sub(self.own.saturating_sub(before.own));
        let taken = others + self.stolen.saturating_sub(before.stolen);
        (taken > (self.at - before.at).mul_f64(SHARE) + TICKS).then_some(taken)
    }
}

/// `cpu  user nice system idle iowait irq softirq steal ..`, in ticks of 10 ms.
fn parse(line: &str) -> Option<(Duration, Duration)> {
    let ticks: Vec<u64> = line.strip_prefix("cpu ")?.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    let time = |ticks: u64| Duration::from_millis(ticks * 10);
    Some((time(user + nice + system + irq + softirq), time(steal)))
}

#[cfg(not(target_os = "linux"))]
fn own() -> Option<Duration> {
    None
}

/// This program, its children that have ended, and its descendants that live.
#[cfg(target_os = "linux")]
fn own() -> Option<Duration> {
    use std::collections::HashMap;

    let mut own = used(libc::RUSAGE_SELF)? + used(libc::RUSAGE_CHILDREN)?;
    let mut children: HashMap<i32, Vec<(i32, Duration)>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process that has ended meanwhile has no file any more.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((parent, time)) = parent_and_time(&stat) else { continue };
        children.entry(parent).or_default().push((pid, time));
    }
    let mut families = vec![std::process::id() as i32];
    while let Some(parent) = families.pop() {
        for (pid, time) in children.remove(&parent).unwrap_or_default() {
            own += time;
            families.push(pid);
        }
    }
    Some(own)
}

#[cfg(target_os = "linux")]
fn used(who: libc::c_int) -> Option<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is as large as the struct that the call writes, and zeros are a value of it.
    let usage = unsafe {
        if libc::getrusage(who, usage.as_mut_ptr()) != 0 {
            return None;
        }
        usage.assume_init()
    };
    let time = |it: libc::timeval| Duration::new(it.tv_sec as u64, it.tv_usec as u32 * 1000);
    Some(time(usage.ru_utime) + time(usage.ru_stime))
}

/// Of `/proc/PID/stat`: the parent, and the time with that of its children that have ended.
#[cfg(any(target_os = "linux", test))]
fn parent_and_time(stat: &str) -> Option<(i32, Duration)> {
    // The name may hold blanks and brackets.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, Duration::from_millis(ticks * 10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(at: Instant, ms: [u64; 4]) -> Spent {
        let time = Duration::from_millis;
        Spent { at: at + time(ms[0]), busy: time(ms[1]), stolen: time(ms[2]), own: time(ms[3]) }
    }

    #[test]
    fn only_the_time_of_others_disturbs() {
        let start = Instant::now();
        let before = spent(start, [0, 1000, 50, 500]);
        // All that was spent was our own; the kernel's clock is coarse.
        assert_eq!(spent(start, [1000, 2900, 50, 2390]).disturbed_since(&before), None);
        assert_eq!(spent(start, [1000, 2900, 50, 2200]).disturbed_since(&before), Some(Duration::from_millis(200)));
        assert_eq!(spent(start, [1000, 2900, 250, 2400]).disturbed_since(&before), Some(Duration::from_millis(200)));
    }

    #[test]
    fn the_kernels_lines_are_read() {
        let (busy, stolen) = parse("cpu  10 1 5 1000 7 2 3 9 0 0").unwrap();
        assert_eq!((busy, stolen), (Duration::from_millis(210), Duration::from_millis(90)));
        assert!(parse("cpu0 1 2 3").is_none() && parse("cpu  1 2").is_none());
        let stat = "42 (a) b) S 7 42 42 0 -1 4194304 91 0 0 0 13 4 1 2 20 0 1 0 100";
        assert_eq!(parent_and_time(stat), Some((7, Duration::from_millis(200))));
    }

    #[test]
    fn this_program_has_used_time() {
        if cfg!(target_os = "linux") {
            let before = Spent::now().expect("/proc tells");
            // Ends as soon as this thread's own time is seen.
            while Spent::now().expect("/proc tells").own <= before.own {}
        }
    }
}
