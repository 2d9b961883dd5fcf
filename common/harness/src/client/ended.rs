//! What went wrong on a client's connection, in words: other bytes than were sent, or an early end.
//!
//! Invariant: wrong bytes are traced to where they come from, since each byte of the pattern tells.

use std::io;

use observe::pattern;

use super::{Client, size};
use crate::diagnose::Stalled;
use crate::failure::{Step, Stop, Symptom};

impl Client {
    /// Takes bytes that came back, or says what is wrong with them.
    pub(super) fn compare(&mut self, got: &[u8]) -> Step {
        let at = pattern::first_difference(self.id, self.received, got);
        let beyond = (self.received + got.len() as u64).saturating_sub(self.sent);
        if at.is_none() && beyond == 0 {
            self.received += got.len() as u64;
            return Ok(());
        }
        // Never beyond what was sent: a stream begins with a zero, which memory that nobody wrote is too.
        let right = at.unwrap_or(got.len()).min(got.len() - beyond as usize);
        let offset = self.received + right as u64;
        let wrong = &got[right..];
        let origin = match pattern::locate(wrong) {
            Some((id, from)) if id == self.id && from > offset => format!(
                "The wrong bytes are this connection's own, from offset {from}: {} are missing or late. Was the rest \
                 of a short write dropped, or overtaken by later bytes?",
                size(from - offset)
            ),
            Some((id, from)) if id == self.id => format!(
                "The wrong bytes are this connection's own, from offset {from}, once more. Was a buffer sent again \
                 from its start after a short write, or lent out twice?"
            ),
            Some((id, from)) => format!(
                "The wrong bytes are c{id}'s bytes from offset {from}. Is one buffer shared by two connections, or did \
                 the server act on an event of a closed file descriptor after its number had a new owner?"
            ),
            None if wrong.iter().all(|byte| *byte == 0) => {
                "The wrong bytes are zeros: the server sent memory that nothing was read into.".into()
            }
            None if beyond > 0 && at.is_none() => "More bytes came back than were sent.".into(),
            None => {
                "No client of this check sent these bytes: stale memory, or text that an echo server should not add."
                    .into()
            }
        };
        let what = format!("c{} got wrong bytes at offset {offset} (after {} that were right)", self.id, size(offset));
        Err(self.failed(Symptom::WrongBytes, what, origin))
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
            false => {
                "A server resets a connection when it ends, or closes the connection with unread input. A slow \
                 reader, EAGAIN, a FIN, an error of another connection, or an event of the descriptor's last owner is \
                 no reason to close."
            }
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
        let cause = if self.half_closed {
            "The server took the client's FIN for the end of everything: first send what is owed, then close."
        } else {
            "A slow reader, EAGAIN on write, or an error of another connection is no reason to close."
        };
        self.failed(Symptom::Truncated, what, cause.into())
    }

    pub(crate) fn failed(&self, symptom: Symptom, what: String, cause: String) -> Stop {
        Stop::fail(symptom, what, cause)
    }

    /// What a diagnosis needs to know of this end.
    pub(super) fn facts(&self) -> Stalled {
        Stalled { client: self.local, sent: self.sent, received: self.received, half_closed: self.half_closed }
    }
}
