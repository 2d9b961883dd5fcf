//! What an answer costs: the system calls that a server makes for one byte.
//!
//! Invariant: calls are counted and not timed, and the server is compared with itself. The least of several answers is what
//! the work takes: a wakeup more or less by chance does not count.

use super::Trial;
use crate::client::echo_all;
use crate::failure::{Step, Symptom};
use crate::moments::Moment;

/// Answers that are counted.
const ANSWERS: u32 = 5;

impl Trial<'_> {
    /// The fewest system calls that the server makes for the answer to one byte of a new client; `None` where they cannot be
    /// counted: the server has several threads, or may not be traced.
    pub fn calls_for_a_byte(&mut self) -> Step<Option<u32>> {
        let process = self.process()?;
        let mut client = self.connect()?;
        client.echo(1)?;
        self.rest()?;
        let threads = process.threads().unwrap_or_default();
        let [thread] = &*threads else { return Ok(None) };
        self.log.step(format!("the server's system calls are counted (ptrace) for a byte of c{}", client.id));
        let Ok(moment) = Moment::before(process, thread) else { return Ok(None) };
        let mut least = None;
        for _ in 0..ANSWERS {
            client.send_quietly(1)?;
            let Some(calls) = moment.calls_until_asleep().filter(|_| client.has_an_answer()) else {
                return Ok(None);
            };
            echo_all(std::slice::from_mut(&mut client))?;
            least = Some(least.map_or(calls, |least: u32| least.min(calls)));
        }
        Ok(least)
    }

    /// An answer costs as many calls as it did `before`.
    pub fn expect_calls_for_a_byte(&mut self, before: Option<u32>, after: &str, cause: &str) -> Step {
        let (Some(before), Some(now)) = (before, self.calls_for_a_byte()?) else { return Ok(()) };
        if now <= before {
            return Ok(());
        }
        let what = format!("{after}, the answer to one byte costs {now} system calls, and it cost {before} before");
        Err(self.with_view(Symptom::Leak, what, cause))
    }
}
