//! Pauses with work at hand: a server that sleeps by its own clock while bytes wait that it could read.
//!
//! Invariant: no client moves while the server is looked at, so only its own clock can end its sleep. A server that is
//! merely slow does not sleep: bytes in a socket that it waits for end the wait, and its thread is runnable.

use std::time::{Duration, Instant};

use observe::{Call, Kind, Thread};

use super::{SOON, Trial};
use crate::client::{Client, size};
use crate::failure::{Step, Symptom};

/// Between two looks. A wakeup that is under way takes less.
const APART: Duration = Duration::from_millis(3);
/// So many looks in a row must find the same sleep.
const LOOKS: u32 = 3;

const PAUSE: &str = "A bound for one turn is good, and no reason to wait: a connection with more to read has its next turn at once. \
                     Until then wait with a timeout of 0, which serves the others in between.";
const NAP: &str = "It sleeps outside of its wait, and serves nobody meanwhile. Nothing but the wait may block: give the time to the \
                   wait as its timeout, or to a timer that the wait watches, and serve the others until then.";

impl Trial<'_> {
    /// Waits until the server has read all that `client` sent, or sleeps for good. The server fails if it sleeps meanwhile
    /// and goes on by itself.
    pub fn expect_no_pause_in_reading(&mut self, client: &Client) -> Step {
        let Some(process) = self.server()?.process else { return Ok(()) };
        let look = || -> Option<((u64, u64), Vec<Thread>)> { Some((client.at_server()?, process.threads()?)) };
        let (start, mut before, mut same) = (Instant::now(), look(), 0);
        while let Some(seen) = before.filter(|((unread, _), _)| *unread > 0 && start.elapsed() < SOON) {
            let (unread, held) = seen.0;
            std::thread::sleep(APART);
            before = look();
            // While it holds bytes, it may wait for room, which comes by the kernel's clock.
            let asleep = held == 0 && seen.1.iter().all(|thread| thread.state == 'S');
            if same >= LOOKS && before.as_ref() != Some(&seen) {
                let calls: Vec<Call> = seen.1.iter().filter_map(|thread| thread.call).collect();
                let planned = calls.iter().find(|call| !call.is_endless());
                let naps = planned.is_some_and(|call| call.name.ends_with("nanosleep"));
                let (planned, cause) = (planned.map(Call::to_string), if naps { NAP } else { PAUSE });
                let what = format!(
                    "the server has {} unread, and sleeps in {} before it reads on",
                    size(unread),
                    planned.unwrap_or_default()
                );
                return Err(self.with_view(Symptom::Slow, what, cause));
            }
            same = if asleep && before.as_ref() == Some(&seen) { same + 1 } else { 0 };
            // No time of its own ends this sleep. Whether it is one for ever is the client's to find out. The timeouts of an
            // io_uring cannot be seen.
            let has_no_end = |call: Call| call.is_endless() || call.kind == Kind::UringEnter;
            if same >= LOOKS && seen.1.iter().filter_map(|thread| thread.call).all(has_no_end) {
                return Ok(());
            }
        }
        Ok(())
    }
}
