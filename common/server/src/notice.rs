//! Messages on stderr about errors that can occur in floods.
//!
//! Invariant: at most one line per second. Every suppressed message is counted in a later line.

use std::fmt::Display;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// One kind of error. The first occurrence is printed at once. Later ones are counted, and printed at most once per
/// second.
#[derive(Debug, Default)]
pub struct Notice {
    said_at: Option<Instant>,
    unsaid: u64,
}

impl Notice {
    /// Reports one occurrence.
    pub fn say(&mut self, what: impl Display) {
        if self.said_at.is_some_and(|at| at.elapsed() < INTERVAL) {
            self.unsaid += 1;
            return;
        }
        self.said_at = Some(Instant::now());
        match std::mem::take(&mut self.unsaid) {
            0 => eprintln!("{what}"),
            n => eprintln!("{what} ({n} more like it since the last line)"),
        }
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        if self.unsaid > 0 {
            eprintln!("{} more like the last line", self.unsaid);
        }
    }
}
