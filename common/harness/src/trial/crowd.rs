//! How many clients there may be at once: as many as the accept queue takes, and as the server has room for.
//!
//! Invariant: a full queue, or a limit of connections that the server has by its own choice, is no closed listener. A check
//! stays below both, with fewer clients or not at all, and says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Trial;
use crate::client::{Client, ConnectOptions};
use crate::failure::{Step, Stop};

/// A server with work at hand accepts what waits within this time. If it does not, a client waits as clients do: its SYN is
/// sent again after a second.
const PATIENCE: Duration = Duration::from_secs(1);
/// No check opens so many at once to a server of somebody else.
const LONG: u32 = 1024;
/// What every server here is told: the contract's default.
const OWN_BACKLOG: u32 = 4096;

/// The clients that are connected.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Each client has a copy of it.
    token: Arc<()>,
    /// The largest number at once so far.
    peak: usize,
    /// Those connected when the server last rested: it knew then who had left.
    at_rest: usize,
    /// Those connected since.
    since: usize,
    /// The length of the accept queue.
    queue: Option<u32>,
}

impl Crowd {
    /// Clients that are connected now.
    fn live(&self) -> usize {
        Arc::strong_count(&self.token) - 1
    }

    /// The largest number at once so far.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// What the next client keeps as long as it is connected.
    pub(super) fn enter(&mut self) -> Arc<()> {
        let token = self.token.clone();
        self.since += 1;
        self.peak = self.peak.max(self.live());
        token
    }
}

impl Trial<'_> {
    /// How many of `count` clients may connect now, at once; the check is skipped where these are fewer than `least`, with
    /// which it would show nothing.
    pub fn up_to(&mut self, count: u32, least: u32) -> Step<u32> {
        self.server()?;
        let room = self.room()?;
        match room {
            Some((room, why)) if room < least => {
                Err(Stop::skip(format!("needs {least} clients at once and can have {room}: {why}")))
            }
            Some((room, why)) if room < count => {
                self.log.step(format!("{room} clients instead of {count}: {why}"));
                Ok(room)
            }
            _ => Ok(count),
        }
    }

    /// How many of `wanted` clients the harness and the server may have at once, in a server that is one loop. A server
    /// of somebody else gets more than 900 only where it is seen not to be select, which has 1,024 descriptors, and to need
    /// no thread or process for each.
    pub fn many_at_once(&mut self, wanted: u32) -> Step<u32> {
        const FEW: u32 = 900;
        let declared = self.subject.fd_limit.is_some_and(|limit| u64::from(wanted) + 64 >= limit);
        let is_loop = self.subject.own || wanted > FEW && self.is_one_loop()?;
        if is_loop && !declared && self.needs_fds(wanted.into()).is_ok() {
            return Ok(wanted);
        }
        self.needs_fds(FEW.into()).map(|()| wanted.min(FEW))
    }

    /// Whether clients cost the server no threads and no processes, and none of its waits is select.
    fn is_one_loop(&mut self) -> Step<bool> {
        let process = self.process()?;
        self.rest()?;
        let before = process.threads().map_or(0, |threads| threads.len());
        let mut clients = self.connect_many(8)?;
        self.echo_all(&mut clients, 1)?;
        self.rest()?;
        let threads = process.threads().unwrap_or_default();
        let selects = |thread: &observe::Thread| thread.call.is_some_and(|call| call.kind == observe::Kind::Select);
        Ok(threads.len() < before + clients.len() / 2 && !threads.iter().any(selects))
    }

    /// The clients that may connect now, and what limits them.
    fn room(&mut self) -> Step<Option<(u32, String)>> {
        let live = self.crowd.live();
        let by_limit = self.subject.max_clients.map(|max| {
            let why = format!("the server takes {max} clients at once, and {live} are connected");
            (max.saturating_sub(live as u32), why)
        });
        let by_queue = if self.frozen { self.room_in_queue()? } else { None };
        Ok([by_limit, by_queue].into_iter().flatten().min_by_key(|(room, _)| *room))
    }

    /// The clients that the accept queue still takes while nobody accepts.
    fn room_in_queue(&mut self) -> Step<Option<(u32, String)>> {
        let address = self.server()?.addr;
        let Some((waiting, length)) = observe::accept_queue(address) else { return Ok(None) };
        let why = format!("its accept queue (listen's backlog) takes {length}, and {waiting} wait there already");
        // Linux takes one more than it was told, so that this many never meet a full queue.
        Ok(Some((length.max(1).saturating_sub(waiting), why)))
    }

    /// Connects as many of `count` clients as the server and its accept queue take, whether or not it accepts them.
    pub fn connect_until_full(&mut self, count: u32) -> Step<Vec<Client>> {
        self.server()?;
        self.log.step(format!("up to {count} clients connect, as many as the accept queue takes"));
        let mut clients = Vec::new();
        for _ in 0..count {
            if self.is_full()? {
                self.rest()?;
                if self.is_full()? {
                    break;
                }
            }
            clients.push(self.connect_quietly(ConnectOptions::default())?);
        }
        Ok(clients)
    }

    /// Whether the accept queue takes no more clients.
    pub(crate) fn is_full(&mut self) -> Step<bool> {
        Ok(self.room_in_queue()?.is_some_and(|(room, _)| room == 0))
    }

    /// Before a connect: the server gets time to accept those that wait, and to learn who has left.
    pub(super) fn make_room(&mut self) -> Step {
        if let Some(max) = self.subject.max_clients {
            self.stay_below(max as usize)?;
        }
        if self.frozen {
            return Ok(());
        }
        if self.crowd.queue.is_none() {
            let address = self.server()?.addr;
            // Where it cannot be seen, nothing is waited for.
            self.crowd.queue = Some(observe::accept_queue(address).map_or(LONG, |(_, length)| length));
        }
        let end = Instant::now() + PATIENCE;
        while self.crowd.queue.is_some_and(|length| length < LONG) && self.is_full()? && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn stay_below(&mut self, max: usize) -> Step {
        let live = self.crowd.live();
        if self.crowd.at_rest + self.crowd.since < max {
            return Ok(());
        }
        if live < max && !self.frozen {
            // Those that have left may count until the server knows.
            self.await_ends()?;
            self.rest()?;
            (self.crowd.at_rest, self.crowd.since) = (live, 0);
            return Ok(());
        }
        Err(Stop::skip(format!("needs more than {max} clients at once, and the server takes {max}")))
    }

    /// A client of `count` could not connect while the server is stopped.
    pub(super) fn does_not_fit(&mut self, count: u32) -> Step<Option<Stop>> {
        let Some((room, why)) = self.room()? else { return Ok(None) };
        if room >= count || self.subject.own && self.is_of_its_own_making()? {
            return Ok(None);
        }
        Ok(Some(Stop::skip(format!("needs {count} clients at once and can have {room}: {why}"))))
    }

    /// Whether the server has a shorter queue than it was told to have, and than the machine allows.
    fn is_of_its_own_making(&mut self) -> Step<bool> {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        let allowed = allowed.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(OWN_BACKLOG);
        let address = self.server()?.addr;
        Ok(observe::accept_queue(address).is_some_and(|(_, length)| length < allowed.min(OWN_BACKLOG)))
    }
}
