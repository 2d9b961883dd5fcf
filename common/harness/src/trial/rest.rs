//! The server at rest: it sleeps, it does not wake by itself, and it holds no more than before.
//!
//! Invariant: while the server is watched no client moves. Time is only a backstop, and an allowance is a rate over the
//! time that has really passed: a busy machine stretches every window.

use std::time::{Duration, Instant};

use observe::{Activity, View, ends_under_way};

use super::verdict::gone;
use super::{SOON, Trial};
use crate::diagnose;
use crate::failure::{Failure, Step, Stop, Symptom};

/// How long the server is watched; on a busy machine it takes longer.
const LOOK: Duration = Duration::from_millis(400);
const MS_PER_TICK: u64 = 10;

impl Trial<'_> {
    /// Waits until the server sleeps and stays asleep. It has failed at once if it works all the time instead.
    pub fn settle(&mut self) -> Step {
        // 0.4 s of CPU, or a thousand wakeups, is more than any work that a check leaves behind.
        const TICKS: u64 = 40;
        const WAKEUPS: u64 = 1000;
        let process = self.process()?;
        self.needs_proc()?;
        self.await_ends()?;
        let start = process.activity();
        let end = Instant::now() + SOON;
        while process.settle(Duration::from_millis(25), Duration::from_millis(300)).is_none() {
            let (Some(start), Some(now)) = (start, process.activity()) else { return Err(gone()) };
            if self.server()?.exit_status().is_some() {
                return Err(gone());
            }
            let busy = now.since(start).ticks > TICKS || now.since(start).wakeups > WAKEUPS;
            if busy || Instant::now() > end {
                return Err(self.spinning("it has nothing to do, and does not come to rest"));
            }
        }
        Ok(())
    }

    /// Asserts that the server uses no CPU and does not wake up while `situation` lasts.
    pub fn expect_idle(&mut self, situation: &str) -> Step {
        let per_second = if self.subject.own { 0 } else { 30 };
        self.expect_wakeups(situation, per_second)
    }

    /// Asserts that the server wakes at most `per_second` times a second while it is watched, and uses next to no CPU.
    pub fn expect_wakeups(&mut self, situation: &str, per_second: u64) -> Step {
        // TCP has timers of its own (a delayed acknowledgement, a probe of a closed window), and what they move may
        // wake a server once. What wakes by itself does so in every look.
        const LOOKS: u32 = 3;
        self.log.step(format!("the server is watched for {} ms: {situation}", LOOK.as_millis()));
        self.needs_proc()?;
        for look in 1.. {
            if per_second == 0 {
                self.settle()?;
            }
            let (Activity { wakeups, ticks }, elapsed, always_awake) = self.watch()?;
            let ms = elapsed.as_millis() as u64;
            // A spin takes all of the time, or a share of what others leave.
            let busy = ticks * MS_PER_TICK * 10 > ms || always_awake;
            if wakeups * 1000 <= per_second * ms && !busy {
                break;
            }
            if look == LOOKS || busy {
                let what = format!("{situation}: {wakeups} wakeups and {} ms of CPU in {ms} ms", ticks * MS_PER_TICK);
                return Err(self.spinning(&what));
            }
        }
        Ok(())
    }

    /// What the server does in one look, how long the look really took, and whether the server was found awake all the
    /// time: a server that spins is, however little of the processor it gets.
    fn watch(&mut self) -> Step<(Activity, Duration, bool)> {
        const SAMPLES: u32 = 20;
        let process = self.process()?;
        let start = Instant::now();
        let before = process.activity().ok_or_else(gone)?;
        let mut awake = 0;
        for _ in 0..SAMPLES {
            std::thread::sleep(LOOK / SAMPLES);
            let runs = process.threads().is_some_and(|threads| threads.iter().any(|thread| thread.state == 'R'));
            awake += u32::from(runs);
        }
        let activity = process.activity().ok_or_else(gone)?.since(before);
        Ok((activity, start.elapsed(), awake >= SAMPLES - 1))
    }

    /// Operations in flight on the server's io_urings that wait for their socket; 0 where there are none.
    pub fn in_flight(&mut self) -> Step<usize> {
        let port = self.server()?.addr.port();
        Ok(self.process()?.view(port).map_or(0, |view| view.armed()))
    }

    /// At rest, no more than `expected` of them are left.
    pub fn expect_in_flight(&mut self, expected: usize, after: &str) -> Step {
        self.rest()?;
        let now = self.in_flight()?;
        if now <= expected {
            return Ok(());
        }
        let what = format!("{after}, {now} operations are in flight and not {expected}");
        Err(self.with_view(Symptom::Leak, what, diagnose::LEFT_IN_FLIGHT))
    }

    /// Whether the server sleeps, and sleeps on for `apart`. One that did not within two seconds is not waited for
    /// again.
    pub(super) fn comes_to_rest(&mut self, apart: Duration) -> Step<bool> {
        let patience = if self.restless { 4 * apart } else { Duration::from_secs(2) };
        let at_rest = self.process()?.settle(apart, patience).is_some();
        self.restless = cfg!(target_os = "linux") && !at_rest;
        Ok(at_rest)
    }

    /// Waits until the server's end knows of every connection that a client has ended.
    pub fn await_ends(&mut self) -> Step {
        let port = self.server()?.addr.port();
        let end = Instant::now() + Duration::from_secs(2);
        while ends_under_way(port) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Leaves the server alone until it sleeps, or would have by now; whether it ever does is the idle checks'
    /// business.
    pub fn rest(&mut self) -> Step {
        const SETTLED: Duration = Duration::from_millis(20);
        if self.server()?.process.is_none() || !self.comes_to_rest(SETTLED)? {
            std::thread::sleep(SETTLED);
        }
        Ok(())
    }

    pub(crate) fn spinning(&mut self, what: &str) -> Stop {
        crate::rerun::snapshot(None);
        let view = self.server.as_ref().and_then(|server| server.process?.view(server.addr.port())).unwrap_or_default();
        let cause = match diagnose::spinning(&view) {
            // A list of all that it can be; the check may know better.
            cause if cause == diagnose::spinning(&View::default()) && !self.suspicion.is_empty() => {
                self.suspicion.to_owned()
            }
            cause => cause,
        };
        let kernel = diagnose::threads(&view);
        Stop::Fail(Box::new(Failure { kernel, ..Failure::new(Symptom::Spinning, what, cause) }))
    }
}
