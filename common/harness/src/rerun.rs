//! A check that failed is run once more, under a tracer, to see the server's own calls.
//!
//! Invariant: pass or fail, and the symptom, are of the first run alone. What the rerun shows is told only where it
//! shows the same symptom; otherwise the failure says what was seen instead.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use observe::Kind;
use observe::made::{self, ConnectionCalls, Made, Record};

use crate::causes::{self, Case};
use crate::check::{Check, Outcome, Report, once};
use crate::diagnose::{self, single::OWN_CODE};
use crate::failure::{Failure, Symptom};
use crate::server;
use crate::subject::{Launch, Subject};
use crate::trial::watch;

/// A traced server is slower: each call stops it twice. A rerun may take this long and twice the first run.
const LIMIT: Duration = Duration::from_secs(6);
/// A check that has failed after longer than this would take too long under a tracer.
const TOO_LONG: Duration = Duration::from_secs(12);
/// A server that spins shows that soon, and the check's own bound is the processor's time, which a tracer takes away.
const LIMIT_OF_A_SPIN: Duration = Duration::from_secs(4);
/// Lines of calls that are shown.
const SHOWN: usize = 12;

/// Where these groups' checks fail, their calls say nothing more: they have a trace of their own, or measure time or
/// memory, or are about a command line.
const NOT_TRACED: &[&str] = &["interleaving", "start", "scale"];

/// Whether reruns are made at all.
static ALLOWED: AtomicBool = AtomicBool::new(true);

/// No failure is looked at more closely from here on: for a grader, whose time is short, and whose servers are not to
/// be trusted with a tracer.
pub fn forbid() {
    ALLOWED.store(false, Ordering::Relaxed);
}

/// Whether servers may be looked at more closely, and are trusted.
pub(crate) fn allowed() -> bool {
    ALLOWED.load(Ordering::Relaxed)
}

/// Which failures of a server are looked at more closely.
#[derive(Debug)]
pub struct Reruns {
    /// By server and symptom: the check whose failure was looked at last, and how many were. `None`: all are.
    seen: Option<Mutex<Seen>>,
}

type Seen = HashMap<(String, String), (String, u32)>;

/// A bug that does not show under the tracer is looked for in so many checks.
const TRIES: u32 = 3;

impl Reruns {
    /// All.
    pub fn every_time() -> Self {
        Self { seen: None }
    }

    /// Of each server, the first failure with each symptom: a server that fails in a hundred checks has no hundred
    /// causes.
    pub fn once_a_symptom() -> Self {
        Self { seen: Some(Mutex::default()) }
    }

    /// The check that was run once more before, for this server and symptom.
    fn earlier(&self, subject: &Subject, symptom: Symptom, check: &Check) -> Option<String> {
        let mut seen = self.seen.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (subject.name.clone(), symptom.to_string());
        let (last, tries) = seen.entry(key).or_insert_with(|| (String::new(), 0));
        if *tries >= TRIES {
            return Some(last.clone());
        }
        *last = check.full_name();
        // Until this one has shown nothing.
        *tries += TRIES;
        None
    }

    /// It has shown nothing: another check may be looked at.
    fn not_shown(&self, subject: &Subject, symptom: Symptom) {
        let Some(seen) = &self.seen else { return };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tries)) = seen.get_mut(&(subject.name.clone(), symptom.to_string())) {
            *tries -= TRIES - 1;
        }
    }

    /// Runs the check once more, and adds what that showed to the failure.
    pub(crate) fn explain(&self, check: &Check, subject: &Subject, failure: &mut Failure, took: Duration) {
        if !allowed() || failure.symptom == Symptom::Contract || NOT_TRACED.contains(&check.group) {
            return;
        }
        // It makes no calls.
        if failure.cause.contains(OWN_CODE) || matches!(subject.launch, Launch::Served(_)) {
            return;
        }
        if let Some(first) = self.earlier(subject, failure.symptom, check) {
            failure.calls.push(format!("{NOT_LOOKED_AT}{first} are, which has the same symptom"));
            return;
        }
        if took > TOO_LONG && failure.symptom != Symptom::Spinning {
            failure
                .calls
                .push(format!("not looked at: the check took {} s, and a tracer makes it slower", took.as_secs()));
            return;
        }
        let shows = if failure.symptom == Symptom::Spinning {
            // On a busy machine the server may not have come to its spin by then.
            again(check, subject, failure, LIMIT_OF_A_SPIN, false)
                || again(check, subject, failure, 3 * LIMIT_OF_A_SPIN, true)
        } else {
            again(check, subject, failure, LIMIT + 2 * took, true)
        };
        if !shows {
            self.not_shown(subject, failure.symptom);
        }
    }
}

/// How the note on a failure begins that was not run once more, because another one with the same symptom was.
const NOT_LOOKED_AT: &str = "not looked at; those of ";

/// What was seen of one failure is told of the others with the same symptom too, where they know no better.
pub fn share<'a>(reports: impl IntoIterator<Item = &'a mut Report>) {
    let mut reports: Vec<&mut Report> = reports.into_iter().collect();
    let mut seen: HashMap<(String, String), String> = HashMap::new();
    for report in &reports {
        if let Outcome::Fail(failure) = &report.outcome
            && !failure.calls.is_empty()
            && !failure.is_unclear()
        {
            seen.insert((report.check.clone(), failure.symptom.to_string()), failure.cause.clone());
        }
    }
    for report in &mut reports {
        let Outcome::Fail(failure) = &mut report.outcome else { continue };
        let first = failure.calls.iter().find_map(|line| line.strip_prefix(NOT_LOOKED_AT)?.split(' ').next());
        let Some(first) = first.filter(|_| failure.is_unclear()) else { continue };
        let Some(cause) = seen.get(&(first.to_owned(), failure.symptom.to_string())) else { continue };
        let facts = failure.cause.split(causes::UNCLEAR).next().unwrap_or_default().trim_end();
        let seen = cause.rsplit("Seen under a tracer: ").next().unwrap_or_default();
        failure.cause = format!("{facts} Seen in {first}, which has the same symptom: {seen}").trim_start().to_owned();
    }
}

thread_local! {
    /// The server that this thread starts next is to be followed, for this long.
    static LIMIT_OF_NEXT: Cell<Option<Duration>> = const { Cell::new(None) };
    /// The last server that was.
    static FOLLOWED: RefCell<Option<Arc<Follower>>> = const { RefCell::new(None) };
    /// What it had done when the last failure was found.
    static SNAPSHOT: RefCell<Option<Record>> = const { RefCell::new(None) };
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use observe::ptrace::Follower;

/// Makes a command that is followed, during a rerun.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn follow(command: &mut Command) -> Option<Arc<Follower>> {
    let follower = Arc::new(Follower::of(command, LIMIT_OF_NEXT.get()?).ok()?);
    FOLLOWED.set(Some(follower.clone()));
    Some(follower)
}

/// There is no tracer here.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod elsewhere {
    use super::*;

    /// There is none.
    #[derive(Debug)]
    pub enum Follower {}

    impl Follower {
        /// Never asked.
        pub fn ended(&self) -> Option<std::process::ExitStatus> {
            match *self {}
        }

        /// Never asked.
        pub fn expired(&self) -> bool {
            match *self {}
        }

        /// Never asked.
        pub fn denied(&self) -> Option<String> {
            match *self {}
        }

        /// Never asked.
        pub fn record(&self) -> Record {
            match *self {}
        }

        /// Never asked.
        pub fn end(&self) {}
    }

    pub(crate) fn follow(_: &mut Command) -> Option<Arc<Follower>> {
        None
    }

    pub(crate) fn snapshot(_: Option<u16>) {}
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub use elsewhere::Follower;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) use elsewhere::{follow, snapshot};

/// What the server has done up to a failure: what it does when the clients leave would only hide that. Of the connections,
/// the one with this client's port, or all.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn snapshot(client: Option<u16>) {
    // The client hears of a close before the call has returned. A connection that is not closed costs this once.
    const RETURNED: Duration = Duration::from_millis(30);
    let look = || FOLLOWED.with_borrow(|followed| followed.as_ref().map(|follower| follower.snapshot(client)));
    let closed = |record: &Record| {
        let connection = client.and_then(|port| record.connections.get(&port));
        connection.is_none_or(|connection| connection.calls.iter().any(|made| made.kind == observe::Kind::Close))
    };
    let mut seen = look();
    if seen.as_ref().is_some_and(|record| !closed(record)) {
        std::thread::sleep(RETURNED);
        seen = look();
    }
    if seen.is_some() {
        SNAPSHOT.set(seen);
    }
}

/// Whether it showed the same symptom, or what explains it. `last`: what a spin showed is taken, however little it is.
fn again(check: &Check, subject: &Subject, failure: &mut Failure, limit: Duration, last: bool) -> bool {
    // What an earlier try has noted.
    failure.calls.clear();
    LIMIT_OF_NEXT.set(Some(limit));
    FOLLOWED.set(None);
    SNAPSHOT.set(None);
    let (outcome, _, culprit) = once(check, subject);
    LIMIT_OF_NEXT.set(None);
    let Some(follower) = FOLLOWED.take() else { return false };
    if let Some(why) = follower.denied() {
        failure.calls.push(format!("not seen: {why}"));
        return false;
    }
    let snapshot = SNAPSHOT.take();
    let expired = follower.expired();
    let spins = failure.symptom == Symptom::Spinning;
    // Its processor time is the tracer's now, so the check may not see the spin, and the calls show it.
    let snapshot_spins = spins && snapshot.as_ref().is_some_and(shows_a_spin);
    // The tracer stops it again and again: that it is stopped, or late, says nothing about the server.
    let no_result =
        matches!(&outcome, Outcome::Fail(other) if is_stopped_or_late(other) && !is_stopped_or_late(failure));
    let spins_all_the_same = spins && no_result && shows_a_spin(&follower.record());
    let same = match &outcome {
        _ if snapshot_spins || spins_all_the_same || expired && spins && (last || is_busy(&follower.record())) => true,
        _ if expired => {
            failure
                .calls
                .push(format!("run once more under a tracer, the check was not through after {} s", limit.as_secs()));
            false
        }
        _ if no_result => {
            failure.calls.push("run once more under a tracer, the check came to no result".into());
            false
        }
        Outcome::Fail(other) if other.symptom == failure.symptom => true,
        Outcome::Fail(other) => {
            failure.calls.push(format!(
                "run once more under a tracer, the check failed otherwise: {}: {}",
                other.symptom, other.what
            ));
            false
        }
        // Wrong bytes need a certain moment, and the use of a buffer that another one still has needs none.
        Outcome::Pass if failure.symptom == Symptom::WrongBytes => {
            let record = follower.record();
            let case = Case::new(failure.symptom, &record, None);
            if let Some(seen) = causes::seen(&case) {
                failure.calls.push("run once more under a tracer, the check passed, and the cause was seen".into());
                failure.cause = seen;
                return true;
            }
            failure.calls.push("run once more under a tracer, the check passed: the bug needs its own timing".into());
            false
        }
        Outcome::Pass => {
            failure.calls.push("run once more under a tracer, the check passed: the bug needs its own timing".into());
            false
        }
        Outcome::Skip { reason } => {
            failure.calls.push(format!("not seen: {reason}"));
            false
        }
    };
    if !same {
        return false;
    }
    // How it ended comes after what a client noticed of that.
    let whole = failure.symptom == Symptom::Exited || (expired || spins_all_the_same) && !snapshot_spins;
    let record = snapshot.filter(|_| !whole).unwrap_or_else(|| follower.record());
    let case = Case {
        has_others_bytes: culprit.is_some_and(|culprit| culprit.got_others_bytes),
        ..Case::new(failure.symptom, &record, culprit.map(|culprit| culprit.client.port()))
    };
    // Other bytes and other moments than those of the steps above.
    let whose = if of_connection(&case).is_some() { "on this connection" } else { "of the server" };
    failure.calls = vec![format!("{whose}, in a second run under a tracer:")];
    failure.calls.extend(shown(&case));
    failure.cause = causes::best(&case, &failure.cause);
    true
}

/// Whether all that this failure says is that the server is stopped, or did not listen in time.
fn is_stopped_or_late(failure: &Failure) -> bool {
    match failure.symptom {
        Symptom::Blocked => failure.what.contains(watch::STOPPED) || failure.cause.contains(diagnose::STOPPED),
        Symptom::Slow => failure.what.contains(server::OF_ITS_START),
        _ => false,
    }
}

/// A thread has made nearly as many calls as are kept.
fn is_busy(record: &Record) -> bool {
    const MANY: usize = 200;
    record.threads.values().any(|thread| thread.calls.len() > MANY)
}

/// A thread does one thing again and again, which explains a spin.
fn shows_a_spin(record: &Record) -> bool {
    is_busy(record) && causes::seen(&Case::new(Symptom::Spinning, record, None)).is_some()
}

/// The connection whose calls are shown: that of the client that noticed. A server that ended, or that sleeps in a call of
/// another connection, did so elsewhere.
fn of_connection<'a>(case: &Case<'a>) -> Option<&'a ConnectionCalls> {
    case.connection.filter(|_| !matches!(case.symptom, Symptom::Exited | Symptom::Blocked))
}

/// A line that the server writes for people.
fn is_said(made: &Made) -> bool {
    made.kind == Kind::Write && made.client.is_none() && matches!(made.fd, Some(1 | 2))
}

/// The server's calls without those that say nothing of what went wrong: its own words, and all the closes of an exit.
fn of_the_server<'a>(case: &Case<'a>) -> Vec<&'a Made> {
    let mut all: Vec<&Made> = case.record.in_order().into_iter().filter(|made| !is_said(made)).collect();
    if case.symptom == Symptom::Exited
        && let Some(wait) = all.iter().rposition(|made| made.kind.is_wait())
    {
        let wait = all[wait].at;
        let last = all.iter().rposition(|made| made.error().is_some()).map_or(0, |failed| all[failed].at);
        all.retain(|made| made.at <= wait.max(last) || made.kind != Kind::Close);
    }
    all
}

/// The calls on the connection that failed, if there is one; else those of the server's threads.
fn shown(case: &Case<'_>) -> Vec<String> {
    let connection = of_connection(case);
    let mut lines = match connection {
        Some(connection) => {
            let mut lines = made::lines(&connection.calls);
            if let Some(accepted) = &connection.accepted
                && connection.calls.front().is_some_and(|first| first.at != accepted.at)
            {
                // `count` has no waits, because a wait is a call on no connection.
                let all = match connection.count {
                    1 => "1 call".to_owned(),
                    count => format!("{count} calls"),
                };
                lines.insert(
                    0,
                    format!("{accepted}; {all} on this connection in all; the last of them, and of the waits:"),
                );
            }
            lines
        }
        None => made::lines(of_the_server(case)),
    };
    if lines.len() > SHOWN {
        let keep_first = usize::from(connection.is_some());
        lines.drain(keep_first..lines.len() - SHOWN + keep_first);
    }
    // The accept that it is about was made long before.
    if case.symptom == Symptom::AcceptQueueNotDrained
        && let Some(accept) =
            case.record.in_order().iter().rfind(|made| made.kind == Kind::Accept && made.value.is_some())
        && !lines.iter().any(|line| line.contains(&accept.to_string()))
    {
        lines.insert(0, format!("{accept}; after that, the last calls:"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_tracer_stops_or_delays_a_server_is_no_evidence() {
        let stopped = Failure::new(Symptom::Blocked, watch::STOPPED, "");
        assert!(is_stopped_or_late(&stopped));
        assert!(is_stopped_or_late(&Failure::new(
            Symptom::Blocked,
            "c0: nothing came",
            format!("{}.", diagnose::STOPPED)
        )));
        assert!(!is_stopped_or_late(&Failure::new(Symptom::Blocked, "c0: nothing came", "It sleeps in read.")));
        let late = "the server did not listen on port 7 within 5 s of its start";
        assert!(is_stopped_or_late(&Failure::new(Symptom::Slow, late, "")));
        assert!(!is_stopped_or_late(&Failure { symptom: Symptom::Slow, ..stopped }));
    }

    #[test]
    fn what_is_left_out_of_the_calls_is_said() {
        use observe::Mask;
        const CLIENT: u16 = 9;
        let mut record = Record::default();
        let accepted = Made { fd: Some(3), value: Some(7), client: Some(CLIENT), ..Made::new("accept4", Kind::Accept) };
        record.add(accepted);
        for _ in 0..20 {
            let wait = Made { value: Some(1), events: vec![(7, Mask::IN)], ..Made::new("poll", Kind::Poll) };
            record.add_event(CLIENT, &wait, (7, Mask::IN));
            record.add(wait);
        }
        let lines = shown(&Case::new(Symptom::Slow, &record, Some(CLIENT)));
        assert!(lines[0].ends_with("the last of them, and of the waits:"), "{lines:?}");
    }
}
