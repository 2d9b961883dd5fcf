//! A server that makes no progress, watched until it is certain that none will come.
//!
//! Invariant: a verdict rests on states that two looks have found the same (asleep, queues as they were), never on time
//! alone; the deadlines are backstops.

use std::time::{Duration, Instant};

use observe::{Call, Family, Thread, View, Work, queues};

use super::{BACKSTOP, Client};
use crate::diagnose::{self, single};
use crate::failure::{Failure, Step, Stop, Symptom, size};

/// Without /proc nothing tells slow from stuck, so the backstop is all there is.
const BACKSTOP_UNSEEN: Duration = Duration::from_secs(8);
/// How long a server may sleep in a wait that could have a timeout before that counts as stuck.
pub(super) const NAP: Duration = Duration::from_secs(2);
/// The same for a server that wakes by itself now and then, and does nothing about the work at hand.
const DOZE: Duration = Duration::from_secs(3);
/// A server that works this long (in clock ticks of 10 ms) and moves no client's bytes is not slow: it spins.
const BUSY_TICKS: u64 = 200;

/// The server's threads, and the client's queues (unread, unacknowledged), where they can be seen.
type Look = (Vec<Thread>, Option<(u32, u32)>);

/// Watches a server that makes no progress, until it is certain that none will come.
pub(crate) struct Stall {
    since: Instant,
    before: Option<Look>,
    same_since: Instant,
    /// Since when every look has found it asleep, with the client's queues as they are. It may have woken in between.
    dozing_since: Instant,
    /// It was found at a backstop that something had come for the client while the server was looked at.
    reprieved: bool,
    /// CPU of the server at the first look.
    ticks: Option<u64>,
    /// And of each of its threads.
    work: Option<Work>,
}

impl Stall {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { since: now, before: None, same_since: now, dozing_since: now, reprieved: false, ticks: None, work: None }
    }

    pub(crate) fn check(&mut self, client: &Client) -> Step {
        let Some(process) = client.process else {
            return if self.since.elapsed() < BACKSTOP_UNSEEN { Ok(()) } else { Err(unseen(client)) };
        };
        let Some(threads) = process.threads() else {
            return if self.since.elapsed() < BACKSTOP_UNSEEN { Ok(()) } else { Err(unseen(client)) };
        };
        // Of a server with many processes, a child may end between two looks.
        if threads.iter().all(Thread::has_ended) {
            // `Trial` adds how it ended.
            let what = format!("the server ended while c{} waited for {}", client.id, awaited(client));
            return Err(client.failed(Symptom::Exited, what, String::new()));
        }
        let queues = || queues(client.local, client.server);
        let now = (threads, queues());
        let again = self.before.as_ref() == Some(&now);
        if !again {
            self.note(&now);
            let ticks = process.activity().map_or(0, |activity| activity.ticks);
            if self.work.is_none() {
                self.work = process.work();
            }
            let spun = ticks.saturating_sub(*self.ticks.get_or_insert(ticks)) > BUSY_TICKS;
            if spun || self.since.elapsed() >= BACKSTOP {
                if self.reprieve(client) {
                    return Ok(());
                }
                return Err(self.computes(client, process).unwrap_or_else(|| explain(client, process)));
            }
        }
        let (threads, own) = &now;
        // Nobody lets it go on while the harness waits for it.
        if threads.iter().all(Thread::is_stopped) && self.same_since.elapsed() >= NAP {
            return Err(explain(client, process));
        }
        let endless = threads.iter().all(|thread| thread.call.as_ref().is_some_and(Call::is_endless));
        let enough = if endless { Duration::from_millis(100) } else { NAP };
        if self.since.elapsed() < enough {
            return Ok(());
        }
        // Before the view, which takes its time. By two looks, between which the client has tried to read: where the
        // processor is short, a single one can last as long.
        let long = again && self.same_since.elapsed() >= enough || self.dozing_since.elapsed() >= DOZE;
        // Bytes on their way to the client are the kernel's business, not the server's.
        let view = process.view(client.server.port());
        let under_way =
            view.as_ref().and_then(|view| view.connection(client.local)).is_some_and(|socket| socket.tx > 0);
        let not_delivered = own.is_some_and(|(_, unacknowledged)| unacknowledged > 0)
            && view.as_ref().and_then(|view| view.connection(client.local)).is_none_or(|socket| socket.rx == 0);
        let stuck = long && asleep(threads) && !under_way && !not_delivered;
        // A timerfd ends the wait as a timeout does, and no timeout is to be seen (asio, for one).
        let due = stuck
            && endless
            && process.has_armed_timer()
            && self.same_since.elapsed() < NAP
            && self.dozing_since.elapsed() < DOZE;
        let stuck = stuck && !due;
        // The view is not of one moment: bytes may have arrived, and woken the server, between two of its parts.
        let certain = stuck && process.threads().is_some_and(|threads| (threads, queues()) == now);
        match view {
            // What was judged is what is shown: a moment later a late packet may have changed it.
            Some(view) if certain => Err(explain_view(client, &view)),
            _ if self.since.elapsed() >= BACKSTOP && !self.reprieve(client) => match under_way && asleep(threads) {
                // A connection with small buffers may take minutes for what a zero-copy send has left (Linux 6.18).
                true => Err(Stop::skip(format!(
                    "after {} s bytes for c{} are still in the server's socket, and the server sleeps: the kernel delivers \
                     them slowly, or not at all",
                    BACKSTOP.as_secs(),
                    client.id
                ))),
                false => Err(explain(client, process)),
            },
            _ => Ok(()),
        }
    }

    /// To look at a server of a thousand threads takes seconds on a busy machine, and the client reads nothing meanwhile.
    /// What has come for it by then is progress. That counts once: some clients leave unread what comes.
    fn reprieve(&mut self, client: &Client) -> bool {
        let has_come = queues(client.local, client.server).is_some_and(|(unread, _)| unread > 0);
        let reprieved = has_come && !self.reprieved;
        if reprieved {
            *self = Self { reprieved, ..Self::new() };
        }
        reprieved
    }

    /// A server whose own code has looped since the first look.
    fn computes(&self, client: &Client, process: Family) -> Option<Stop> {
        let computing = process.work()?.computing_since(self.work.as_ref()?)?;
        client.log.blame(client.local);
        Some(diagnose::computes(&process.view(client.server.port())?, computing, stall_text(client)))
    }

    /// Remembers a look that differs from the one before.
    fn note(&mut self, now: &Look) {
        let dozes = |before: &Look| before.1 == now.1 && asleep(&before.0) && asleep(&now.0);
        self.same_since = Instant::now();
        if !self.before.as_ref().is_some_and(dozes) {
            self.dozing_since = self.same_since;
        }
        self.before = Some(now.clone());
    }
}

fn asleep(threads: &[Thread]) -> bool {
    threads.iter().all(|thread| thread.state == 'S')
}

fn awaited(client: &Client) -> String {
    match client.planned.max(client.sent) - client.received {
        0 => "FIN".into(),
        missing => size(missing),
    }
}

fn stall_text(client: &Client) -> String {
    if client.received == client.sent && client.half_closed {
        return format!(
            "c{} sent FIN, has all its {} back, and the server does not finish",
            client.id,
            size(client.sent)
        );
    }
    format!("c{} sent {} and got {} back", client.id, size(client.sent), size(client.received))
}

fn unseen(client: &Client) -> Stop {
    let what = format!("{}; nothing more came for {} s", stall_text(client), BACKSTOP_UNSEEN.as_secs());
    client.failed(
        Symptom::Slow,
        what,
        "The server's state cannot be seen from here (no /proc, or not started by the harness).".into(),
    )
}

fn explain(client: &Client, process: Family) -> Stop {
    explain_view(client, &process.view(client.server.port()).unwrap_or_default())
}

fn explain_view(client: &Client, view: &View) -> Stop {
    client.log.blame(client.local);
    let mut diagnosis = diagnose::stalled(view, &client.facts());
    let name = |port: u16| client.log.name(port).unwrap_or_else(|| format!("the client at port {port}"));
    let one_at_a_time = single::one_at_a_time(view, client.local, &name);
    let is_fundamental = one_at_a_time.is_some();
    if let Some(cause) = one_at_a_time {
        (diagnosis.symptom, diagnosis.cause) = (Symptom::Blocked, cause);
    }
    let failure = Failure::new(diagnosis.symptom, stall_text(client), diagnosis.cause);
    Stop::Fail(Box::new(Failure { kernel: diagnosis.kernel, is_fundamental, ..failure }))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;
    use crate::client::ConnectOptions;
    use crate::steps::Log;

    #[test]
    fn what_has_come_for_the_client_is_progress_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = Client::connect(0, server, ConnectOptions::default(), None, BACKSTOP, Log::default())
            .unwrap_or_else(|_| panic!("connect to {server}"));
        let (mut accepted, _) = listener.accept().unwrap();
        let mut stall = Stall::new();
        stall.ticks = Some(7);
        assert!(!stall.reprieve(&client), "nothing has come");

        accepted.write_all(b"x").unwrap();
        while queues(client.local, server).is_none_or(|(unread, _)| unread == 0) {}
        assert!(stall.reprieve(&client));
        assert!(stall.ticks.is_none(), "the watch begins anew");
        // The client has left it unread.
        assert!(!stall.reprieve(&client));
    }
}
