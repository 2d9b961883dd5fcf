//! The steps of a check, as a failure shows them.
//!
//! Invariant: they are in the order in which they were taken, and the last one is where the check stopped.

use std::sync::{Arc, Mutex};

const STEPS_KEPT: usize = 24;

/// The steps taken so far, shared by all clients of a check.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Remembers a step.
    pub fn step(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic while locked").push(what.into());
    }

    /// The last steps, with a line for those left out.
    pub fn steps(&self) -> Vec<String> {
        let steps = self.0.lock().expect("no panic while locked");
        let left_out = steps.len().saturating_sub(STEPS_KEPT);
        let mut shown = Vec::new();
        if left_out > 0 {
            shown.push(format!("({left_out} earlier steps)"));
        }
        shown.extend(steps[left_out..].iter().cloned());
        shown
    }
}
