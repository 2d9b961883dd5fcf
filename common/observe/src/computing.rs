//! A thread that works and makes no system call: its own code loops.
//!
//! Invariant: that is said only after a fifth of a second of the processor's time, of which the kernel got no more than
//! one tick. A loop of system calls spends a large part of its time in the kernel.

use std::time::{Duration, Instant};

use crate::Family;
use crate::process::Process;
use crate::view::Computing;

/// In ticks of 10 ms.
const ENOUGH: u64 = 20;
/// What was the kernel's may be counted a tick late.
const ROUNDING: u64 = 1;
/// On a busy machine a thread gets its share of the processor only.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a server's threads had used of the processor at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work(Vec<Used>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Used {
    tid: i32,
    /// In ticks.
    user: u64,
    system: u64,
    /// How often it has gone to sleep.
    slept: u64,
}

impl Work {
    /// The thread that has only computed since then, and has done so long enough that this is certain.
    pub fn computing_since(&self, before: &Self) -> Option<Computing> {
        let since = self.0.iter().filter_map(|now| Some((now, before.0.iter().find(|it| it.tid == now.tid)?)));
        let computes = since
            .filter(|(now, before)| now.slept == before.slept && now.system.saturating_sub(before.system) <= ROUNDING);
        let most = computes.map(|(now, before)| (now.user.saturating_sub(before.user), now.tid)).max();
        most.filter(|(ticks, _)| *ticks >= ENOUGH).map(|(ticks, tid)| Computing { tid, ms: ticks * 10 })
    }
}

impl Family {
    /// What its threads have used so far.
    pub fn work(self) -> Option<Work> {
        let tasks = self.processes()?.into_iter().flat_map(|Process { pid }| {
            let tasks = procfs::process::Process::new(pid).and_then(|process| process.tasks());
            tasks.into_iter().flatten().flatten()
        });
        let of_task = |task: procfs::process::Task| {
            let (stat, status) = (task.stat().ok()?, task.status().ok()?);
            let slept = status.voluntary_ctxt_switches.unwrap_or(0);
            Some(Used { tid: task.tid, user: stat.utime, system: stat.stime, slept })
        };
        Some(Work(tasks.filter_map(of_task).collect()))
    }

    /// A thread whose own code loops. This takes up to some seconds where one works, and a moment where all sleep.
    pub fn computing(self) -> Option<Computing> {
        let (start, before) = (Instant::now(), self.work()?);
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let found = self.work()?.computing_since(&before);
            let all_sleep = self.threads()?.iter().all(|thread| thread.state == 'S');
            if found.is_some() || all_sleep || start.elapsed() > PATIENCE {
                return found;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(user: u64, system: u64, slept: u64) -> Work {
        Work(vec![Used { tid: 7, user, system, slept }])
    }

    #[test]
    fn only_a_thread_that_neither_sleeps_nor_asks_the_kernel_computes() {
        let before = used(100, 50, 9);
        assert_eq!(used(130, 51, 9).computing_since(&before), Some(Computing { tid: 7, ms: 300 }));
        assert_eq!(used(130, 55, 9).computing_since(&before), None);
        assert_eq!(used(130, 50, 10).computing_since(&before), None);
        assert_eq!(used(110, 50, 9).computing_since(&before), None);
    }
}
