//! Between two scripts: the server at rest, with no more than it had before its first client.
//!
//! Invariant: a server is asked only while it sleeps and every end of a connection has arrived at it.

use std::time::{Duration, Instant};

use observe::{Activity, ends_under_way};

use crate::diagnose;
use crate::failure::{Step, Stop, Symptom};

use super::play::Stage;

/// A backstop for states that have to come about at once.
const SOON: Duration = Duration::from_secs(20);
/// Two looks this far apart, with nothing done between them, are rest.
const APART: Duration = Duration::from_millis(2);
/// The same where the verdict depends on it.
const CERTAIN: Duration = Duration::from_millis(30);

/// In ticks of 10 ms: more than any work that clients leave behind when they move no more.
const BUSY: u64 = 40;
/// So much more is nothing for a runtime, which may have housekeeping to do after a burst.
const PATIENCE: u64 = 5;

/// What a server holds while nobody is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Sockets of all its processes. Other descriptors are its own affair: a pool of pipes is no leak.
    pub sockets: usize,
    /// Operations of its io_urings that wait for their socket.
    pub armed: usize,
}

impl Stage<'_> {
    /// Waits until the server sleeps; it has failed if it works on and on instead.
    pub(super) fn comes_to_rest_or_spins(&mut self, situation: &str) -> Step {
        let Some(process) = self.trial.server()?.process.filter(|_| cfg!(target_os = "linux")) else {
            std::thread::sleep(CERTAIN);
            return Ok(());
        };
        let start = process.activity();
        let (begun, mut always_awake) = (Instant::now(), true);
        while process.settle(APART, Duration::from_millis(50)).is_none() {
            // One that has ended is a zombie, and still has numbers.
            let ended = self.trial.server()?.exit_status().is_some();
            let (false, Some(start), Some(now), Some(threads)) = (ended, start, process.activity(), process.threads())
            else {
                return Err(Stop::Broken("the server has gone".into()));
            };
            always_awake &= threads.iter().any(|thread| thread.state == 'R');
            let Activity { ticks, .. } = now.since(start);
            let (ms, patience) = (begun.elapsed().as_millis(), if self.trial.subject.own { 1 } else { PATIENCE });
            // Where others leave it little of the processor, a spin shows by its never being asleep.
            if ticks > patience * BUSY || always_awake && ms > 2000 && ticks > patience * BUSY / 3 {
                return Err(self.trial.spinning(&format!("{situation}: {} ms of CPU in {ms} ms", ticks * 10)));
            }
            if begun.elapsed() > SOON {
                return Err(Stop::skip(format!("it wakes again and again, and has used {} ms of CPU", ticks * 10)));
            }
        }
        Ok(())
    }

    /// What the server holds now; `None` where that cannot be seen.
    pub(super) fn holdings(&mut self) -> Step<Option<Holdings>> {
        let process = self.trial.server()?.process;
        Ok(process
            .and_then(|process| process.sockets_and_operations())
            .map(|(sockets, armed)| Holdings { sockets, armed }))
    }

    /// Once nobody is connected, the server is at rest and holds no more than before the first script.
    pub(super) fn expect_nothing_left(&mut self) -> Step {
        self.comes_to_rest_or_spins("all clients have left")?;
        let Some(before) = self.held else { return Ok(()) };
        let end = Instant::now() + SOON;
        loop {
            let Some(now) = self.holdings()? else { return Ok(()) };
            if now.sockets <= before.sockets && now.armed <= before.armed {
                self.grown = 0;
                return Ok(());
            }
            let port = self.trial.server()?.addr.port();
            let Some(process) = self.trial.server()?.process else { return Ok(()) };
            let at_rest = process.settle(CERTAIN, Duration::from_millis(500)).is_some();
            if at_rest && !ends_under_way(port) && self.holdings()? == Some(now) {
                return self.judge_what_is_left(before, now);
            }
            if Instant::now() > end {
                return Err(Stop::skip("it does not come to rest, so nobody knows what it keeps"));
            }
        }
    }

    /// A foreign server may keep a few sockets for itself (a pool, a worker's pair): only what grows each time is kept.
    fn judge_what_is_left(&mut self, before: Holdings, now: Holdings) -> Step {
        const TIMES: u32 = 4;
        // Only in a row: a script after which nothing was left begins anew.
        self.grown += 1;
        if !self.trial.subject.own && self.grown < TIMES {
            self.held = Some(now);
            return Ok(());
        }
        if now.sockets > before.sockets {
            let what = format!(
                "all clients have left, and the server holds {} sockets where it held {} before",
                now.sockets, before.sockets
            );
            let cause = "A connection that ended was not closed: read returned 0 with nothing owed, or a read, a write \
                         or the event reported an error. Or a duplicate of its descriptor was kept.";
            return Err(self.trial.with_view(Symptom::Leak, what, cause));
        }
        let what = format!(
            "all clients have left, and {} operations are in flight where there were {} before",
            now.armed, before.armed
        );
        Err(self.trial.with_view(Symptom::Leak, what, diagnose::LEFT_IN_FLIGHT))
    }
}
