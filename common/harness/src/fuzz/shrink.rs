//! The shortest script that fails: parts are left out and numbers made smaller as long as it still does.
//!
//! Invariant: every script that is kept has failed on a server of its own, with the same kind of trouble as the first.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::play::{Stage, kind};
use super::script::{Deed, Group, Script, Sockets, Step};
use crate::failure::{Failure, Stop};
use crate::subject::Subject;

/// One script takes no longer, whatever happens to it.
const ONE_SCRIPT: Duration = Duration::from_secs(10);
/// A script that fails always is not traded for a shorter one that fails by luck.
const CERTAIN: u32 = 3;

/// Servers to try scripts on, one for each try.
pub(super) struct Lab<'s> {
    pub(super) subject: &'s Subject,
    pub(super) stop: &'s AtomicBool,
    /// Runs so far.
    pub(super) runs: u64,
    /// Why runs were without a verdict.
    pub(super) undecided: Vec<String>,
}

/// How often a script failed.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) runs: u32,
    pub(super) failures: Vec<Failure>,
}

impl Lab<'_> {
    /// Plays a script on a new server; its failure, if it fails.
    pub(super) fn failure(&mut self, script: &Script) -> Option<Failure> {
        /// What a foreign server keeps has to grow each time.
        const AGAIN: u32 = 4;
        self.runs += 1;
        let mut stage = match Stage::start(self.subject) {
            Ok(stage) => stage,
            // Its start was judged before.
            Err(stop) => return self.failure_of(Err(stop)),
        };
        let mut result = stage.play(script, Instant::now() + ONE_SCRIPT);
        for _ in 1..AGAIN {
            if result.is_ok() && stage.grown > 0 {
                result = stage.play(script, Instant::now() + ONE_SCRIPT);
            }
        }
        self.failure_of(stage.judge(result))
    }

    fn failure_of(&mut self, result: crate::failure::Step) -> Option<Failure> {
        match result {
            Ok(()) => None,
            Err(Stop::Fail(failure)) => Some(*failure),
            Err(Stop::Skip(why) | Stop::Broken(why)) => {
                self.undecided.push(why);
                None
            }
        }
    }

    /// Plays it so often.
    pub(super) fn rate(&mut self, script: &Script, runs: u32, wanted: u8) -> Rate {
        let mut rate = Rate { runs: 0, failures: Vec::new() };
        while rate.runs < runs && !self.stop.load(Ordering::Relaxed) {
            rate.runs += 1;
            rate.failures.extend(self.failure(script).filter(|failure| kind(failure.symptom) == wanted));
        }
        rate
    }
}

/// A search for a shorter script.
pub(super) struct Shrinker<'l, 's> {
    lab: &'l mut Lab<'s>,
    best: Script,
    /// The kind of trouble that is wanted.
    wanted: u8,
    /// How often a candidate is played before it counts as harmless.
    tries: u32,
    /// How often it has to fail in a row.
    needed: u32,
    end: Instant,
    harmless: HashSet<Script>,
}

impl<'l, 's> Shrinker<'l, 's> {
    /// Of a script that has failed in `rate`.
    pub(super) fn new(lab: &'l mut Lab<'s>, script: Script, rate: &Rate, wanted: u8, time: Duration) -> Self {
        // One that fails in a fifth of its runs must not be taken for harmless: three misses on average.
        let (tries, needed) = if rate.failures.len() == rate.runs as usize {
            (1, CERTAIN)
        } else {
            ((3 * rate.runs / rate.failures.len().max(1) as u32).min(10), 1)
        };
        let end = Instant::now() + time;
        Self { lab, best: script, wanted, tries, needed, end, harmless: HashSet::new() }
    }

    /// The shortest that was found in time; `tell` hears of each shorter one.
    pub(super) fn run(mut self, tell: &dyn Fn(u64, usize)) -> Script {
        if self.needed == 1 {
            self.make_certain(tell);
        }
        loop {
            let before = self.best.clone();
            self.leave_out_steps(tell);
            self.leave_out_groups(tell);
            self.make_smaller(tell);
            if self.best == before || self.is_over() {
                return self.best;
            }
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() > self.end || self.lab.stop.load(Ordering::Relaxed)
    }

    /// A failure that depends on luck often depends on what the server meets in one wait: stopped at the right place, it
    /// meets all that follows at once.
    fn make_certain(&mut self, tell: &dyn Fn(u64, usize)) {
        let luck = (self.tries, self.needed);
        (self.tries, self.needed) = (1, CERTAIN);
        // From the end on, where it failed.
        for at in (0..self.best.steps.len()).rev() {
            let mut candidate = self.best.clone();
            candidate.steps.splice(at..at, [Step::Settle, Step::Freeze]);
            if self.try_out(candidate, tell) {
                self.harmless.clear();
                return;
            }
        }
        self.harmless.clear();
        (self.tries, self.needed) = luck;
    }

    /// Whether it fails, as often in a row as it has to.
    fn fails(&mut self, candidate: &Script) -> bool {
        let wanted = self.wanted;
        let mut once = |_| self.lab.failure(candidate).is_some_and(|it| kind(it.symptom) == wanted);
        (0..self.tries).any(&mut once) && (1..self.needed).all(&mut once)
    }

    /// Keeps the candidate if it fails.
    fn try_out(&mut self, candidate: Script, tell: &dyn Fn(u64, usize)) -> bool {
        let candidate = candidate.tidy();
        let nothing = candidate.steps.is_empty() || candidate == self.best;
        if nothing || self.is_over() || self.harmless.contains(&candidate) {
            return false;
        }
        let fails = self.fails(&candidate);
        if fails {
            self.best = candidate;
        } else {
            self.harmless.insert(candidate);
        }
        tell(self.lab.runs, self.best.steps.len());
        fails
    }

    /// Ever smaller runs of steps, from the end on: what comes last matters least to what comes first.
    fn leave_out_steps(&mut self, tell: &dyn Fn(u64, usize)) {
        let mut length = self.best.steps.len().div_ceil(2);
        while length > 0 {
            let mut end = self.best.steps.len();
            while end > 0 && !self.is_over() {
                let mut shorter = self.best.clone();
                shorter.steps.drain(end.saturating_sub(length)..end.min(shorter.steps.len()));
                self.try_out(shorter, tell);
                end = end.saturating_sub(length).min(self.best.steps.len());
            }
            length /= 2;
        }
    }

    fn leave_out_groups(&mut self, tell: &dyn Fn(u64, usize)) {
        for group in (0..self.best.groups.len()).rev() {
            if group < self.best.groups.len() {
                let mut shorter = self.best.clone();
                shorter.steps.retain(|step| !matches!(step, Step::Client(it, _) if *it == group));
                self.try_out(shorter, tell);
            }
        }
    }

    fn make_smaller(&mut self, tell: &dyn Fn(u64, usize)) {
        for group in 0..self.best.groups.len() {
            for smaller in smaller_groups(self.best.groups[group]) {
                let mut candidate = self.best.clone();
                candidate.groups[group] = smaller;
                if self.try_out(candidate, tell) {
                    break;
                }
            }
        }
        for at in 0..self.best.steps.len() {
            for smaller in smaller_steps(self.best.steps[at]) {
                let mut candidate = self.best.clone();
                candidate.steps[at] = smaller;
                if self.try_out(candidate, tell) {
                    break;
                }
            }
        }
    }
}

/// From the boldest on.
fn smaller_groups(group: Group) -> Vec<Group> {
    let Group { clients, sockets } = group;
    let fewer = fewer(clients.into()).into_iter().map(|clients| Group { clients: clients as u32, sockets });
    let plainer = [
        Sockets::default(),
        Sockets { nagle: false, ..sockets },
        Sockets { send_buffer: 0, ..sockets },
        Sockets { receive_buffer: 0, ..sockets },
        Sockets { max_segment: 0, ..sockets },
    ];
    let plainer = plainer.into_iter().filter(|it| *it != sockets).map(|sockets| Group { clients, sockets });
    fewer.chain(plainer).collect()
}

fn smaller_steps(step: Step) -> Vec<Step> {
    match step {
        Step::Client(group, Deed::Send(bytes, piece)) => {
            let whole = if piece > 0 { vec![Step::Client(group, Deed::Send(bytes, 0))] } else { Vec::new() };
            let fewer = fewer(bytes).into_iter();
            let fewer =
                fewer.map(|bytes| Step::Client(group, Deed::Send(bytes, if piece < bytes { piece } else { 0 })));
            whole.into_iter().chain(fewer).collect()
        }
        Step::Client(group, Deed::Recv(Some(bytes))) => {
            let fewer = fewer(bytes).into_iter().map(|bytes| Step::Client(group, Deed::Recv(Some(bytes))));
            std::iter::once(Step::Client(group, Deed::Recv(None))).chain(fewer).collect()
        }
        Step::Interrupt(times) => fewer(times.into()).into_iter().map(|times| Step::Interrupt(times as u32)).collect(),
        Step::Signals(times) => fewer(times.into()).into_iter().map(|times| Step::Signals(times as u32)).collect(),
        _ => Vec::new(),
    }
}

/// Smaller numbers, the smallest first.
fn fewer(number: u64) -> Vec<u64> {
    let mut fewer = vec![1, number / 16, number / 4, number / 2, number - number / 4, number - 1];
    fewer.retain(|it| (1..number).contains(it));
    fewer.dedup();
    fewer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_smaller_and_never_zero() {
        assert!(fewer(1).is_empty());
        assert_eq!(fewer(2), [1]);
        assert_eq!(fewer(64), [1, 4, 16, 32, 48, 63]);
        for step in smaller_steps(Step::Client(0, Deed::Send(100, 30))) {
            assert!(matches!(step, Step::Client(0, Deed::Send(1..=100, 0 | 30))), "{step:?}");
        }
    }

    #[test]
    fn sockets_become_plainer() {
        let group = Group { clients: 1, sockets: Sockets { max_segment: 536, ..Sockets::default() } };
        assert_eq!(smaller_groups(group)[0], Group { clients: 1, sockets: Sockets::default() });
        assert!(smaller_groups(Group { clients: 1, sockets: Sockets::default() }).is_empty());
    }
}
