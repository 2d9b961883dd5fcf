//! What a check has to say although it passes: how far a search came that had no time to end.
//!
//! Invariant: nothing is said unless it was asked for, because it is about the check and not about the server.

use std::sync::atomic::{AtomicBool, Ordering};

static WANTED: AtomicBool = AtomicBool::new(false);

/// From here on, notes go to stderr.
pub fn show() {
    WANTED.store(true, Ordering::Relaxed);
}

pub(crate) fn note(text: &str) {
    if WANTED.load(Ordering::Relaxed) {
        eprintln!("{text}");
    }
}
