//! What the harness has to say while checks run, and that belongs to no result: what it left running, what it left out.
//!
//! Invariant: a note is a line of its own. Where a program has drawn something on the terminal, the program prints it.

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
