//! Room in the server's socket: clients that were stuck read what has arrived, and what that lets arrive.
//!
//! Invariant: the server takes no part. Its kernel sends what its socket holds, so this works while it is stopped.

use std::time::{Duration, Instant};

use observe::queues;

use super::{CHUNK, Client};
use crate::failure::Step;

/// A connection on which nothing has arrived for so long has an empty socket at its other end, where that cannot be
/// seen.
const QUIET: Duration = Duration::from_millis(100);
/// The kernel needs no more, however busy the machine is: a backstop.
const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// Bytes that the server's kernel has taken and the server has not read; `None` where that cannot be seen.
    pub(crate) fn unread_by_server(&self) -> Option<u32> {
        queues(self.server, self.local).map(|(unread, _)| unread)
    }

    /// Waits until the server has read all that was sent, for at most `patience`; whether it has. A moment, where that
    /// cannot be seen.
    pub(crate) fn is_read_within(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            match (self.unread_by_server(), self.nothing_on_the_way()) {
                (Some(0), Some(true)) => return true,
                (None, _) | (_, None) => {
                    std::thread::sleep(Duration::from_micros(200));
                    return true;
                }
                _ if Instant::now() > end => return false,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Whether bytes have come back that were not read yet.
    pub(crate) fn has_an_answer(&self) -> bool {
        matches!(self.socket.peek(&mut [0]), Ok(1))
    }

    /// Whether the server's socket has bytes that this client's socket has not taken; true where that cannot be seen.
    pub(crate) fn has_bytes_under_way(&self) -> bool {
        self.nothing_under_way() != Some(true)
    }

    fn nothing_on_the_way(&self) -> Option<bool> {
        queues(self.local, self.server).map(|(_, unacknowledged)| unacknowledged == 0)
    }

    fn nothing_under_way(&self) -> Option<bool> {
        queues(self.server, self.local).map(|(_, unacknowledged)| unacknowledged == 0)
    }
}

/// Reads on all of them until the server's socket of each has nothing left to send. Returns how many still have.
pub fn make_room(clients: &mut [Client]) -> Step<usize> {
    let end = Instant::now() + PATIENCE;
    let mut left: Vec<&mut Client> = clients.iter_mut().collect();
    let mut moved = Instant::now();
    while !left.is_empty() && Instant::now() < end {
        let mut full = Vec::new();
        for client in left {
            let mut read = 0;
            while let some @ 1.. = client.read_some(CHUNK)? {
                read += some;
            }
            if read > 0 {
                moved = Instant::now();
            }
            if read > 0 || !client.nothing_under_way().unwrap_or(moved.elapsed() > QUIET) {
                full.push(client);
            }
        }
        left = full;
        if moved.elapsed() > Duration::from_millis(1) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(left.len())
}
