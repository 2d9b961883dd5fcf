//! A client that rests for seconds while bytes are owed to it, beside one that has nothing to say.
//!
//! Invariant: time is spent only where the server itself has begun to measure it: a wait that ends by itself, a timer,
//! a timeout of the socket. A server without any of them cannot do anything about a client that rests.

use std::time::{Duration, Instant};

use super::Trial;
use crate::client::{Client, ConnectOptions};
use crate::failure::{Step, Stop, Symptom, size};

/// As long as a client rests that is watched for: longer than the timeouts of some seconds that servers have.
const REST: Duration = Duration::from_secs(10);
/// A wait that ends later than that is not sat out.
const LONGEST: Duration = Duration::from_secs(16);

const THROWN_OUT: &str = "The server ends a connection whose client has not read for some seconds. A client that rests is no \
                          error: what is owed to it is bounded, so let it wait (contract, clause 5).";

impl Trial<'_> {
    /// A client is stuck with bytes owed to it and another one is silent, for as long as the server may have set
    /// itself, or for ten seconds if `always`; then both are served.
    pub fn rest_while_owed(&mut self, always: bool) -> Step {
        let unprovoked = self.clocks(&[])?;
        let mut silent = self.connect()?;
        silent.echo(1)?;
        let mut stuck = [self.connect_with(ConnectOptions::NARROW)?];
        stuck[0].echo(1)?;
        self.fill_up_to(&mut stuck, 1 << 20)?;
        let clocks = self.clocks(&stuck)?;
        // A thread that naps does so for reasons of its own; a wait that ends may be about this client.
        let concerns = |clock: &&Clock| clock.ends.is_some() || !unprovoked.contains(clock);
        let new: Vec<String> = clocks.iter().filter(concerns).map(|clock| clock.what.clone()).collect();
        let reason = if always { "as was asked for".to_owned() } else { new.join(", ") };
        if always || !new.is_empty() {
            let ends = clocks.iter().filter_map(|clock| clock.ends).max().unwrap_or_default();
            self.sit_out(&stuck[0], REST.max(ends + Duration::from_secs(1)).min(LONGEST), &reason)?;
        }
        let [stuck] = &mut stuck;
        self.read_at_last(stuck, &reason)?;
        self.read_at_last(&mut silent, &reason)
    }

    fn read_at_last(&mut self, client: &mut Client, reason: &str) -> Step {
        client.expect_echo().and_then(|()| client.echo(100)).map_err(|stop| match stop {
            Stop::Fail(failure) if matches!(failure.symptom, Symptom::Reset | Symptom::Truncated) => {
                Stop::Fail(failure).because(format!("{THROWN_OUT} Seen while it rested: {reason}."))
            }
            other => other,
        })
    }

    /// Waits for `time`, or until the server gives the connection up.
    fn sit_out(&mut self, client: &Client, time: Duration, reason: &str) -> Step {
        self.log.step(format!("c{} rests for {} s: {reason}", client.id, time.as_secs()));
        let start = Instant::now();
        while start.elapsed() < time {
            std::thread::sleep(Duration::from_millis(100));
            let (port, ended) = (self.server()?.addr.port(), self.server()?.exit_status().is_some());
            let view = self.server()?.process.and_then(|process| process.view(port));
            let held = view.is_none_or(|view| view.connection(client.local).is_some_and(|socket| socket.held));
            if ended || !held {
                let (owed, after) = (size(client.outstanding()), start.elapsed().as_secs_f64());
                self.log.step(format!("after {after:.1} s the server gives the connection up, with {owed} owed"));
                break;
            }
        }
        Ok(())
    }
}

/// Something by which the server measures time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Clock {
    what: String,
    /// When it ends, where that can be seen.
    ends: Option<Duration>,
}

#[cfg(target_os = "linux")]
mod here {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use observe::decode::{Patience, patience};
    use observe::{Call, Handle, Kind, Process, Thread};

    use super::Clock;
    use crate::client::Client;
    use crate::failure::Step;
    use crate::trial::Trial;

    impl Trial<'_> {
        /// What measures time in the server while it is at rest: the same in each of several looks.
        pub(super) fn clocks(&mut self, clients: &[Client]) -> Step<BTreeSet<Clock>> {
            self.rest()?;
            let process = self.process()?;
            let port = self.server()?.addr.port();
            let mut clocks = BTreeSet::new();
            for process in process.processes().unwrap_or_default() {
                clocks.extend(process.threads().iter().filter_map(|thread| of_thread(process, thread)));
                let timer = process.has_armed_timer().then(|| "a timerfd is armed".to_owned());
                clocks.extend(timer.map(|what| Clock { what, ends: None }));
            }
            let view = process.view(port).unwrap_or_default();
            let holders = clients.iter().filter_map(|client| view.connection(client.local)?.holder());
            for holder in holders {
                let borrowed = Handle::open(holder.pid).ok().and_then(|handle| handle.borrow(holder.fd));
                clocks.extend(borrowed.iter().flat_map(of_socket));
            }
            Ok(clocks)
        }
    }

    fn of_thread(process: Process, thread: &Thread) -> Option<Clock> {
        let call = thread.call.as_ref().filter(|_| thread.state == 'S')?;
        let ends = match call.kind {
            Kind::UringEnter => of_ring(process, call)?,
            Kind::EpollWait | Kind::Poll | Kind::Select => match patience(process, call) {
                Patience::Until(time) => time,
                _ => return None,
            },
            _ if call.name.ends_with("nanosleep") => {
                return Some(Clock { what: format!("{} ends", call.name), ends: None });
            }
            _ => return None,
        };
        Some(Clock { what: format!("{} has a timeout", call.name), ends: Some(ends) })
    }

    fn of_ring(process: Process, call: &Call) -> Option<Duration> {
        // The address of the timespec stands at 16.
        let at = u64::from_le_bytes(process.word(call.uring_argument()? + 16));
        (at != 0).then(|| Duration::from_secs(u64::from_le_bytes(process.word(at))))
    }

    /// Timeouts of the socket that concern a client which does not read.
    fn of_socket(socket: &std::os::fd::OwnedFd) -> Vec<Clock> {
        let socket = socket2::SockRef::from(socket);
        let send = socket.write_timeout().ok().flatten().map(|ends| ("SO_SNDTIMEO is set", ends));
        let user = socket.tcp_user_timeout().ok().flatten().filter(|ends| !ends.is_zero());
        let user = user.map(|ends| ("TCP_USER_TIMEOUT is set", ends));
        let clock = |(what, ends): (&str, Duration)| Clock { what: what.to_owned(), ends: Some(ends) };
        send.into_iter().chain(user).map(clock).collect()
    }
}

#[cfg(not(target_os = "linux"))]
impl Trial<'_> {
    fn clocks(&mut self, _clients: &[Client]) -> Step<std::collections::BTreeSet<Clock>> {
        self.rest().map(|()| Default::default())
    }
}
