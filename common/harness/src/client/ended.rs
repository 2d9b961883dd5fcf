//! What went wrong on a client's connection, in words: other bytes than were sent, or an early end.
//!
//! Invariant: wrong bytes are traced to where they come from, since each byte of the pattern tells.

use std::io;

use observe::pattern;

use super::{Client, URGENT, size};
use crate::causes::{most_likely, usually};
use crate::diagnose::Stalled;
use crate::failure::{Step, Stop, Symptom};

impl Client {
    /// Where these bytes differ from what was sent at this place.
    fn first_difference(&self, got: &[u8]) -> Option<usize> {
        if self.words.is_empty() {
            return pattern::first_difference(self.id, self.received, got);
        }
        let mut sent = vec![0; got.len()];
        self.fill(self.received, &mut sent);
        got.iter().zip(&sent).position(|(got, sent)| got != sent)
    }

    /// These bytes without the urgent byte, if a server that reads it in line (SO_OOBINLINE) has sent them.
    fn without_urgent(&mut self, got: &[u8]) -> Option<Vec<u8>> {
        let is_here = |at: &u64| {
            let place = at.checked_sub(self.received).map(|place| place as usize);
            place.is_some_and(|place| got.get(place) == Some(&URGENT))
        };
        let which = self.urgent.iter().position(is_here)?;
        let place = (self.urgent.remove(which) - self.received) as usize;
        Some([&got[..place], &got[place + 1..]].concat())
    }

    /// Takes bytes that came back, or says what is wrong with them.
    pub(super) fn compare(&mut self, got: &[u8]) -> Step {
        let at = self.first_difference(got);
        let beyond = (self.received + got.len() as u64).saturating_sub(self.sent);
        if at.is_none() && beyond == 0 {
            self.received += got.len() as u64;
            return Ok(());
        }
        if let Some(rest) = self.without_urgent(got) {
            return self.compare(&rest);
        }
        // Never beyond what was sent: a stream begins with a zero, which memory that nobody wrote is too.
        let right = at.unwrap_or(got.len()).min(got.len() - beyond as usize);
        let offset = self.received + right as u64;
        let wrong = &got[right..];
        let (origin, cause) = match pattern::locate(wrong) {
            Some((id, from)) if id == self.id && from > offset => (
                format!("this connection's bytes from offset {from}: {} are missing or late", size(from - offset)),
                usually("a short write's rest was dropped, or overtaken by later bytes."),
            ),
            Some((id, from)) if id == self.id => (
                format!("this connection's bytes from offset {from} once more"),
                usually("a buffer was sent again from its start after a short write, or lent out twice."),
            ),
            Some((id, from)) => (
                format!("c{id}'s bytes from offset {from}"),
                usually(
                    "one buffer is shared by two connections, or the server acted on an event of a closed file \
                     descriptor after its number had a new owner.",
                ),
            ),
            None if wrong.iter().all(|byte| *byte == 0) => {
                ("zeros".into(), "Memory that nothing was read into was sent.".into())
            }
            None if beyond > 0 && at.is_none() => ("more than was sent".into(), String::new()),
            None => (
                "bytes that no client of this check has sent".into(),
                usually("stale memory was sent, or text that an echo server should not add."),
            ),
        };
        let (id, right) = (self.id, size(offset));
        let what = format!("c{id} got wrong bytes at offset {offset} ({right} before it came back right): {origin}");
        let failed = self.failed(Symptom::WrongBytes, what, cause);
        if pattern::locate(wrong).is_some_and(|(id, _)| id != self.id) {
            self.log.blame_others_bytes();
        }
        Err(failed)
    }

    /// The connection was cut off with this error.
    pub(super) fn ended(&self, error: &io::Error) -> Stop {
        let what = format!(
            "c{} was cut off ({error}) with {} sent and {} back",
            self.id,
            size(self.sent),
            size(self.received)
        );
        let cause = match self.half_closed && self.received == self.sent {
            true => {
                "The server echoed everything, and then sent a reset instead of FIN: close without SO_LINGER, and \
                 only after read has returned 0."
            }
            false => &usually(
                "the server ended; or it closed the connection with unread input, because a write said EAGAIN, a FIN or \
                 urgent data came, another connection had an error, or an event was about the descriptor's last owner.",
            ),
        };
        self.failed(Symptom::Reset, what, cause.into())
    }

    /// The server has finished too early.
    pub(crate) fn truncated(&self) -> Stop {
        let what = format!(
            "the server closed c{} with {} of {} back",
            self.id,
            size(self.received),
            size(self.planned.max(self.sent))
        );
        let cause = most_likely(if self.half_closed {
            "the server took the client's FIN for the end of everything, and closed before it had sent what is owed."
        } else {
            "the server took a full socket, or an error of another connection, for the end of this one."
        });
        self.failed(Symptom::Truncated, what, cause)
    }

    pub(crate) fn failed(&self, symptom: Symptom, what: String, cause: String) -> Stop {
        self.log.blame(self.local);
        Stop::fail(symptom, what, cause)
    }

    /// What a diagnosis needs to know of this end.
    pub(super) fn facts(&self) -> Stalled {
        Stalled { client: self.local, sent: self.sent, received: self.received, half_closed: self.half_closed }
    }
}
