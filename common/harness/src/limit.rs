//! A server that takes only so many clients at once, by its own choice.
//!
//! Invariant: such a limit is a policy only if the server serves those inside meanwhile, sleeps, and takes as many again once
//! they have left. One that does not take them again has a bug, and that is what is said of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::client::{Client, ConnectOptions, echo_all};
use crate::facts;
use crate::failure::{Failure, Step, Stop, Symptom};
use crate::subject::{Launch, Subject};
use crate::trial::{Trial, raise_fd_limit};

/// So many threads or processes may wait for one client each without being a server that serves one after the other.
const POOL: usize = 8;
/// With a limit of descriptors above this, no check brings a server near it.
const SCARCE: u64 = 4096;

/// What came of clients that connected one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// All of them were served.
    None,
    /// So many were, and so many again once they had left.
    Policy(u32),
    /// Fewer were served again after those inside had left.
    Kept(Kept),
}

/// A limit that is not lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Served at first.
    pub first: u32,
    /// Served after those had left.
    pub again: u32,
    /// How they left.
    by: &'static str,
    /// Those beyond the limit are closed, and do not wait in the accept queue.
    turned_away: bool,
    /// Whether a thread waits for the listener, in the end, if that could be seen.
    is_watched: Option<bool>,
}

/// What was found out about a command: with how many clients it was tried, and the limit.
type Known = Arc<Mutex<(usize, Limit)>>;
static KNOWN: Mutex<BTreeMap<Vec<String>, Known>> = Mutex::new(BTreeMap::new());

/// Whether the server has a limit below `most` clients. It is started anew for this, unless it is known already.
pub fn of(subject: &Subject, most: usize) -> Limit {
    let Launch::Command(argv) = &subject.launch else { return Limit::None };
    let known =
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).entry(argv.clone()).or_insert_with(unknown).clone();
    // Held meanwhile: who asks for the same has to wait anyway.
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.0 < most && known.1 == Limit::None {
        // A server that does anything else wrong has no limit that could be told.
        *known = (most, find(&mut Trial::new(subject), most).unwrap_or(Limit::None));
        if let Limit::Policy(max) = known.1 {
            let name = &subject.name;
            crate::notes::note(&format!(
                "{name}: takes {max} clients at once; the checks stay below that, as with --max-clients {max}"
            ));
        }
    }
    known.1
}

fn unknown() -> Known {
    Arc::new(Mutex::new((0, Limit::None)))
}

/// Lets up to `most` clients connect one by one, until one is not served; then those inside leave, and others come.
///
/// # Errors
/// If the server does something that is no limit of connections.
pub fn find(trial: &mut Trial<'_>, most: usize) -> Step<Limit> {
    trial.step(format!("up to {most} clients connect one by one, and each sends 1 byte and reads it back"));
    let (mut inside, Some((outside, stop))) = enter(trial, most)? else { return Ok(Limit::None) };
    let turned_away = matches!(&stop, Stop::Fail(it) if matches!(it.symptom, Symptom::Reset | Symptom::Truncated));
    if !is_by_choice(trial, &mut inside, outside.as_ref().filter(|_| !turned_away))? {
        return Err(stop);
    }
    let first = inside.len();
    trial.step(format!("{first} are served and c{first} is not"));
    let kept = |trial: &mut Trial<'_>, again: usize, by| {
        let is_watched = listener_is_watched(trial);
        Ok(Limit::Kept(Kept { first: first as u32, again: again as u32, by, turned_away, is_watched }))
    };
    if let Some(mut outside) = outside.filter(|_| !turned_away) {
        // No connect before the verdict: it would bring an event. Some servers go on only when half of them have left.
        trial.step("half of them close");
        inside.truncate(first / 2);
        if echo_all(std::slice::from_mut(&mut outside)).is_err() {
            trial.step("all of them close");
            inside.clear();
            if echo_all(std::slice::from_mut(&mut outside)).is_err() {
                return kept(trial, 0, "FIN");
            }
        }
    }
    drop(inside);
    for (by, leave) in [("FIN", drop as fn(Client)), ("reset", Client::reset_quietly)] {
        trial.await_ends()?;
        trial.rest()?;
        let (again, _) = enter(trial, first)?;
        let served = again.len();
        trial.step(format!("{served} clients are served again, which leave by {by}"));
        again.into_iter().for_each(leave);
        if served < first {
            return kept(trial, served, "FIN");
        }
    }
    trial.await_ends()?;
    trial.rest()?;
    let (again, _) = enter(trial, first)?;
    if again.len() < first { kept(trial, again.len(), "reset") } else { Ok(Limit::Policy(first as u32)) }
}

/// Whether a thread waits for the listener. Of several, and of a completion's operations, that says nothing.
fn listener_is_watched(trial: &mut Trial<'_>) -> Option<bool> {
    let port = trial.server().ok()?.addr.port();
    let view = trial.process().ok()?.view(port).filter(|view| view.rings().next().is_none())?;
    let mut listeners = view.sockets.iter().filter(|socket| socket.listening);
    let (listener, None) = (listeners.next()?, listeners.next()) else { return None };
    Some(facts::is_waited_for(&view, listener))
}

/// Those of up to `most` clients that are served, one after the other; and the first that is not, with what was seen.
#[expect(clippy::type_complexity, reason = "the parts are named where they are taken")]
fn enter(trial: &mut Trial<'_>, most: usize) -> Step<(Vec<Client>, Option<(Option<Client>, Stop)>)> {
    let mut inside = Vec::new();
    while inside.len() < most {
        let mut client = match trial.connect_beyond(ConnectOptions::default()) {
            Ok(client) => client,
            Err(stop @ Stop::Fail(_)) => return Ok((inside, Some((None, stop)))),
            Err(stop) => return Err(stop),
        };
        client.plan(1);
        match echo_all(std::slice::from_mut(&mut client)) {
            Ok(()) => inside.push(client),
            Err(stop @ Stop::Fail(_)) => return Ok((inside, Some((Some(client), stop)))),
            Err(stop) => return Err(stop),
        }
    }
    Ok((inside, None))
}

/// Whether the server serves those inside, and leaves the one outside alone on purpose.
fn is_by_choice(trial: &mut Trial<'_>, inside: &mut [Client], waiting: Option<&Client>) -> Step<bool> {
    if inside.len() < 2 || trial.server()?.exit_status().is_some() {
        return Ok(false);
    }
    trial.echo_all(inside, 1)?;
    let Some(waiting) = waiting else { return Ok(true) };
    let port = trial.server()?.addr.port();
    let view = trial.process()?.view(port);
    // Of several listening sockets (SO_REUSEPORT) it waits at one that is left alone: that says nothing of a number.
    if view.as_ref().is_some_and(|view| view.sockets.iter().filter(|socket| socket.listening).count() > 1) {
        return Ok(false);
    }
    let at_the_door = |view: &observe::View| view.connection(waiting.local).is_some_and(|socket| !socket.held);
    // A loop that has taken its listener out of the wait sleeps there all the same. Threads and processes that wait for a
    // client each are a pool, if they are many.
    let by_choice = view.is_some_and(|view| view.wait().is_some() && at_the_door(&view));
    Ok(by_choice || inside.len() >= POOL)
}

impl Kept {
    /// That of a client beyond the limit.
    pub fn symptom(&self) -> Symptom {
        if self.turned_away { Symptom::Refused } else { Symptom::AcceptQueueNotDrained }
    }

    /// As a failure.
    pub fn failure(&self) -> Failure {
        let Self { first, again, by, turned_away, .. } = *self;
        let what = match turned_away {
            true => format!(
                "the server served {first} clients at once and closed others; after these had left by {by}, it \
                             served {again}"
            ),
            false => format!(
                "the server served {first} clients at once and let others wait; after these had left by {by}, \
                              it served {again}"
            ),
        };
        Failure::new(self.symptom(), what, self.cause())
    }

    /// What that means.
    pub fn cause(&self) -> String {
        let limit = format!("It has a limit of {} clients at once, and its limit is not lifted", self.first);
        // Clients that left by FIN have been tried before.
        if self.by == "reset" {
            return format!(
                "{limit}: a client that leaves by FIN gives its place back, and one that leaves by reset does not. Count a \
                 client out wherever its connection ends: at a read or a write that fails (ECONNRESET), at ERR and HUP."
            );
        }
        let uncounted = format!("a client that left by {} was not counted out", self.by);
        match self.is_watched.filter(|_| !self.turned_away) {
            Some(false) => format!(
                "{limit}: nobody waits for the listener any more, although all have left. It was not put back into the wait, \
                 or {uncounted}, so that the server takes itself for full."
            ),
            _ => format!(
                "{limit}: {uncounted}, or the listener was not put back into the wait, or nobody called accept for those \
                 that waited already."
            ),
        }
    }
}

/// Why the server had too few descriptors for so many clients on this machine, if it had.
pub fn lacks_descriptors(subject: &Subject, clients: usize) -> Option<String> {
    let limit = raise_fd_limit();
    if limit > SCARCE {
        return None;
    }
    let mut trial = Trial::new(subject);
    let base = most_descriptors(&mut trial)?;
    let mut two = trial.connect_many(2).ok()?;
    trial.echo_all(&mut two, 1).ok()?;
    let each = most_descriptors(&mut trial)?.saturating_sub(base).div_ceil(2);
    (base + each * clients >= limit as usize).then(|| {
        format!(
            "needs {clients} clients at once; the server has {base} descriptors open and {each} for each client, and the hard \
             limit is {limit} (ulimit -Hn)"
        )
    })
}

/// The descriptors of the process of the server that has the most.
fn most_descriptors(trial: &mut Trial<'_>) -> Option<usize> {
    trial.probe().ok()?;
    trial.rest().ok()?;
    let processes = trial.process().ok()?.processes()?;
    processes.into_iter().filter_map(|process| process.fds()).map(|fds| fds.len()).max()
}
