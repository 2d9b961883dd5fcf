//! What runs, and how much is left: one line that changes, on terminals only.
//!
//! Invariant: everything goes to stderr, and control codes go to terminals only.

use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

/// A run while it goes on.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    /// What the experiments that have not begun will take.
    ahead: Duration,
    /// What the present one will take, and when it began.
    present: (Duration, Instant),
}

impl Progress {
    /// Nothing is shown before the first step. `plain` shows lines only.
    pub fn new(experiments: usize, plain: bool) -> Self {
        let is_live = !plain && Term::stderr().is_term() && !console::is_dumb();
        let style = ProgressStyle::with_template("  {bar:12} {pos}/{len} {prefix}  {wide_msg:.dim}");
        let style = style.expect("a valid template").progress_chars("━╸·");
        let bar = is_live.then(|| ProgressBar::new(experiments as u64).with_style(style));
        let now = Instant::now();
        Self { bar, begun: now, ahead: Duration::ZERO, present: (Duration::ZERO, now) }
    }

    /// An experiment begins, which will take about `takes`; those behind it, `ahead`.
    pub fn begin(&mut self, name: &str, takes: Duration, ahead: Duration) {
        (self.ahead, self.present) = (ahead, (takes, Instant::now()));
        if let Some(bar) = &self.bar {
            bar.set_prefix(name.to_owned());
        }
    }

    /// What the experiment is at.
    pub fn step(&self, what: &str) {
        let Some(bar) = &self.bar else { return };
        let left = self.ahead + self.present.0.saturating_sub(self.present.1.elapsed());
        bar.set_message(format!("{what}; {} so far, about {} left", clock(self.begun.elapsed()), clock(left)));
    }

    /// An experiment has ended; the line stays.
    pub fn end(&self, line: &str) {
        match &self.bar {
            Some(bar) => {
                bar.println(line);
                bar.inc(1);
            }
            None => eprintln!("{line}"),
        }
    }

    /// Takes the line that changes away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `1:05`.
pub fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_has_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
        assert_eq!(clock(Duration::from_millis(900)), "0:00");
    }
}
