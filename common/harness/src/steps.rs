//! The steps of a check, as a failure shows them.
//!
//! Invariant: they are in the order in which they were taken, and the last one is where the check stopped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const STEPS_KEPT: usize = 24;

/// The connection that a failure is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Culprit {
    /// The client's end.
    pub client: SocketAddr,
    /// What came back were another client's bytes.
    pub got_others_bytes: bool,
}

/// The steps taken so far, shared by all clients of a check.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Steps>>);

#[derive(Debug, Default)]
struct Steps {
    taken: Vec<String>,
    culprit: Option<Culprit>,
    /// The clients' numbers, by their ports.
    clients: HashMap<u16, u32>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a step.
    pub fn step(&self, what: impl Into<String>) {
        self.lock().taken.push(what.into());
    }

    /// Remembers which port a client has.
    pub(crate) fn connected(&self, client: u32, port: u16) {
        self.lock().clients.insert(port, client);
    }

    /// `c3`, from the port of a client of this check.
    pub(crate) fn name(&self, port: u16) -> Option<String> {
        self.lock().clients.get(&port).map(|client| format!("c{client}"))
    }

    /// Remembers the client's end of the connection that a failure is about.
    pub(crate) fn blame(&self, client: SocketAddr) {
        self.lock().culprit = Some(Culprit { client, got_others_bytes: false });
        crate::rerun::snapshot(Some(client.port()));
    }

    /// Remembers that what came back on this connection were another client's bytes.
    pub(crate) fn blame_others_bytes(&self) {
        if let Some(culprit) = &mut self.lock().culprit {
            culprit.got_others_bytes = true;
        }
    }

    /// The connection that the last failure was about.
    pub(crate) fn culprit(&self) -> Option<Culprit> {
        self.lock().culprit
    }

    /// The last steps, with a line for those left out, and one for equal steps in a row.
    pub fn steps(&self) -> Vec<String> {
        let mut folded: Vec<(String, usize)> = Vec::new();
        for step in &self.lock().taken {
            match folded.last_mut() {
                Some((last, times)) if last == step => *times += 1,
                _ => folded.push((step.clone(), 1)),
            }
        }
        let rest = folded.split_off(folded.len().saturating_sub(STEPS_KEPT));
        let left_out: usize = folded.iter().map(|(_, times)| times).sum();
        let mut shown = Vec::new();
        if left_out > 0 {
            shown.push(format!("({left_out} earlier steps)"));
        }
        shown.extend(rest.into_iter().map(|(step, times)| match times {
            1 => step,
            _ => format!("{step} ({times} times)"),
        }));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_steps_in_a_row_are_one_line() {
        let log = Log::default();
        for _ in 0..STEPS_KEPT {
            log.step("c1 sends");
            log.step("c1 reads");
        }
        (0..22).for_each(|_| log.step("c3 reads 24 KiB"));
        let shown = log.steps();
        assert_eq!(shown.len(), STEPS_KEPT + 1);
        assert_eq!(shown[0], "(25 earlier steps)");
        assert_eq!(shown[STEPS_KEPT], "c3 reads 24 KiB (22 times)");
    }
}
