//! No wakeup is lost: each client is served after any order of opens, closes and sends, after a rest, and after a
//! pause.
//!
//! Invariant: while a check waits for one connection, no other client acts, so a wakeup by another connection cannot
//! hide a lost wakeup.

use std::time::{Duration, Instant};

use harness_macros::check;
use observe::Call;

use crate::client::{Client, ConnectOptions, echo_all, send_all, size};
use crate::failure::{Step, Stop, Symptom};
use crate::moments::{Held, Moment, Unpublished};
use crate::trial::Trial;

/// Client A sends, then B, then A, then a new client C. Then all send again, each after the server's wait has timed
/// out.
#[check(clause = 2)]
fn each_connection_is_heard_in_turn_and_again_after_a_rest(trial: &mut Trial<'_>) -> Step {
    let mut clients = vec![trial.connect()?, trial.connect()?];
    for i in [0, 1, 0] {
        clients[i].echo(1)?;
    }
    clients.push(trial.connect()?);
    clients[2].echo(1)?;
    for i in [0, 1, 2] {
        run_into_timeout(trial)?;
        clients[i].echo(1)?;
    }
    run_into_timeout(trial)?;
    trial.probe()
}

/// Leaves the server alone until it sleeps without a timeout, or until its wait has timed out.
fn run_into_timeout(trial: &mut Trial<'_>) -> Step {
    const LONGER_THAN_USUAL: Duration = Duration::from_millis(1200);
    trial.step("all rest");
    trial.rest()?;
    let Some(process) = trial.server()?.process.filter(|_| !trial.subject.own) else { return Ok(()) };
    let Some(asleep) = process.threads() else { return Ok(()) };
    let endless = asleep.iter().all(|thread| thread.call.as_ref().is_some_and(Call::is_endless));
    let end = Instant::now() + LONGER_THAN_USUAL;
    while !endless && process.threads().as_ref() == Some(&asleep) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The highest descriptor sends first, is closed, and is opened again; then a middle one.
#[check(clause = 2, quick)]
fn the_newest_connection_is_heard_first(trial: &mut Trial<'_>) -> Step {
    let mut clients = trial.connect_many(3)?;
    for i in [2, 1, 0] {
        clients[i].echo(10)?;
    }
    trial.step("the newest closes, and another one connects");
    drop(clients.pop());
    clients.push(trial.connect()?);
    clients[2].echo(10)?;
    trial.step("the middle one closes");
    drop(clients.remove(1));
    for i in [1, 0, 1] {
        clients[i].echo(10)?;
    }
    trial.step("another one gets the middle's number");
    clients.push(trial.connect()?);
    for i in [2, 1, 0] {
        clients[i].echo(10)?;
    }
    trial.step("and the next a higher one than any before");
    clients.push(trial.connect()?);
    for i in [3, 2, 1, 0] {
        clients[i].echo(10)?;
    }
    Ok(())
}

/// An older client closes, or all but the newest do, and the newest alone sends: select's nfds must cover its descriptor.
#[check(clause = 2)]
fn the_highest_descriptor_is_heard_whoever_closes_below_it(trial: &mut Trial<'_>) -> Step {
    const COUNT: usize = 4;
    for in_one_wake in [false, true] {
        for leaving in [0, COUNT - 2] {
            // One after the other, so that the newest client gets the highest descriptor.
            let mut clients = Vec::new();
            for _ in 0..COUNT {
                clients.push(trial.connect()?);
                clients.last_mut().expect("just pushed").echo(1)?;
            }
            let mut highest = clients.pop().expect("four");
            if in_one_wake {
                trial.freeze()?;
                clients.remove(leaving).close();
                highest.send(1)?;
                trial.thaw()?;
                highest.expect_echo()?;
            } else {
                clients.remove(leaving).close();
                trial.await_ends()?;
                highest.echo(1)?;
            }
            // Another client gets the free descriptor, and leaves.
            let mut other = trial.connect()?;
            other.echo(1)?;
            other.close();
            trial.await_ends()?;
            highest.echo(1)?;
            highest.close();
            trial.await_ends()?;
            clients.last_mut().expect("two are left").echo(1)?;
            clients.into_iter().for_each(Client::reset_quietly);
            trial.await_ends()?;
            trial.rest()?;
        }
    }
    // Few are left, and the number of the one that stays is high all the same.
    let mut clients = Vec::new();
    for _ in 0..trial.up_to(16, 1)? {
        clients.push(trial.connect()?);
        clients.last_mut().expect("just pushed").echo(1)?;
    }
    let mut highest = clients.pop().expect("one or more");
    trial.step(format!("all but c{} close", highest.id));
    drop(clients);
    trial.await_ends()?;
    highest.echo(1)?;
    let mut low = trial.connect()?;
    low.echo(1)?;
    highest.echo(1)
}

/// Of five clients, one is reset, the newest half-closes, the oldest closes. After each step, all that are left send.
#[check(clause = 4, quick)]
fn those_who_stay_are_heard_whoever_leaves(trial: &mut Trial<'_>) -> Step {
    let mut clients = trial.connect_many(5)?;
    one_by_one(trial, &mut clients)?;
    clients.remove(2).reset();
    // The reset must arrive before the others send: a busy kernel may deliver later bytes first, and then the places in
    // the server's table differ.
    trial.await_ends()?;
    one_by_one(trial, &mut clients)?;
    let mut newest = clients.remove(3);
    newest.half_close()?;
    newest.expect_eof()?;
    newest.close();
    one_by_one(trial, &mut clients)?;
    clients.remove(0).close();
    trial.await_ends()?;
    one_by_one(trial, &mut clients)?;
    trial.probe()
}

fn one_by_one(trial: &Trial<'_>, clients: &mut [Client]) -> Step {
    let names: Vec<_> = clients.iter().map(|client| format!("c{}", client.id)).collect();
    trial.step(format!("{} send 10 bytes each, one after the other", names.join(", ")));
    clients.chunks_mut(1).try_for_each(|client| {
        client[0].plan(10);
        echo_all(client)
    })
}

/// 50 connections, one byte each, one at a time, in three orders.
#[check(clause = 2)]
fn every_one_of_fifty_is_heard_in_any_order(trial: &mut Trial<'_>) -> Step {
    const COUNT: usize = 50;
    let mut clients = trial.connect_many(COUNT as u32)?;
    // Steps that share no factor with the count visit every connection once.
    for step in [49, 7, 31] {
        trial.step(format!("each of the {COUNT} in turn sends 1 byte and reads it back, every {step}th first"));
        for i in 0..COUNT {
            let client = &mut clients[i * step % COUNT..][..1];
            client[0].plan(1);
            echo_all(client)?;
        }
    }
    Ok(())
}

/// 100 clients connect and send at once, racing the server's registration.
#[check(clause = 2, quick)]
fn bytes_sent_right_after_the_connect_are_heard(trial: &mut Trial<'_>) -> Step {
    let mut clients = Vec::new();
    for _ in 0..trial.up_to(100, 2)? {
        let mut client = trial.connect()?;
        client.send(100)?;
        clients.push(client);
    }
    trial.step("all of them read");
    echo_all(&mut clients)
}

/// One connection says nothing during 200 rounds of five others, then speaks.
#[check(clause = 2)]
fn a_connection_that_was_silent_among_busy_ones_is_heard(trial: &mut Trial<'_>) -> Step {
    let mut busy = trial.connect_many(3)?;
    let mut silent = trial.connect()?;
    busy.extend(trial.connect_many(2)?);
    trial.step(format!("200 rounds of 500 bytes on each connection but c{}", silent.id));
    for _ in 0..200 {
        busy.iter_mut().for_each(|client| client.plan(500));
        echo_all(&mut busy)?;
    }
    silent.echo(1)?;
    silent.echo(100_000)
}

/// A client sends until it is stuck, reads everything, rests, and sends one more byte.
#[check(clause = 5, quick)]
fn reading_goes_on_after_back_pressure(trial: &mut Trial<'_>) -> Step {
    for options in [ConnectOptions::default(), ConnectOptions::NARROW] {
        let mut client = trial.connect_with(options)?;
        trial.fill(std::slice::from_mut(&mut client))?;
        client.expect_echo()?;
        trial.rest()?;
        client.echo(1)?;
    }
    Ok(())
}

/// A stuck client reads and sends while the server is stopped, so that IN and OUT come as one event.
#[check(clause = 5)]
fn input_and_room_for_output_in_one_wakeup_are_both_used(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    trial.fill(std::slice::from_mut(&mut client))?;
    let mut both = 0;
    for _ in 0..6 {
        trial.freeze()?;
        // The bytes that the client reads make room in the server's socket: the kernel sends although the server is
        // stopped.
        let (received, sent) = (client.received, client.sent);
        client.plan(4 << 20);
        while client.read_some(64 * 1024)? + client.write_some(64 * 1024)? > 0 {}
        let (received, sent) = (client.received - received, client.sent - sent);
        both += u32::from(received > 0 && client.unread_by_server() != Some(0));
        trial.step(format!("c{} reads {} and sends {}", client.id, size(received), size(sent)));
        trial.thaw()?;
        // As many bytes again as the server takes, so that the server is stuck once more when it is stopped.
        while client.write_some(64 * 1024)? > 0 {}
        client.planned = client.sent;
    }
    client.expect_echo()?;
    client.echo(1)?;
    if both == 0 {
        return Err(Stop::skip("there were never both unread bytes and new room in the stopped server's socket"));
    }
    Ok(())
}

/// 32 MiB through a small receive buffer, in turns of sending without reading and of reading a burst.
#[check(clause = 5)]
fn a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting(trial: &mut Trial<'_>) -> Step {
    const TOTAL: u64 = 32 << 20;
    let mut client = trial.connect_with(ConnectOptions::receive_buffer(16 * 1024))?;
    trial.step(format!("c0 sends what its socket takes, reads a burst, and so on: {} in all", size(TOTAL)));
    client.plan(TOTAL);
    for round in 0.. {
        while client.write_some(64 * 1024)? > 0 {}
        // Bursts of very different sizes, so that the pauses fall at many states of the server's queue.
        let burst = [4 << 10, 700 << 10, 60 << 10, 2 << 20][round % 4];
        match TOTAL - client.received {
            0 => break,
            left => client.receive_quietly(left.min(burst).min(client.planned - client.received))?,
        }
    }
    client.echo(1)
}

/// 16 clients send a byte in one wake, and another client sends some microseconds later, after a different time each
/// round.
#[check(clause = 2)]
fn a_second_message_at_any_moment_after_the_first_is_heard(trial: &mut Trial<'_>) -> Step {
    const CLIENTS: u32 = 16;
    const ROUNDS: u32 = 300;
    /// Rounds that measure how long the server works on one byte of each client.
    const LEARNING: u32 = 10;
    /// With fewer moments the gap of a turn may be missed.
    const NEEDED: u32 = 100;
    const ENOUGH: Duration = Duration::from_secs(15);
    /// The fractional parts of its multiples fall evenly between 0 and 1, however many there are.
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let mut clients = trial.connect_many(CLIENTS)?;
    trial.echo_all(&mut clients, 1)?;
    let _apart = Apart::begin(trial)?;
    let (start, mut work, mut moments) = (Instant::now(), ENOUGH, 0);
    for round in 0..ROUNDS {
        trial.freeze()?;
        trial.step(format!("each of the {CLIENTS} sends 1 byte"));
        send_all(&mut clients, 1)?;
        trial.thaw()?;
        let thawed = Instant::now();
        if round >= LEARNING {
            let moment = work.mul_f64(1.2 * (f64::from(round) * GOLDEN).fract());
            // A sleep would take longer than all of the server's work.
            while thawed.elapsed() < moment {
                std::hint::spin_loop();
            }
            trial.step(format!("{} us later each of them sends another one", moment.as_micros()));
            send_all(&mut clients, 1)?;
        }
        echo_all(&mut clients).map_err(|stop| stop.suspecting(TAKEN_BACK))?;
        if round < LEARNING {
            work = work.min(thawed.elapsed());
        } else {
            moments += 1;
        }
        if start.elapsed() > ENOUGH {
            break;
        }
    }
    if moments < NEEDED {
        let seconds = ENOUGH.as_secs();
        return Err(Stop::skip(format!(
            "the second message came at {moments} moments in {seconds} s, and {NEEDED} are needed: the machine is busy, or \
             the server is slow"
        )));
    }
    Ok(())
}

const TAKEN_BACK: (&[Symptom], &str) = (
    &[Symptom::ReadLost],
    "These bytes came while the server was at work on the ones before, and their edge was lost: what \
     announces new bytes must not be taken back (clear a flag at EAGAIN, at once, before the next wait), and \
     no event may be dropped because its connection is being served.",
);

/// Clients connect while one of several threads is held at each of its system calls (ptrace): a hand-over loses nobody.
#[check(clause = 2)]
fn a_connection_handed_over_at_any_moment_is_heard(trial: &mut Trial<'_>) -> Step {
    const CLIENTS: u32 = 6;
    needs_several_threads(trial)?;
    at_each_moment(trial, |trial, moment, calls| {
        let mut clients = trial.connect_many(CLIENTS)?;
        trial.step("each sends 1 byte");
        send_all(&mut clients, 1)?;
        let held = hold(trial, &moment, calls)?;
        if held == Held::Yes {
            clients.extend(trial.connect_many(CLIENTS)?);
            trial.step("each of those sends 1 byte");
            send_all(&mut clients[CLIENTS as usize..], 1)?;
            moment.others_rest();
        }
        drop(moment);
        trial.step("the thread goes on, and all read their byte");
        echo_all(&mut clients).map_err(|stop| stop.suspecting(HANDED_OVER))?;
        clients.into_iter().for_each(Client::reset_quietly);
        trial.await_ends()?;
        trial.rest()?;
        Ok(held)
    })
}

const HANDED_OVER: (&[Symptom], &str) = (
    &[Symptom::ReadLost, Symptom::AcceptQueueNotDrained, Symptom::Slow],
    "The connection came while a thread was at work on those before. A wake-up of one thread by another \
     (eventfd, pipe) has to be taken before the queue is emptied: read the descriptor first, and the queue \
     after it.",
);

/// One of several threads is held at each of its system calls (ptrace), and its client sends on, whichever thread serves
/// it then.
#[check(clause = 2)]
fn a_client_whose_thread_is_held_at_any_moment_is_heard(trial: &mut Trial<'_>) -> Step {
    /// Enough for each of a few threads.
    const CLIENTS: u32 = 4;
    needs_several_threads(trial)?;
    trial.small_send_buffers()?;
    let bytes = trial.more_than_fits_by(4 * 1024)?;
    let mut clients = trial.connect_many_with(CLIENTS, ConnectOptions::NARROW)?;
    trial.echo_all(&mut clients, 1)?;
    trial.rest()?;
    at_each_moment(trial, |trial, moment, calls| {
        trial.step("each sends 1 byte, and one thread alone goes on until it has the first of them");
        drop(moment.wake_alone(|| send_all(&mut clients, 1))?);
        let held = hold(trial, &moment, calls)?;
        if held == Held::Yes {
            trial.step(format!("each sends up to {}, and reads nothing", size(bytes)));
            // What comes later would be another event.
            clients.iter_mut().try_for_each(|client| send_up_to(client, bytes))?;
            moment.others_rest();
        }
        drop(moment);
        trial.step("the thread goes on");
        trial.rest()?;
        trial.step("all read what is owed to them");
        echo_all(&mut clients).map_err(|stop| stop.suspecting(HELD_WITH_ITS_CLIENT))?;
        Ok(held)
    })
}

const HELD_WITH_ITS_CLIENT: (&[Symptom], &str) = (
    &[Symptom::ReadLost, Symptom::WriteLost, Symptom::Slow],
    "A thread was held at its work on this connection, and another one got the connection's next event: what \
     a thread decides about a connection (which events to wait for, or to leave one to another thread) holds \
     only until that one has it. Arm a connection once, when all work on it is done, or decide and arm under \
     one lock.",
);

/// Clients that were owed bytes read them, one of several threads is held at each of its system calls (ptrace), and the
/// clients send on: all comes back in order, whichever thread serves them then.
#[check(clause = 2)]
fn a_client_whose_thread_is_held_as_room_comes_keeps_its_order(trial: &mut Trial<'_>) -> Step {
    /// Enough for each of a few threads.
    const CLIENTS: u32 = 4;
    /// A message whose place in the stream is seen by its bytes.
    const MESSAGE: u64 = 64;
    needs_several_threads(trial)?;
    trial.small_send_buffers()?;
    let bytes = trial.more_than_fits_by(4 * 1024)?;
    let mut clients = trial.connect_many_with(CLIENTS, ConnectOptions::NARROW)?;
    let fill = |trial: &mut Trial<'_>, clients: &mut [Client]| {
        trial.step(format!("each of the {CLIENTS} sends up to {}, and reads nothing", size(bytes)));
        clients.iter_mut().try_for_each(|client| send_up_to(client, bytes))?;
        trial.rest()
    };
    fill(trial, &mut clients)?;
    at_each_moment(trial, |trial, moment, calls| {
        trial.step("each reads what is there, and one thread alone goes on, which is told of the room");
        let others = moment.wake_alone(|| {
            for client in &mut clients {
                while client.read_some(64 * 1024)? > 0 {}
            }
            Ok(())
        })?;
        trial.step(format!("each sends {MESSAGE} bytes"));
        clients.iter_mut().try_for_each(|client| send_up_to(client, MESSAGE))?;
        let held = hold(trial, &moment, calls)?;
        drop(others);
        if held == Held::Yes {
            trial.step(format!("the other threads go on, and each sends {MESSAGE} bytes more"));
            clients.iter_mut().try_for_each(|client| send_up_to(client, MESSAGE))?;
            moment.others_rest();
        }
        drop(moment);
        trial.step("the thread goes on, and all read what is owed to them");
        echo_all(&mut clients).map_err(|stop| stop.suspecting(HELD_AS_ROOM_CAME))?;
        trial.rest()?;
        fill(trial, &mut clients)?;
        Ok(held)
    })
}

/// Sends as much of `bytes` as the sockets take, and plans no more.
fn send_up_to(client: &mut Client, bytes: u64) -> Step {
    client.plan(bytes);
    while client.write_some(64 * 1024)? > 0 {}
    client.planned = client.sent;
    Ok(())
}

const HELD_AS_ROOM_CAME: (&[Symptom], &str) = (
    &[Symptom::WrongBytes],
    "A thread that was told of room was held at its work on this connection, and another one got the connection's \
     next event. From when a connection is armed, another thread may read its next bytes and send them first: arm a \
     connection once, when all work on it is done, whatever the event was.",
);

fn needs_several_threads(trial: &mut Trial<'_>) -> Step {
    let process = trial.process()?;
    trial.needs_proc()?;
    trial.probe()?;
    trial.rest()?;
    if process.threads().is_none_or(|threads| threads.len() < 2) {
        return Err(Stop::skip("it has one thread; the group 'interleaving' holds it at each of its calls"));
    }
    Ok(())
}

/// For each thread, and each stop of its system calls in a turn, calls `act`, which tells whether the turn came so far.
/// Skips the check if the time did not suffice, or no thread was held: a moment that is left out is a bug that is not seen.
fn at_each_moment(trial: &mut Trial<'_>, mut act: impl FnMut(&mut Trial<'_>, Moment, u32) -> Step<Held>) -> Step {
    /// Entries and exits of calls in one turn. A turn with a few connections makes fewer.
    const MOST: u32 = 32;
    /// On an idle machine all moments take one to three seconds.
    const LONGEST: Duration = Duration::from_secs(15);
    let process = trial.process()?;
    let (start, mut held) = (Instant::now(), 0);
    let mut none = Stop::skip("no thread could be held at work on a client (ptrace)");
    for thread in Moment::threads(process) {
        for calls in 0.. {
            if calls == MOST {
                return Err(Stop::skip(format!(
                    "a turn has more than {} system calls, and not all were tried",
                    MOST / 2
                )));
            }
            if start.elapsed() > LONGEST {
                let seconds = LONGEST.as_secs();
                return Err(Stop::skip(format!(
                    "the machine is busy, or the turns are long: not all moments were tried in {seconds} s"
                )));
            }
            let moment = match Moment::before(process, &thread) {
                Ok(moment) => moment,
                Err(why) => {
                    none = why;
                    break;
                }
            };
            match act(trial, moment, calls)? {
                Held::Yes => held += 1,
                Held::Over => break,
                Held::Late => return Err(Stop::skip(format!("after {held} moments: {LATE}"))),
            }
        }
    }
    if held == 0 { Err(none) } else { Ok(()) }
}

const LATE: &str = "the machine is busy: a thread that was awake got no processor for a second, so it was not held";

/// The clients have sent a byte each, and the thread that is traced is held at this stop of its turn, if it comes so far.
fn hold(trial: &mut Trial<'_>, moment: &Moment, calls: u32) -> Step<Held> {
    let held = moment.hold(calls)?;
    if held == Held::Yes {
        trial.step(format!("a thread that was woken is held at stop {calls} of its system calls (ptrace)"));
        moment.others_rest();
    }
    Ok(held)
}

/// SQPOLL: the server is held just before it publishes a submission (ptrace), until the kernel's thread has fallen
/// asleep.
#[check(clause = 2)]
fn a_submission_to_a_thread_that_falls_asleep_is_taken(trial: &mut Trial<'_>) -> Step {
    let process = trial.process()?;
    trial.needs_proc()?;
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.rest()?;
    let port = trial.server()?.addr.port();
    let mut submission = Unpublished::find(process, port)?;
    submission.await_sleep();
    trial.step("the server is traced, instruction by instruction, until it publishes a submission (ptrace)");
    submission.learn(|| client.send(1))?;
    client.expect_echo().map_err(asleep)?;
    let mut held = false;
    for _ in 0..3 {
        trial.rest()?;
        submission.await_sleep();
        trial.step("the server is held before it publishes the next one, until the kernel's thread sleeps");
        held |= submission.hold(|| client.send(1))?;
        client.expect_echo().map_err(asleep)?;
        client.echo(1).map_err(asleep)?;
    }
    if held {
        Ok(())
    } else {
        Err(Stop::skip("the server did not pass that instruction again, or the kernel's thread never slept"))
    }
}

/// What a submission lost here is about.
fn asleep(stop: Stop) -> Stop {
    stop.because(
        "The kernel's thread (SQPOLL) fell asleep before this submission was published, and nobody woke it: publish the tail \
         first, then a full fence, and only then look at IORING_SQ_NEED_WAKEUP. What was read before that is out of date.",
    )
}

/// While it lives, the server cannot use the processor of the calling thread, so both run at once. With one processor
/// they cannot, and the check is skipped: nothing comes while the server is at work.
struct Apart {
    #[cfg(target_os = "linux")]
    before: rustix::thread::CpuSet,
}

impl Apart {
    #[cfg(target_os = "linux")]
    fn begin(trial: &mut Trial<'_>) -> Step<Self> {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
        let threads = trial.process()?.threads().unwrap_or_default();
        let before = sched_getaffinity(None).map_err(std::io::Error::from)?;
        let (mut here, mut others) = (CpuSet::new(), before);
        here.set(sched_getcpu());
        others.unset(sched_getcpu());
        if others.count() == 0 || sched_setaffinity(None, &here).is_err() {
            return Err(Stop::skip("needs two processors: with one, no message comes while the server is at work"));
        }
        for thread in threads {
            let _ = sched_setaffinity(rustix::process::Pid::from_raw(thread.tid), &others);
        }
        Ok(Self { before })
    }

    #[cfg(not(target_os = "linux"))]
    fn begin(_trial: &mut Trial<'_>) -> Step<Self> {
        Ok(Self {})
    }
}

#[cfg(target_os = "linux")]
impl Drop for Apart {
    fn drop(&mut self) {
        let _ = rustix::thread::sched_setaffinity(None, &self.before);
    }
}
