//! Whose bytes a buffer of the server's holds, from the addresses that its calls name.
//!
//! Invariant: what is noted here was seen; the first of its kind is kept. Addresses are compared, and nothing is read.

use std::collections::HashMap;

use super::{ERROR_QUEUE, Made, PEEK, ZERO_COPY};
use crate::syscall::Kind;

/// Sends with MSG_ZEROCOPY that are remembered.
const ZERO_COPIES: usize = 64;

/// What was noticed. Two calls each: the one that owned the buffer, and the one that used it all the same.
#[derive(Debug, Clone, Default)]
pub struct Buffers {
    /// By the client's port: a write that was short, and a later write of bytes that were read after it.
    pub overtaken: HashMap<u16, (Made, Made)>,
    /// A send with MSG_ZEROCOPY, and a read into its buffer before any notification was taken.
    pub reused: Option<(Made, Made)>,
    /// An operation in flight, and another one with the same buffer.
    pub lent_twice: Option<(Made, Made)>,
    /// A send in flight, and another one on the same connection.
    pub two_sends: Option<(Made, Made)>,
    /// A short write to one client, and a write to another one from where the rest lay.
    pub shared: Option<(Made, Made)>,
    /// Short writes whose rest was not written, by client, with whether anything was read since.
    short: HashMap<u16, (Made, bool)>,
    last_read: HashMap<u16, Made>,
    zero_copies: Vec<Made>,
    in_flight: Vec<Made>,
}

fn overlap(one: &Made, other: &Made) -> bool {
    let end = |made: &Made| made.buffer + made.length.unwrap_or(1).max(1);
    one.buffer != 0 && other.buffer != 0 && one.buffer < end(other) && other.buffer < end(one)
}

/// Where the rest of a short write begins.
fn rest(short: &Made) -> u64 {
    short.buffer + short.moved()
}

impl Buffers {
    /// Notes a call; `owed` bytes were read from its connection and not written to it before.
    pub(super) fn see(&mut self, made: &Made, owed: u64) {
        let Some(client) = made.client else { return };
        if made.is_operation() {
            self.see_operation(made);
        }
        match (made.kind, made.value) {
            (Kind::Accept | Kind::Close, Some(_)) => {
                self.short.remove(&client);
                self.last_read.remove(&client);
            }
            (Kind::Read, Some(0..)) if made.flags & ERROR_QUEUE != 0 => {
                self.zero_copies.retain(|sent| sent.client != Some(client));
            }
            (Kind::Read, _) if made.flags & ERROR_QUEUE != 0 => {}
            (Kind::Read, Some(1..)) if made.flags & PEEK == 0 => self.see_read(client, made),
            (Kind::Write, Some(_)) => self.see_write(client, made, owed),
            (Kind::Write, None) if made.is_operation() => self.see_next_write(client, made),
            _ => {}
        }
    }

    fn see_read(&mut self, client: u16, made: &Made) {
        if let Some(sent) = self.zero_copies.iter().find(|sent| overlap(sent, made)) {
            self.reused.get_or_insert_with(|| (sent.clone(), made.clone()));
        }
        if let Some((_, read_since)) = self.short.get_mut(&client) {
            *read_since = true;
        }
        self.last_read.insert(client, made.clone());
    }

    fn see_write(&mut self, client: u16, made: &Made, owed: u64) {
        if !made.is_operation() {
            self.see_next_write(client, made);
        }
        let length = if made.is_operation() { owed } else { made.length.unwrap_or(0) };
        let waits = made.error().is_some_and(|error| error == libc::EAGAIN);
        if waits || made.error().is_none() && made.moved() < length {
            self.short.insert(client, (Made { length: Some(length), ..made.clone() }, false));
        } else {
            self.short.remove(&client);
        }
        if made.flags & ZERO_COPY != 0 && made.moved() > 0 {
            if self.zero_copies.len() == ZERO_COPIES {
                self.zero_copies.remove(0);
            }
            self.zero_copies.push(made.clone());
        }
    }

    /// Whether a write goes on with the rest of the last one.
    fn see_next_write(&mut self, client: u16, made: &Made) {
        let last_read = self.last_read.get(&client);
        let is_new = last_read.is_some_and(|read| read.buffer != 0 && read.buffer == made.buffer);
        if let Some((short, read_since)) = self.short.get(&client) {
            let goes_on = made.buffer == rest(short) && !*read_since;
            let overtakes = if made.is_operation() { made.buffer != rest(short) } else { *read_since && is_new };
            if made.buffer != 0 && !goes_on && overtakes {
                self.overtaken.entry(client).or_insert_with(|| (short.clone(), made.clone()));
            }
        }
        let of_others = self.short.iter().filter(|(other, _)| **other != client);
        let from_there =
            of_others.map(|(_, (short, _))| short).find(|short| made.buffer != 0 && rest(short) == made.buffer);
        if let Some(short) = from_there.filter(|_| !is_new) {
            self.shared.get_or_insert_with(|| (short.clone(), made.clone()));
        }
    }

    fn see_operation(&mut self, made: &Made) {
        let same = |other: &Made| {
            (other.pid, other.fd, &other.name, other.buffer) == (made.pid, made.fd, &made.name, made.buffer)
        };
        if made.value.is_some() {
            self.in_flight.retain(|other| !same(other));
            return;
        }
        if made.kind == Kind::Write
            && let Some(other) =
                self.in_flight.iter().find(|it| it.kind == Kind::Write && it.client == made.client && !it.is_linked())
        {
            self.two_sends.get_or_insert_with(|| (other.clone(), made.clone()));
        }
        if let Some(other) = self
            .in_flight
            .iter()
            .find(|it| made.buffer != 0 && it.buffer == made.buffer && !same(it) && !it.is_linked())
        {
            self.lent_twice.get_or_insert_with(|| (other.clone(), made.clone()));
        }
        self.in_flight.retain(|other| !same(other));
        self.in_flight.push(made.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(kind: Kind, client: u16, buffer: u64, length: u64, value: i64) -> Made {
        Made { client: Some(client), buffer, length: Some(length), value: Some(value), ..Made::new("call", kind) }
    }

    fn seen(calls: &[Made]) -> Buffers {
        let mut buffers = Buffers::default();
        calls.iter().for_each(|made| buffers.see(made, 0));
        buffers
    }

    #[test]
    fn a_rest_that_is_overtaken_by_new_bytes_is_noticed() {
        let (read, short) = (call(Kind::Read, 1, 100, 50, 50), call(Kind::Write, 1, 100, 50, 20));
        let (rest, new) = (call(Kind::Write, 1, 120, 30, 30), call(Kind::Write, 1, 100, 50, 50));
        assert!(seen(&[read.clone(), short.clone(), rest, read.clone(), new.clone()]).overtaken.is_empty());
        assert_eq!(seen(&[read.clone(), short.clone(), read.clone(), new]).overtaken.len(), 1);
        // A copy of the rest, elsewhere.
        assert!(seen(&[read.clone(), short, read, call(Kind::Write, 1, 500, 30, 30)]).overtaken.is_empty());
    }

    #[test]
    fn a_buffer_that_is_used_again_before_its_notification_is_noticed() {
        let sent = Made { flags: ZERO_COPY, ..call(Kind::Write, 1, 100, 50, 50) };
        let told = Made { flags: ERROR_QUEUE, ..call(Kind::Read, 1, 0, 0, 0) };
        let read = call(Kind::Read, 1, 100, 50, 10);
        assert!(seen(&[sent.clone(), told, read.clone()]).reused.is_none());
        assert!(seen(&[sent, read]).reused.is_some());
    }

    #[test]
    fn one_clients_rest_that_is_sent_to_another_is_noticed() {
        let read = |client| call(Kind::Read, client, 100, 50, 50);
        let short = call(Kind::Write, 1, 700, 50, 20);
        assert!(seen(&[read(1), short.clone(), read(2), call(Kind::Write, 2, 720, 80, 80)]).shared.is_some());
        assert!(seen(&[read(1), short, read(2), call(Kind::Write, 2, 100, 50, 50)]).shared.is_none());
    }
}
