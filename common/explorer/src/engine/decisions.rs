//! The decisions of a run: the schedule gives the first ones, and all later ones are 0.
//!
//! Invariant: where there is only one thing to do, nothing is decided, so a schedule has no idle numbers in it.

use crate::run::{Point, Schedule};

pub struct Decisions<'a> {
    schedule: &'a Schedule,
    /// The hash of what must have happened before the last decision of the schedule.
    before_last: Option<u64>,
    /// What was decided so far.
    pub points: Vec<Point>,
    /// The schedule does not fit: it asks for a choice that is not there, or other things have happened before.
    pub diverged: bool,
}

impl<'a> Decisions<'a> {
    pub fn new(schedule: &'a Schedule, before_last: Option<u64>) -> Self {
        Self { schedule, before_last, points: Vec::new(), diverged: false }
    }

    /// Decides among `options`, of which the first has so many placements; `before` is the hash of all that has happened.
    pub fn choose(&mut self, options: usize, placements: usize, before: u64) -> usize {
        if options <= 1 {
            return 0;
        }
        let at = self.points.len();
        let chosen = self.schedule.0.get(at).copied().unwrap_or(0);
        let last = at + 1 == self.schedule.0.len();
        if usize::from(chosen) >= options || last && self.before_last.is_some_and(|hash| hash != before) {
            self.diverged = true;
            return 0;
        }
        self.points.push(Point { chosen, options: options as u8, placements: placements as u8, before });
        usize::from(chosen)
    }
}
