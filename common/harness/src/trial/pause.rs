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
/// For so long each look must find the same sleep.
const A_PAUSE: Duration = Duration::from_millis(9);
/// Looks that are further apart than this may miss a pause of 20 ms.
const CLOSE: Duration = Duration::from_millis(5);

const PAUSE: &str = "A bound for one turn is good, and no reason to wait: a connection with more to read has its next turn at once. \
                     Until then wait with a timeout of 0, which serves the others in between.";
const NAP: &str = "It sleeps outside of its wait, and serves nobody meanwhile. Nothing but the wait may block: give the time to the \
                   wait as its timeout, or to a timer that the wait watches, and serve the others until then.";

impl Trial<'_> {
    /// Waits until the server has read all that `client` sent, or sleeps for good. The server fails if it sleeps meanwhile
    /// and goes on by itself. `since`: when it was given the work. Returns whether a pause would have been seen: on a busy
    /// machine the looks come too late. True also where the server cannot be looked at.
    pub fn expect_no_pause_in_reading(&mut self, client: &Client, since: Instant) -> Step<bool> {
        let Some(process) = self.server()?.process else { return Ok(true) };
        let look = || -> Option<((u64, u64), Vec<Thread>)> { Some((client.at_server()?, process.threads()?)) };
        let (start, mut before) = (Instant::now(), look());
        let (mut looked, mut asleep_since) = (Instant::now(), None::<Instant>);
        let mut close = looked - since < CLOSE;
        while let Some(seen) = before.filter(|((unread, _), _)| *unread > 0 && start.elapsed() < SOON) {
            let (unread, held) = seen.0;
            let seen_at = looked;
            std::thread::sleep(APART);
            before = look();
            looked = Instant::now();
            close &= looked - seen_at < CLOSE;
            let slept = asleep_since.map_or(Duration::ZERO, |since| seen_at.saturating_duration_since(since));
            // While it holds bytes, it may wait for room, which comes by the kernel's clock.
            let asleep = held == 0 && seen.1.iter().all(|thread| thread.state == 'S');
            if slept >= A_PAUSE {
                // No time of its own ends this sleep: what does comes from outside, and whether it is one for ever is the
                // client's to find out. The timeouts of an io_uring cannot be seen.
                let has_an_end = |call: &Call| !call.is_endless() && call.kind != Kind::UringEnter;
                let Some(planned) = seen.1.iter().filter_map(|thread| thread.call).find(has_an_end) else {
                    return Ok(close);
                };
                if before.as_ref() != Some(&seen) {
                    let cause = if planned.name.ends_with("nanosleep") { NAP } else { PAUSE };
                    let what =
                        format!("the server has {} unread, and sleeps in {planned} before it reads on", size(unread));
                    return Err(self.with_view(Symptom::Slow, what, cause));
                }
            }
            let still = asleep && before.as_ref() == Some(&seen);
            asleep_since = still.then(|| asleep_since.unwrap_or(seen_at));
        }
        Ok(close)
    }
}
