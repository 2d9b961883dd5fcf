//! What the harness has to say while checks run, and that belongs to no result: what it left running, what it left out.
//!
//! Invariant: a note is a line of its own. Where a program has drawn something on the terminal, the program prints it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

type Printer = Box<dyn FnMut(&str) + Send>;

static PRINTER: Mutex<Option<Printer>> = Mutex::new(None);

/// From now on notes are given to `printer`; without one, they go to stderr.
pub fn print_by(printer: Option<Printer>) {
    *PRINTER.lock().unwrap_or_else(PoisonError::into_inner) = printer;
}

pub(crate) fn note(line: &str) {
    match &mut *PRINTER.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(print) => print(line),
        None => eprintln!("{line}"),
    }
}

/// Whether a user has asked for details.
static DETAILS: AtomicBool = AtomicBool::new(false);

/// From now on, details are notes too.
pub fn show_details() {
    DETAILS.store(true, Ordering::Relaxed);
}

/// How far a search came that found nothing: of interest to who asks for it, and otherwise taken for an error.
pub(crate) fn detail(line: &str) {
    if DETAILS.load(Ordering::Relaxed) {
        note(line);
    }
}
