//! One client's flood must not stop the others: they wait for a bounded amount of its work, however much it sends.
//!
//! Invariant: fairness is measured in bytes of the flood, never in time. The server runs only while the clients sleep
//! (see `Lockstep`), so the clients see each of its steps, and no flood runs dry because a client was slow. Each round
//! looks for the quiet client's answer before it moves the flood on, so a delay of the harness never counts against the
//! server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness_macros::check;
use observe::Thread;
use observe::view::{Epoll, Holder};

use crate::client::{Client, ConnectOptions, echo_all, size, those_ready};
use crate::failure::{Step, Stop, Symptom};
use crate::subject::Model;
use crate::trial::Trial;
use crate::turns::{Counter, Most};

const TURN: usize = 64 * 1024;
/// Round trips of a quiet client among floods. One round trip proves little on a busy machine: when the kernel delivers
/// packets late, or runs the server before the clients, an unfair server reaches the end of a flood and looks fair.
const ROUND_TRIPS: u32 = 32;
/// How long bytes may be in flight.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a flood may last.
const LONGEST: Duration = Duration::from_secs(60);
const UNFAIR: &str = "Each connection's turn has to end while there is more to read: after a few reads go on to the next. A \
                      level is reported again by the next wait; under edge triggering keep a list of those not drained.";

const PASSED_OVER: &str = "If a turn serves a part of those that are ready, the next turn has to go on where this one ended: a \
                           scan that always begins with the first passes the last over. A receive that found no buffer (ENOBUFS) \
                           has to come first in the next turn.";

const ONE_OF_MANY: &str = "Several workers are of use if a client that comes while one of them is busy is served by another: each \
                           has to run, and to wait for the listener.";

const SLEEPS: &str = "Nothing but the wait may block: while the event loop sleeps for one connection, it serves none. Wait for the \
                      event that this connection needs, and serve the others meanwhile.";

fn times(count: u32) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

/// A flood: the bytes that each of its clients has in flight, and how many may come back before a quiet client is
/// answered.
struct Flood {
    window: u64,
    bound: u64,
    cause: &'static str,
}

/// More than the sockets hold. Measured for a new client, which needs two turns: the servers here echo 0.1 to 2 MiB
/// before they answer it. Node echoes 9 MiB: its libuv reads up to 2 MiB of each client in a turn, and is fair.
const ENDLESS: Flood = Flood { window: 8 << 20, bound: 48 << 20, cause: UNFAIR };
/// Fifty clients with 16 KiB each make 800 KiB in a turn of one read, and 3 MiB in a turn of four reads.
const PIPELINED: Flood = Flood { window: 16 << 10, bound: 16 << 20, cause: UNFAIR };
/// 600 clients with 8 KiB each make 5 MiB in a turn; each needs a buffer of its own if buffers come from a pool.
const CROWDED: Flood = Flood { window: 8 << 10, bound: 64 << 20, cause: PASSED_OVER };
/// tokio lets a task read and write 64 times in a turn: fifty clients that refill meanwhile make 50 MiB, and it is fair.
const OF_OTHERS: u64 = 64 << 20;

/// Connections that only the server slows down, in either direction.
fn connect(trial: &mut Trial<'_>, count: u32) -> Step<Vec<Client>> {
    trial.process()?.unpace();
    trial.connect_many_with(count, ConnectOptions::UNPACED)
}

/// Four connections that never run dry, and one byte on a fifth: the flood's bytes until its echo are bounded.
#[check(clause = 8, quick)]
fn four_clients_that_flood_do_not_keep_a_fifth_waiting(trial: &mut Trial<'_>) -> Step {
    let clients = connect(trial, 5)?;
    among(trial, clients, &ENDLESS, ROUND_TRIPS)
}

/// As before, and the fifth connects while the others flood.
#[check(clause = 8)]
fn four_clients_that_flood_do_not_keep_a_new_one_waiting(trial: &mut Trial<'_>) -> Step {
    let mut clients = connect(trial, 4)?;
    trial.echo_all(&mut clients, 1)?;
    trial.freeze()?;
    begin(trial, &mut clients, &ENDLESS)?;
    let mut new = trial.connect()?;
    new.send(1)?;
    clients.push(new);
    until_answered(trial, &mut clients, &ENDLESS, 1)
}

/// All clients but the last flood the server; the last sends one byte.
fn among(trial: &mut Trial<'_>, mut clients: Vec<Client>, flood: &Flood, round_trips: u32) -> Step {
    trial.echo_all(&mut clients, 1)?;
    trial.freeze()?;
    let quiet = clients.len() - 1;
    begin(trial, &mut clients[..quiet], flood)?;
    clients[quiet].send(1)?;
    until_answered(trial, &mut clients, flood, round_trips)
}

/// 50 connections with 16 KiB under way each, refilled as soon as they are echoed, and one byte on another.
#[check(clause = 8)]
fn fifty_clients_that_pipeline_do_not_keep_another_waiting(trial: &mut Trial<'_>) -> Step {
    let clients = connect(trial, 51)?;
    let bound = if trial.subject.own { PIPELINED.bound } else { OF_OTHERS };
    among(trial, clients, &Flood { bound, ..PIPELINED }, ROUND_TRIPS)
}

/// 600 connections that never run dry, more than a pool has buffers or a turn has places, and one byte on another.
#[check(clause = 8)]
fn hundreds_of_clients_that_flood_do_not_keep_another_waiting(trial: &mut Trial<'_>) -> Step {
    // A turn that ends after 64 of them begins with the same 64 the next time, or it goes on where it was.
    let count = trial.up_to(600, 150)?;
    let clients = connect(trial, count)?;
    among(trial, clients, &CROWDED, 8)
}

/// 300 clients, or more for a server of several threads, connect and send a byte in one wake: a client that was connected
/// before must not wait for all of them.
#[check(clause = 8)]
fn a_burst_of_connects_does_not_keep_a_connected_client_waiting(trial: &mut Trial<'_>) -> Step {
    // On a busy machine the server may run ahead of its clients. Another attempt may show more.
    const ATTEMPTS: u32 = 4;
    let mut unclear = String::new();
    for _ in 0..ATTEMPTS {
        match burst(trial)? {
            Burst::Fair => return Ok(()),
            Burst::OfTooFew(why) => return Err(Stop::skip(why)),
            Burst::Unclear(why) => unclear = why,
        }
        trial.await_ends()?;
    }
    Err(Stop::skip(unclear))
}

/// What a burst of connects has shown.
enum Burst {
    Fair,
    /// So many threads may each serve a share of so few clients.
    OfTooFew(String),
    Unclear(String),
}

/// Makes one burst.
fn burst(trial: &mut Trial<'_>) -> Step<Burst> {
    // Twice the largest batch of our servers.
    const BEFORE: usize = 128;
    const MOST: usize = 900;
    let mut connected = trial.connect()?;
    connected.echo(1)?;
    trial.freeze()?;
    // Several threads may each serve a share while the thread that has this client waits for a processor. Some servers
    // start a thread for each client, so the threads are counted again later.
    let most = (BEFORE * threads(trial)?.0 * 5 / 4).clamp(300, MOST) as u64;
    let most = trial.subject.fd_limit.map_or(most, |limit| most.min(limit.saturating_sub(64)));
    let count = trial.up_to(most as u32, BEFORE as u32 * 5 / 4)?;
    let mut new = trial.connect_many(count)?;
    trial.step(format!("each of the {count} sends 1 byte"));
    new.iter_mut().try_for_each(|client| client.send_quietly(1))?;
    connected.send(1)?;
    let _lockstep = thaw(trial, &connected)?;
    let count = new.len();
    new.push(connected);
    let (mut served, mut unmoved) = (0, None);
    while !is_answered(&mut new[count])? {
        let ready = served_of(&mut new, PATIENCE, &mut served)?;
        if served > BEFORE {
            let (all, runnable) = threads(trial)?;
            // A second look, in case the harness itself was delayed in between.
            if served > BEFORE * all && runnable < 2 && !is_answered(&mut new[count])? {
                let what =
                    format!("{served} of {count} new clients were served while one that was connected before waited");
                let cause = "Accept a bounded number in each turn, and serve those already connected in between.";
                return Err(trial.with_view(Symptom::Starved, what, cause));
            }
        }
        if new.iter().any(|client| client.eof) || !ready && !waits_for_processor(trial, &mut unmoved)? {
            // If a client is not served at all, this step says why.
            echo_all(&mut new)?;
            return Ok(Burst::Unclear(format!("the server stood still after {served} of {count} new clients")));
        }
    }
    // What the server did until then, and the clients have not seen yet.
    served_of(&mut new, Duration::ZERO, &mut served)?;
    echo_all(&mut new)?;
    let all = threads(trial)?.0;
    Ok(match served > BEFORE {
        false => Burst::Fair,
        true if all == 1 => Burst::Unclear(format!(
            "{served} new clients had been served when the answer of the connected client was seen"
        )),
        true => {
            let why =
                format!("{served} new clients were served first, and {all} threads may each have served some of them");
            if BEFORE * all < count { Burst::Unclear(why) } else { Burst::OfTooFew(why) }
        }
    })
}

/// Reads what the new clients, all but the last, have got; whether any client was ready.
fn served_of(clients: &mut [Client], patience: Duration, served: &mut usize) -> Step<bool> {
    let ready = those_ready(clients, patience)?;
    let new = clients.len() - 1;
    for i in ready.iter().filter(|i| **i < new) {
        *served += clients[*i].read_some(1)?;
    }
    Ok(!ready.is_empty())
}

/// The server's threads, and how many of them run or wait for a processor.
fn threads(trial: &mut Trial<'_>) -> Step<(usize, usize)> {
    let threads = trial.process()?.threads().unwrap_or_default();
    let runnable = threads.iter().filter(|thread| thread.state == 'R').count();
    Ok((threads.len().max(1), runnable))
}

/// Several hundred clients connect in one wakeup: not one of the declared workers has all of them.
#[check(clause = 8)]
fn clients_that_come_at_once_are_shared_by_the_workers(trial: &mut Trial<'_>) -> Step {
    // Many batches, so that the others have come to the processor before one could have taken all.
    const CLIENTS: u32 = 600;
    // The scheduler may let one have them all, once.
    const ATTEMPTS: u32 = 8;
    let Some(workers) = trial.subject.workers else {
        return Err(Stop::skip("it was not declared that this server has several workers"));
    };
    trial.needs_proc()?;
    let process = trial.process()?;
    let mut all = 0;
    for _ in 0..ATTEMPTS {
        trial.freeze()?;
        let count = trial.up_to(CLIENTS, 64 * workers)?;
        let mut clients = trial.connect_many(count)?;
        trial.thaw()?;
        trial.rest()?;
        let before = process.threads().unwrap_or_default();
        trial.echo_all(&mut clients, 1)?;
        trial.rest()?;
        let after = process.threads().unwrap_or_default();
        all = after.len();
        let slept_on =
            |thread: &&Thread| before.iter().any(|it| it.tid == thread.tid && it.switches == thread.switches);
        if after.iter().filter(|thread| !slept_on(thread)).count() > 1 {
            return Ok(());
        }
        clients.into_iter().for_each(Client::reset_quietly);
        trial.await_ends()?;
        trial.rest()?;
    }
    let what = format!(
        "{CLIENTS} clients came at once, {ATTEMPTS} times, and each time one thread served all of them; {workers} workers \
         were to share them, and the server has {}",
        match all {
            1 => "one thread".to_owned(),
            all => format!("{all} threads"),
        }
    );
    let cause = format!("{}{ONE_OF_MANY}", where_the_listener_is(trial).unwrap_or_default());
    Err(trial.with_view(Symptom::Starved, what, &cause))
}

/// That not each of the server's epoll instances has the listener, if that is so.
fn where_the_listener_is(trial: &mut Trial<'_>) -> Option<String> {
    let port = trial.server().ok()?.addr.port();
    let view = trial.process().ok()?.view(port)?;
    let listeners: Vec<&Holder> =
        view.sockets.iter().filter(|socket| socket.listening).flat_map(|socket| &socket.holders).collect();
    let epolls = view.processes.iter().flat_map(|it| it.descriptors.epolls.iter().map(move |epoll| (it.pid, epoll)));
    let has_it = |(pid, epoll): (i32, &Epoll)| {
        epoll.registrations.iter().any(|watch| listeners.iter().any(|it| it.pid == pid && it.fd == watch.fd))
    };
    let (all, with) = epolls.fold((0, 0), |(all, with), epoll| (all + 1, with + usize::from(has_it(epoll))));
    (0 < with && with < all).then(|| format!("The listener is registered with {with} of {all} epoll instances. "))
}

/// A flood, a client that has 1 KiB more at each read, and 256 connects, call by call (ptrace): in one turn at most 64
/// accepts, and at most 4 reads of one connection.
#[check(clause = 8)]
fn a_connection_and_the_listener_have_one_batch_in_each_turn(trial: &mut Trial<'_>) -> Step {
    // For a server without a declared batch. A batch of another size than that of this repository's servers is fair
    // too, if it has a bound.
    const ACCEPTS: u32 = 128;
    const BYTES: u64 = 2 << 20;
    trial.only_own("how much one turn does")?;
    trial.only_model(Model::Readiness, "a completion server makes no calls that could be counted")?;
    const PIECE: u64 = 1024;
    let (mut flooder, mut trickler) = (connect(trial, 1)?, trial.connect()?);
    trial.echo_all(&mut flooder, 1)?;
    trickler.echo(1)?;
    let process = trial.process()?;
    if process.threads().is_none_or(|threads| threads.len() != 1) {
        return Err(Stop::skip("with several threads there is no turn of the server, but one of each thread"));
    }
    trial.step("the server stands still (ptrace)");
    let counter = Counter::stop(process)?;
    begin(trial, &mut flooder, &ENDLESS)?;
    let _new = trial.connect_many(256)?;
    trial.step("the flood goes on before each wait, for 24 turns");
    trial.step(format!("before each read, c{} reads what has come and sends 1 KiB more", trickler.id));
    let flood = || {
        let client = &mut flooder[0];
        while client.read_some(TURN)? > 0 {}
        client.planned = client.sent.max(client.received + ENDLESS.window);
        while client.write_some(TURN)? > 0 {}
        Ok(())
    };
    // Short reads are reads too: who counts only full ones has no bound for a client that is as fast as the server.
    let trickle = || {
        while trickler.read_some(TURN)? > 0 {}
        trickler.planned = trickler.sent + PIECE;
        trickler.write_some(TURN)?;
        Ok(())
    };
    let most = counter.count(24, flood, trickle)?;
    let Some(most) = most else {
        return Err(Stop::skip("no system call was seen that accepts or reads, so there is nothing to count"));
    };
    if most.sleeps > 0 {
        let what = format!("it slept {} in 24 turns, beside its wait (nanosleep)", times(most.sleeps));
        return Err(trial.with_view(Symptom::Blocked, what, SLEEPS));
    }
    let declared = trial.subject.batch;
    let accepts = declared.map_or(ACCEPTS, |batch| batch.accepts);
    let what = match (most, declared) {
        (Most { accepted, .. }, _) if accepted > accepts => {
            format!("{accepted} connections were accepted in one turn, and not {accepts} at most")
        }
        (Most { reads, .. }, Some(batch)) if reads > batch.reads => {
            format!("one connection was read {reads} times in one turn, and not {} times at most", batch.reads)
        }
        (Most { bytes, .. }, None) if bytes > BYTES => {
            format!("{} of one connection were read in one turn, and not {} at most", size(bytes), size(BYTES))
        }
        _ => return Ok(()),
    };
    let cause = "A batch that ends early goes on in the next turn. What the last turn left over and what the wait reports \
                 now may be the same connection, or the listener: note first, and serve each of them once.";
    Err(trial.with_view(Symptom::Starved, format!("{what}, between two waits"), cause))
}

/// Fills the connections of a stopped server as far as their sockets go.
fn begin(trial: &Trial<'_>, clients: &mut [Client], flood: &Flood) -> Step {
    trial.step(format!("{} clients send without end, with {} under way each", clients.len(), size(flood.window)));
    for client in clients {
        client.plan(flood.window);
        while client.write_some(TURN)? > 0 {}
    }
    Ok(())
}

/// Lets the server go on, and keeps the flood going on all clients but the last until the last has its byte back.
/// Repeats this for each byte that the last client sends.
fn until_answered(trial: &mut Trial<'_>, clients: &mut [Client], flood: &Flood, round_trips: u32) -> Step {
    let lockstep = thaw(trial, clients.last().expect("one that waits"))?;
    trial.step(match round_trips {
        1 => "all read, and send on as they read, until it has its byte back".into(),
        many => format!("all read, and send on as they read, until it has its byte back, and {} more", many - 1),
    });
    let end = Instant::now() + LONGEST;
    let (mut echoed, mut unmoved, mut answered, mut arrived) = (0, None, 0, true);
    let (mut ran_dry, mut without_flood) = (false, 0);
    let server = trial.server()?.addr;
    loop {
        let quiet = clients.last_mut().expect("one that waits");
        if is_answered(quiet)? {
            // What the server did until then, and the clients have not seen yet.
            ran_dry |= flow(clients, flood, Duration::ZERO)?.ran_dry;
            // An answer proves nothing if the server had nobody else to serve.
            match std::mem::take(&mut ran_dry) {
                true => without_flood += 1,
                false => answered += 1,
            }
            if answered == round_trips {
                return Ok(());
            }
            if without_flood > 4 * round_trips {
                return Err(Stop::skip(format!(
                    "{without_flood} of {} answers came after the flood had run dry: this machine lets the server run \
                     ahead of its clients",
                    answered + without_flood
                )));
            }
            clients.last_mut().expect("one that waits").send_quietly(1)?;
            arrived = false;
        }
        if !arrived {
            // The flood's bytes count from here on.
            (arrived, echoed) = (has_arrived(clients.last().expect("one that waits"), server), 0);
        }
        let flowed = flow(clients, flood, PATIENCE)?;
        (echoed, ran_dry) = (echoed + flowed.echoed, ran_dry || flowed.ran_dry);
        let quiet = clients.last_mut().expect("one that waits");
        if echoed > flood.bound && !is_answered(quiet)? {
            let what = format!("c{} sent 1 byte, and {} of the flood came back without it", quiet.id, size(echoed));
            return Err(trial.with_view(Symptom::Starved, what, flood.cause));
        }
        // A server that is scheduled as idle work may wait long for a processor: a runnable server has not stopped.
        if flowed.moved {
            unmoved = None;
        }
        let stopped = !flowed.any_ready && !waits_for_processor(trial, &mut unmoved)?;
        let late = Instant::now() > end;
        if stopped || late || clients.iter().any(|client| client.eof) {
            // The failure says why a connection ended or made no progress.
            clients.iter_mut().for_each(|client| client.planned = client.sent);
            // Scheduled as idle work, the server might never finish on a busy machine.
            drop(lockstep);
            echo_all(clients)?;
            return Err(Stop::skip(match late {
                true => format!(
                    "only {answered} of {round_trips} round trips were made in {} s: this machine was too slow",
                    LONGEST.as_secs()
                ),
                false => format!(
                    "the flood stood still after {answered} of {round_trips} round trips, so not all were made in a flood"
                ),
            }));
        }
    }
}

/// What became of a flood since the last look.
struct Flow {
    /// A client had something to read, or room to send.
    any_ready: bool,
    /// Bytes went in one direction or the other.
    moved: bool,
    /// Bytes that came back.
    echoed: u64,
    /// Nearly all clients of the flood had all their bytes back. In lockstep a client that has run dry sends again before
    /// the next client runs dry, so the server ran ahead of its clients.
    ran_dry: bool,
}

/// Moves the flood on: all clients but the last read, and send on as they read.
fn flow(clients: &mut [Client], flood: &Flood, patience: Duration) -> Step<Flow> {
    let ready = those_ready(clients, patience)?;
    let flooders = clients.split_last_mut().expect("one that waits").1;
    let (mut echoed, mut sent, mut dry) = (0, 0, 0);
    for i in &ready {
        let Some(client) = flooders.get_mut(*i) else { continue };
        echoed += client.read_some(TURN)? as u64;
        dry += usize::from(client.outstanding() == 0);
        client.planned = client.sent.max(client.received + flood.window);
        sent += client.write_some(TURN)?;
    }
    let ran_dry = 10 * dry > 9 * flooders.len();
    Ok(Flow { any_ready: !ready.is_empty(), moved: echoed > 0 || sent > 0, echoed, ran_dry })
}

/// Whether all that this client has sent is back, as of now.
fn is_answered(quiet: &mut Client) -> Step<bool> {
    quiet.read_some(1)?;
    Ok(quiet.outstanding() == 0)
}

/// Whether a server without progress only lacks a processor. `since` is its CPU time at its last progress: a server
/// that has used the processor since then, and made no progress, does not lack a processor.
fn waits_for_processor(trial: &mut Trial<'_>, since: &mut Option<u64>) -> Step<bool> {
    const TICKS: u64 = 20;
    let process = trial.process()?;
    let runnable = process.threads().is_some_and(|threads| threads.iter().any(|thread| thread.state == 'R'));
    let ticks = process.activity().map_or(0, |activity| activity.ticks);
    Ok(runnable && ticks < *since.get_or_insert(ticks) + TICKS)
}

/// Whether all that this client has sent is in the server's socket.
fn has_arrived(client: &Client, server: SocketAddr) -> bool {
    observe::queues(client.local, server).is_none_or(|(_, unacknowledged)| unacknowledged == 0)
}

/// Lets the server go on, in lockstep, once the quiet client's byte has arrived in the server's socket.
fn thaw(trial: &mut Trial<'_>, quiet: &Client) -> Step<Option<Lockstep>> {
    let server = trial.server()?.addr;
    // A busy kernel may hold a sent segment back for a while, and other clients' segments may overtake it.
    trial.wait_until("the byte has arrived in the server's socket", |_| Ok(has_arrived(quiet, server)))?;
    let lockstep = Lockstep::begin(trial)?;
    trial.thaw()?;
    Ok(lockstep)
}

/// While it lives, the server runs only when the calling thread sleeps: both are bound to one processor, and the server
/// is scheduled as idle work. Where that is not possible the checks judge as well, and see less of an unfair server.
struct Lockstep {
    #[cfg(target_os = "linux")]
    before: rustix::thread::CpuSet,
    /// The server's threads.
    #[cfg(target_os = "linux")]
    bound: Vec<i32>,
}

impl Lockstep {
    #[cfg(target_os = "linux")]
    fn begin(trial: &mut Trial<'_>) -> Step<Option<Self>> {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
        let threads = trial.process()?.threads().unwrap_or_default();
        let (mut here, Ok(before)) = (CpuSet::new(), sched_getaffinity(None)) else { return Ok(None) };
        here.set(sched_getcpu());
        let bound: Vec<i32> = threads.iter().map(|thread| thread.tid).collect();
        for tid in &bound {
            let _ = sched_setaffinity(rustix::process::Pid::from_raw(*tid), &here);
            schedule(*tid, libc::SCHED_IDLE);
        }
        if sched_setaffinity(None, &here).is_err() {
            return Ok(None);
        }
        Ok(Some(Self { before, bound }))
    }

    #[cfg(not(target_os = "linux"))]
    fn begin(_trial: &mut Trial<'_>) -> Step<Option<Self>> {
        Ok(None)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Lockstep {
    fn drop(&mut self) {
        use rustix::thread::sched_setaffinity;
        let _ = sched_setaffinity(None, &self.before);
        for tid in &self.bound {
            let _ = sched_setaffinity(rustix::process::Pid::from_raw(*tid), &self.before);
            // Without the permission to change it back, the server stays idle work.
            schedule(*tid, libc::SCHED_OTHER);
        }
    }
}

#[cfg(target_os = "linux")]
fn schedule(tid: i32, policy: libc::c_int) {
    let lowest = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter is a valid struct, and the call only reads it.
    unsafe { libc::sched_setscheduler(tid, policy, &lowest) };
}
