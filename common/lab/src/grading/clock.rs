//! How long an attempt has had, on a machine that may have other work.
//!
//! Invariant: no attempt has less than its time, and none more than four times as much. While tasks wait for a processor,
//! the time counts a quarter: a busy machine must not cost a correct attempt its points.

use std::time::{Duration, Instant};

/// What is counted of the time in which tasks wait: one part in so many.
const PART: u32 = 4;

/// Counts from its making.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    contended: Duration,
}

impl Clock {
    /// A clock that shows nothing yet.
    pub fn start() -> Self {
        Self { start: Instant::now(), contended: contended() }
    }

    /// Whether so much time has been counted.
    pub fn has_passed(&self, time: Duration) -> bool {
        let elapsed = self.start.elapsed();
        elapsed > time && counted(elapsed, contended().saturating_sub(self.contended)) > time
    }
}

fn counted(elapsed: Duration, contended: Duration) -> Duration {
    let contended = contended.min(elapsed);
    elapsed - contended + contended / PART
}

/// The time since boot in which some task waited for a processor (Linux 4.20's /proc/pressure/cpu). Zero where the kernel
/// does not tell: then all time counts.
fn contended() -> Duration {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total = text.lines().find(|line| line.starts_with("some ")).and_then(|line| line.split_once("total="));
    Duration::from_micros(total.and_then(|(_, micros)| micros.trim().parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_a_quarter_while_tasks_wait() {
        let seconds = Duration::from_secs;
        assert_eq!(counted(seconds(300), seconds(0)), seconds(300));
        assert_eq!(counted(seconds(300), seconds(200)), seconds(150));
        // Both are read one after the other.
        assert_eq!(counted(seconds(300), seconds(301)), seconds(75));
    }

    #[test]
    fn a_clock_that_has_just_been_started_shows_nothing() {
        let clock = Clock::start();
        assert!(!clock.has_passed(Duration::from_secs(3600)) && clock.has_passed(Duration::ZERO));
    }
}
