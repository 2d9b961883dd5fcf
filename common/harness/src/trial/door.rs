//! Clients at the door: what a server does while connections wait in its accept queue.
//!
//! Invariant: no client moves while the server is looked at, so whatever wakes it is its own clock. A server that is only
//! slow is not asleep: with connections in the queue a wait for the listener returns at once, and where the processor is
//! short, a thread is runnable.

use std::time::{Duration, Instant};

use observe::{Call, Kind, Thread, accept_queue};

use super::Trial;
use crate::failure::{Step, Symptom};

/// Between two looks. A wake-up that is under way takes less.
const APART: Duration = Duration::from_millis(5);
/// So many looks find the same sleep.
const LOOKS: u32 = 3;
/// A sleep that has no end by then is none that the server has planned, or one that its clients will complain of.
const PLANNED: Duration = Duration::from_secs(1);

const PAUSE: &str = "A bound for one turn is good, and no reason to wait: after a full batch of accepts go on in the next turn. \
                     Until then wait with a timeout of 0, which serves those who are connected in between.";

/// What waits at the door, and what the server does.
type Look = (u32, Vec<Thread>);

impl Trial<'_> {
    /// Waits until the accept queue is empty, or nobody takes from it any more. The server has failed if it sleeps
    /// meanwhile and goes on by itself after a while. Whether it ever goes on is the clients' to find out.
    pub fn expect_no_pause_at_the_door(&mut self) -> Step {
        let server = self.server()?;
        let (addr, Some(process)) = (server.addr, server.process) else { return Ok(()) };
        let look = || -> Option<Look> { Some((accept_queue(addr)?.0, process.threads()?)) };
        let (mut before, mut same) = (look(), 0);
        while let Some(seen) = before.filter(|(waiting, _)| *waiting > 0) {
            std::thread::sleep(APART);
            before = look();
            let asleep = seen.1.iter().all(|thread| thread.state == 'S');
            same = if asleep && before.as_ref() == Some(&seen) { same + 1 } else { 0 };
            if same == LOOKS {
                return self.goes_on_by_itself(&seen, look);
            }
        }
        Ok(())
    }

    /// The server sleeps while clients wait: until a time that it has planned, or for ever.
    fn goes_on_by_itself(&mut self, seen: &Look, look: impl Fn() -> Option<Look>) -> Step {
        let (waiting, threads) = seen;
        let calls: Vec<Call> = threads.iter().filter_map(|thread| thread.call).collect();
        if calls.iter().all(Call::is_endless) {
            return Ok(());
        }
        let start = Instant::now();
        while look().as_ref() == Some(seen) {
            if start.elapsed() > PLANNED {
                return Ok(());
            }
            std::thread::sleep(APART);
        }
        let slept = start.elapsed() + APART * LOOKS;
        // With several threads, the one that a time wakes. The timeouts of an io_uring are no arguments of its call.
        let planned = calls.iter().find(|call| !call.is_endless() && call.kind != Kind::UringEnter).or(calls.first());
        let call = planned.map(Call::to_string).unwrap_or_default();
        let what = format!(
            "{waiting} clients wait in the accept queue, and the server sleeps in {call} for {} ms or more before it goes on",
            slept.as_millis()
        );
        Err(self.with_view(Symptom::AcceptQueueNotDrained, what, PAUSE))
    }
}
