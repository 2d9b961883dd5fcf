//! Many clients at once: all of them write and read until each is done.
//!
//! Invariant: while one client waits, the others go on, and a stall counts only once none of them has moved.

use std::time::{Duration, Instant};

use observe::{Thread, queues};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::stall::{NAP, Stall};
use super::{BACKSTOP, CHUNK, Client};
use crate::failure::{Step, Stop};

/// Sends what every client plans and reads what comes back, all at once, until all is back.
pub fn echo_all(clients: &mut [Client]) -> Step {
    drive(clients, u64::MAX, |client| client.sent == client.planned && client.received == client.sent)
}

/// Hands `bytes` of each client to its socket, and reads nothing.
pub fn send_all(clients: &mut [Client], bytes: u64) -> Step {
    clients.iter_mut().try_for_each(|client| client.send_quietly(bytes))
}

/// Reads on every connection what is outstanding and then the server's FIN, on all at once.
pub fn expect_eof_all(clients: &mut [Client]) -> Step {
    drive(clients, u64::MAX, |client| client.eof)
}

/// Lets every client send without reading until the server takes no more: until their sockets are full and all is at
/// rest. Returns the bytes that were taken in all; stops at `limit` for each.
pub fn send_all_until_stuck(clients: &mut [Client], limit: u64) -> Step<u64> {
    let sent = |clients: &[Client]| clients.iter().map(|client| client.sent).sum::<u64>();
    let before = sent(clients);
    clients.iter_mut().for_each(|client| client.planned = client.sent + limit);
    let end = Instant::now() + BACKSTOP;
    let (mut quiet_since, mut seen) = (Instant::now(), None);
    // Since when every look has found it asleep and the queues as they are. It may have woken in between, by a tick.
    let mut dozing_since = Instant::now();
    while clients.iter().any(|client| client.sent < client.planned) && Instant::now() < end {
        let mut wrote = 0;
        for client in clients.iter_mut() {
            wrote += client.write_some(CHUNK)?;
        }
        if wrote > 0 {
            (quiet_since, dozing_since) = (Instant::now(), Instant::now());
            continue;
        }
        std::thread::sleep(Duration::from_millis(10));
        let threads = clients[0].process.and_then(|process| process.threads());
        let enough = match &threads {
            None => Duration::from_millis(400),
            // One that waits for a processor may yet take more; one that never sleeps is another check's business.
            Some(threads) if threads.iter().any(|thread| thread.state == 'R') => NAP,
            Some(_) => Duration::from_millis(60),
        };
        // The context switches of one that never sleeps tell nothing.
        let asleep = threads.filter(|threads| threads.iter().all(|thread| thread.state != 'R'));
        let now = (queues(clients[0].local, clients[0].server), asleep);
        let dozes = |before: &(Option<(u32, u32)>, Option<Vec<Thread>>)| before.0 == now.0 && now.1.is_some();
        if !seen.as_ref().is_some_and(dozes) {
            dozing_since = Instant::now();
        }
        if dozing_since.elapsed() > NAP {
            break;
        }
        if Some(&now) != seen.as_ref() {
            quiet_since = Instant::now();
            seen = Some(now);
        } else if quiet_since.elapsed() > enough {
            break;
        }
    }
    clients.iter_mut().for_each(|client| client.planned = client.sent);
    Ok(sent(clients) - before)
}

/// Moves bytes on all connections until each is `done`; never reads a connection beyond `most` bytes in all.
pub(super) fn drive(clients: &mut [Client], most: u64, done: impl Fn(&Client) -> bool) -> Step {
    let mut stall = Stall::new();
    let mut waiting: Vec<usize> = (0..clients.len()).filter(|i| !done(&clients[*i])).collect();
    while !waiting.is_empty() {
        let mut progress = false;
        for i in ready(clients, &waiting, Duration::from_millis(20))? {
            let client = &mut clients[i];
            let (sent, received) = (client.sent, client.received);
            let wrote = client.write_some(CHUNK);
            // Read even after a failed write: the reason may be on its way.
            client.read_some((most - client.received).min(CHUNK as u64) as usize)?;
            if client.eof && (client.received < client.sent || !done(client)) {
                return Err(client.truncated());
            }
            wrote?;
            progress |= client.sent > sent || client.received > received || client.eof;
        }
        waiting.retain(|i| !done(&clients[*i]));
        match (progress, waiting.first()) {
            (true, _) => stall = Stall::new(),
            (false, Some(first)) => stall.check(&clients[*first])?,
            (false, None) => {}
        }
    }
    Ok(())
}

impl Client {
    /// To wait for what it has still to send and, if it reads, for what comes.
    pub(crate) fn interest(&self, reads: bool) -> PollFd<'_> {
        let mut interest = if reads { PollFlags::IN } else { PollFlags::empty() };
        if self.sent < self.planned {
            interest |= PollFlags::OUT;
        }
        PollFd::new(&*self.socket, interest)
    }
}

/// Those of `waiting` that have something to read or room to write, after waiting for at most `patience`.
fn ready(clients: &[Client], waiting: &[usize], patience: Duration) -> Step<Vec<usize>> {
    let mut fds: Vec<_> = waiting.iter().map(|i| clients[*i].interest(true)).collect();
    let timeout = Timespec { tv_sec: patience.as_secs() as _, tv_nsec: patience.subsec_nanos() as _ };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(Stop::Broken(format!("poll of the clients: {error}"))),
    }
    Ok(waiting.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(i, _)| *i).collect())
}

/// Those that have something to read, or room for what they plan to send, after waiting for at most `patience`.
pub(crate) fn those_ready(clients: &[Client], patience: Duration) -> Step<Vec<usize>> {
    let all: Vec<usize> = (0..clients.len()).collect();
    ready(clients, &all, patience)
}
