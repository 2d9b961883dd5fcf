//! How long a run still takes.
//!
//! Invariant: nothing is said before enough has been seen, and what is said is round, because it is a guess.

use std::time::{Duration, Instant};

use harness::Check;

/// Before so much of the work is done, its speed says nothing about the rest.
const ENOUGH: f64 = 0.05;
/// And before this.
const SOON: Duration = Duration::from_secs(2);

/// Work, a part of which is done.
#[derive(Debug)]
pub struct Estimate {
    start: Instant,
    all: f64,
    done: f64,
}

impl Estimate {
    /// That of all checks on so many servers. It begins now.
    pub fn new(checks: &[&Check], servers: usize) -> Self {
        let one: f64 = checks.iter().map(|check| weight(check)).sum();
        Self { start: Instant::now(), all: one * servers as f64, done: 0.0 }
    }

    /// One more has ended.
    pub fn finished(&mut self, check: &Check) {
        self.done += weight(check);
    }

    /// `about 40 s left`, as soon as it can be told.
    pub fn left(&self) -> Option<String> {
        let took = self.start.elapsed();
        (took >= SOON).then(|| told(self.all, self.done, took)).flatten()
    }
}

fn told(all: f64, done: f64, took: Duration) -> Option<String> {
    if done < all * ENOUGH || done >= all {
        return None;
    }
    let left = took.as_secs_f64() * (all - done) / done;
    Some(match left {
        ..10.0 => "a few seconds left".to_owned(),
        ..90.0 => format!("about {:.0} s left", (left / 10.0).round() * 10.0),
        _ => format!("about {:.0} min left", (left / 60.0).ceil()),
    })
}

/// How long a check takes beside the others. The explorer starts a server for each schedule, and a check that has the
/// machine to itself keeps the others waiting.
fn weight(check: &Check) -> f64 {
    match check {
        Check { long: true, .. } => 30.0,
        Check { alone: true, .. } => 12.0,
        Check { group: "interleaving", .. } => 6.0,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_round_numbers_once_enough_was_seen() {
        let told = |done, seconds| told(100.0, done, Duration::from_secs(seconds));
        assert_eq!(told(4.0, 10), None);
        assert_eq!(told(100.0, 10), None);
        assert_eq!(told(20.0, 10).as_deref(), Some("about 40 s left"));
        assert_eq!(told(90.0, 10).as_deref(), Some("a few seconds left"));
        assert_eq!(told(10.0, 20).as_deref(), Some("about 3 min left"));
    }

    #[test]
    fn the_weights_of_all_checks_on_all_servers_add_up() {
        let checks: Vec<&Check> = harness::checks().collect();
        let mut estimate = Estimate::new(&checks, 2);
        checks.iter().chain(&checks).for_each(|check| estimate.finished(check));
        assert!((estimate.all - estimate.done).abs() < 1e-6);
        assert_eq!(estimate.left(), None);
    }
}
