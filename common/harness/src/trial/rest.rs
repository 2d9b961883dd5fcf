//! The server at rest: it sleeps, and it holds no more than before.
//!
//! Invariant: while the server is looked at no client moves, and time is only a backstop.

use std::time::{Duration, Instant};

use observe::{View, ends_under_way};

use super::Trial;
use crate::diagnose;
use crate::failure::{Failure, Step, Stop, Symptom};

impl Trial<'_> {
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
    pub(crate) fn comes_to_rest(&mut self, apart: Duration) -> Step<bool> {
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
        let process = self.server.as_ref().and_then(|server| server.process);
        let view = self.server.as_ref().and_then(|server| server.process?.view(server.addr.port())).unwrap_or_default();
        if !view.asleep()
            && let Some(computing) = process.and_then(observe::Family::computing)
        {
            return diagnose::computes(&view, computing, what.to_owned());
        }
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
