//! The server watched while it has nothing to do: how often it wakes, and how much of the processor it uses.
//!
//! Invariant: what is counted are voluntary context switches (each wakeup ends in one), for each thread, over the time
//! that has really passed. A server of this repository does not wake at all. Another one may have a runtime that does
//! (a tick, a collector), so it is judged against itself: against the same server before its first client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use observe::text::shown;
use observe::{Family, Thread};

use super::verdict::gone;
use super::{SOON, Trial};
use crate::diagnose;
use crate::failure::{Step, Stop, Symptom};
use crate::server::{Options, Server};
use crate::subject::Launch;

/// What is said of a server that is stopped.
pub(crate) const STOPPED: &str = "the server is stopped, by itself or by somebody else";

/// How long the server is watched; on a busy machine it takes longer.
const LOOK: Duration = Duration::from_millis(400);
/// TCP has timers of its own (a delayed acknowledgement, a probe of a closed window), and what they move may wake a
/// server once. What wakes by itself does so in every look.
const LOOKS: u32 = 3;
/// Looks in which the server got no processor say nothing. After so many, nothing can be said.
const MOST_STARVED: u32 = 6;

/// What a foreign server may wake in a second, however quiet it was before its first client. A collector that was set to
/// work by the clients' garbage, or a thread pool that shrinks, wakes a few times in a look, and stops some seconds later.
/// A wait with a timeout of 20 ms that goes on for ever is above this.
const ALWAYS_ALLOWED: u64 = 30;
/// A restless one may wake so many times as often as before: where each wait is cut short by a tick, work that a client
/// has left behind is done in more of them.
const TIMES_BASELINE: u64 = 2;
/// What the busiest thread may wake in a second before there is any client. The fastest ticks that idle runtimes were
/// seen with come each 50 ms (Java) and each 20 ms. A server that looks a hundred times a second whether there is work
/// is a busy loop in disguise, from its start.
const TICKS_ALLOWED: u64 = 60;

/// What a server did in one look.
#[derive(Debug, Clone)]
struct Look {
    elapsed: Duration,
    /// CPU time in milliseconds.
    cpu_ms: u64,
    /// Wakeups of all threads.
    wakeups: u64,
    threads: usize,
    /// The thread with the most wakeups: its name and its number of them.
    busiest: (String, u64),
    /// One of its threads was found awake all the time, and did not sleep in between: a server that spins is, however
    /// little of the processor it gets.
    always_awake: bool,
    /// The same, and it got next to nothing of the processor: it may spin, or wait for its turn to handle one event.
    starved: bool,
}

impl Look {
    fn at(process: Family) -> Step<Self> {
        const SAMPLES: u32 = 20;
        /// A spin has used more, unless dozens of others are at work.
        const SOME_MS: u64 = 20;
        let start = Instant::now();
        let (before, cpu) = (process.wakeups().ok_or_else(gone)?, process.activity().ok_or_else(gone)?);
        let mut awake: HashMap<i32, u32> = HashMap::new();
        for _ in 0..SAMPLES {
            std::thread::sleep(LOOK / SAMPLES);
            let threads = process.threads().unwrap_or_default();
            for thread in threads.iter().filter(|thread| thread.state == 'R') {
                *awake.entry(thread.tid).or_default() += 1;
            }
        }
        let cpu_ms = process.activity().ok_or_else(gone)?.since(cpu).cpu_ms();
        let before: HashMap<i32, u64> = before.into_iter().map(|thread| (thread.tid, thread.count)).collect();
        let after = process.wakeups().ok_or_else(gone)?;
        // A thread that is new has done all of it in this look.
        let woken = after.into_iter().map(|thread| {
            let earlier = before.get(&thread.tid).copied().unwrap_or(0);
            (thread.name, thread.count.saturating_sub(earlier), awake.get(&thread.tid).copied().unwrap_or(0))
        });
        let woken: Vec<(String, u64, u32)> = woken.collect();
        // One that sleeps between two looks waits for a processor in most of them, on a busy machine. It does not spin.
        let is_awake = woken.iter().any(|(_, count, awake)| *awake >= SAMPLES - 1 && *count <= 1);
        let (always_awake, starved) = (is_awake && cpu_ms >= SOME_MS, is_awake && cpu_ms < SOME_MS);
        let woken: Vec<(String, u64)> = woken.into_iter().map(|(name, count, _)| (name, count)).collect();
        Ok(Self {
            elapsed: start.elapsed(),
            cpu_ms,
            wakeups: woken.iter().map(|(_, count)| count).sum(),
            threads: woken.len(),
            busiest: woken.into_iter().max_by_key(|(_, count)| *count).unwrap_or_default(),
            always_awake,
            starved,
        })
    }

    fn ms(&self) -> u64 {
        self.elapsed.as_millis().max(1) as u64
    }

    /// A spin takes all of the time, or a share of what others leave.
    fn is_busy(&self) -> bool {
        self.cpu_ms * 10 > self.ms() || self.always_awake
    }

    fn per_second(&self, wakeups: u64) -> u64 {
        wakeups * 1000 / self.ms()
    }

    /// `465 wakeups (voluntary context switches) of 9 threads in 412 ms, 160 of them of 'server', and 10 ms of CPU`.
    fn says(&self) -> String {
        let (name, most) = &self.busiest;
        let who = match self.threads {
            0 | 1 => String::new(),
            many => format!(" of {many} threads"),
        };
        let most = match self.threads {
            0 | 1 => String::new(),
            _ => format!(", {most} of them of its thread '{}'", shown(name, 20)),
        };
        let awake = if self.always_awake { ", and it never slept" } else { "" };
        format!(
            "{} wakeups (voluntary context switches){who} in {} ms{most}, and {} ms of CPU{awake}",
            self.wakeups,
            self.ms(),
            self.cpu_ms
        )
    }
}

/// How much a server may wake.
#[derive(Debug, Clone, Copy)]
enum Bound {
    /// All its threads together.
    All(u64),
    /// Each of its threads: where several share one work, each does a part of it.
    Each(u64),
}

impl Bound {
    fn holds(self, look: &Look) -> bool {
        let (wakeups, bound) = match self {
            Self::All(bound) => (look.wakeups, bound),
            Self::Each(bound) => (look.busiest.1, bound),
        };
        wakeups * 1000 <= bound * look.ms()
    }
}

impl Trial<'_> {
    /// Waits until the server sleeps and stays asleep. It has failed at once if it works all the time instead.
    pub fn settle(&mut self) -> Step {
        // 0.4 s of CPU, or a thousand wakeups, is more than any work that a check leaves behind.
        const TICKS: u64 = 40;
        const WAKEUPS: u64 = 1000;
        // A foreign server that wakes by itself is never still for long; how often it may is `expect_idle`'s business.
        const FOREIGN: Duration = Duration::from_secs(2);
        let process = self.process()?;
        self.needs_proc()?;
        self.await_ends()?;
        let start = process.activity();
        let begin = Instant::now();
        while process.settle(Duration::from_millis(25), Duration::from_millis(300)).is_none() {
            let (Some(start), Some(now)) = (start, process.activity()) else { return Err(gone()) };
            if self.server()?.exit_status().is_some() {
                return Err(gone());
            }
            let busy = now.since(start).ticks > TICKS || now.since(start).wakeups > WAKEUPS;
            self.is_not_stopped()?;
            let idle = now.since(start).ticks < 2 && now.since(start).wakeups < 10;
            if begin.elapsed() > SOON && idle {
                return Err(Stop::skip(
                    "the machine is busy: the server had no processor for as long as it was watched",
                ));
            }
            if busy || begin.elapsed() > SOON {
                return Err(self.spinning("it has nothing to do, and does not come to rest"));
            }
            if !self.subject.own && begin.elapsed() > FOREIGN {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asserts that the server uses no CPU and does not wake up while `situation` lasts; a foreign one not more than
    /// before its first client.
    pub fn expect_idle(&mut self, situation: &str) -> Step {
        if self.subject.own {
            return self.watched(situation, Bound::All(0), "");
        }
        self.process()?;
        let baseline = self.baseline()?;
        let before = format!("; before its first client: {}", baseline.says());
        let bound = ALWAYS_ALLOWED.max(TIMES_BASELINE * baseline.per_second(baseline.wakeups));
        self.watched(situation, Bound::All(bound), &before)
    }

    /// Asserts that the server wakes at most `per_second` times a second while it is watched, and uses next to no CPU.
    /// Of a foreign one, that is each of its threads: how many share a work is its own affair.
    pub fn expect_wakeups(&mut self, situation: &str, per_second: u64) -> Step {
        let bound = if self.subject.own { Bound::All(per_second) } else { Bound::Each(per_second) };
        self.watched(situation, bound, "")
    }

    fn watched(&mut self, situation: &str, bound: Bound, baseline: &str) -> Step {
        self.log.step(format!("the server is watched for {} ms: {situation}", LOOK.as_millis()));
        self.needs_proc()?;
        let (mut looks, mut starved) = (0, 0);
        loop {
            if matches!(bound, Bound::All(0)) {
                self.settle()?;
            }
            let seen = Look::at(self.process()?)?;
            self.is_not_stopped()?;
            if seen.starved {
                starved += 1;
                if starved == MOST_STARVED {
                    let what = "the machine is busy: the server waited for a processor all the time it was watched";
                    return Err(Stop::skip(what));
                }
                continue;
            }
            looks += 1;
            if bound.holds(&seen) && !seen.is_busy() {
                return Ok(());
            }
            if looks == LOOKS || seen.is_busy() {
                let what = format!("{situation}: {}{baseline}", seen.says());
                return Err(self.spinning(&what));
            }
        }
    }

    /// Whether one of the server's threads is awake all the time.
    pub(super) fn never_sleeps(&mut self) -> Step<bool> {
        Ok(Look::at(self.process()?)?.always_awake)
    }

    /// A server that is stopped uses nothing either, and is not idle.
    fn is_not_stopped(&mut self) -> Step {
        let states = self.process()?.threads().unwrap_or_default();
        if self.frozen || states.is_empty() || !states.iter().all(Thread::is_stopped) {
            return Ok(());
        }
        let port = self.server()?.addr.port();
        let cause = self.process()?.view(port).as_ref().and_then(diagnose::stopped).unwrap_or_default();
        Err(self.with_view(Symptom::Blocked, STOPPED.into(), &cause))
    }

    /// What a foreign server does before its first client: the quietest of some looks at one that was started for this
    /// alone. It is looked at once for all checks.
    fn baseline(&mut self) -> Step<Look> {
        type Seen = Arc<OnceLock<Result<Look, (String, bool)>>>;
        static BASELINES: Mutex<Option<HashMap<Vec<String>, Seen>>> = Mutex::new(None);
        let Launch::Command(argv) = &self.subject.launch else { return Err(Stop::skip("needs a server of its own")) };
        let seen = {
            let mut baselines = BASELINES.lock().unwrap_or_else(PoisonError::into_inner);
            baselines.get_or_insert_default().entry(argv.clone()).or_default().clone()
        };
        let found = seen.get_or_init(|| {
            let server = Server::start(self.subject, &Options::default());
            let server = server.map_err(|stop| (format!("its baseline could not be taken: {stop:?}"), false))?;
            let look = server.process.ok_or_else(|| (server.out_of_reach(), false)).and_then(quietest)?;
            match acceptable(&look) {
                Ok(()) => Ok(look),
                Err(what) => Err((what, true)),
            }
        });
        match found {
            Ok(look) => Ok(look.clone()),
            Err((what, true)) => Err(self.spinning(what)),
            Err((what, false)) => Err(Stop::Broken(what.clone())),
        }
    }
}

fn quietest(process: Family) -> Result<Look, (String, bool)> {
    // What a start leaves behind (a compiler's threads, a first collection) is over after so many, or goes on for ever.
    const MOST_LOOKS: u32 = 12;
    process.settle(Duration::from_millis(50), Duration::from_secs(1));
    let look = || Look::at(process).map_err(|_| ("the server ended before its first client".to_owned(), false));
    let mut best = look()?;
    for number in 1..MOST_LOOKS {
        if best.wakeups == 0 && !best.is_busy() || number >= LOOKS && acceptable(&best).is_ok() {
            break;
        }
        let next = look()?;
        if (next.is_busy(), next.per_second(next.wakeups)) < (best.is_busy(), best.per_second(best.wakeups)) {
            best = next;
        }
    }
    Ok(best)
}

/// A server may be restless by nature, and has to sleep most of the time all the same.
fn acceptable(look: &Look) -> Result<(), String> {
    let fast = look.per_second(look.busiest.1) > TICKS_ALLOWED;
    if look.is_busy() || fast {
        let limit = if fast { format!(" (more than {TICKS_ALLOWED} a second of one thread)") } else { String::new() };
        return Err(format!("already before its first client: {}{limit}", look.says()));
    }
    Ok(())
}
