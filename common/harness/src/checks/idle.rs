//! A server without work uses no CPU and does not wake, whatever happened before.
//!
//! Invariant: no client acts while the server is watched, so every wakeup is the server's own. A connection that the
//! server is not waiting on can still wake it, so the connections in question stay open until the verdict.

use std::time::{Duration, Instant};

use harness_macros::check;
use observe::{Call, Kind, Thread};

use crate::client::{Client, ConnectOptions, echo_all, expect_eof_all, send_all, size};
use crate::failure::{Step, Symptom};
use crate::trial::Trial;

const WRITE_INTEREST: &str = "An idle socket is always writable: watch for room to write only while bytes are owed, and stop \
                              when the last of them has gone.";
const END_OF_INPUT: &str = "After FIN the socket stays readable for ever (read returns 0, RDHUP stays set): stop watching for \
                            input once the end was read, also while output is still owed.";
const READ_INTEREST: &str = "Its bytes stay unread because too much is owed to it, and so its socket stays readable: stop \
                             watching for input while reading is paused.";
const GONE: &str = "An error or a hang-up is reported whether it was asked for or not, and again and again until the socket is \
                    closed; a closed descriptor left in poll's list is reported as NVAL, in select's sets as EBADF.";
const LEFT: &str = "A client that has left shows as the end of input (read returns 0, for ever), or, where it left bytes unread, as \
                    an error or a hang-up, asked for or not: close the connection at either.";
const TIMER: &str = "Nothing has happened that could wake it: a wait with a short timeout, or one that returns at once because of \
                     its own wake-up descriptor, is a busy loop in disguise.";

const ENDS: &str = "It wakes for nothing, however seldom. A server that has planned nothing (no accept to try again, no connection \
                    to go on with) waits without a timeout: -1, or no pointer to one.";
const NAPS: &str = "It wakes again and again after its work is done: a wait with a short timeout, a wake-up descriptor that \
                    is never drained, or a registration that reports the same event again. Wait without a timeout.";
const HERD: &str = "Several threads wait for one listener, so a connect wakes them all, and all but one for nothing. Register the \
                    listener with EPOLLEXCLUSIVE (at ADD only), or let one thread accept, or give each a listener of its own \
                    (SO_REUSEPORT).";

/// Just started, and again after its first client has gone.
#[check(clause = 7)]
fn a_server_without_clients_sleeps(trial: &mut Trial<'_>) -> Step {
    trial.server()?;
    trial.suspect(TIMER);
    trial.expect_idle("it was just started")?;
    no_wait_has_an_end(trial)?;
    trial.probe()?;
    trial.expect_idle("its only client has gone")?;
    no_wait_has_an_end(trial)
}

/// A wait with a timeout of a minute wakes too, after a minute. A foreign server may: a runtime has its own clock.
fn no_wait_has_an_end(trial: &mut Trial<'_>) -> Step {
    if !trial.subject.own {
        return Ok(());
    }
    let threads = trial.process()?.threads().unwrap_or_default();
    let mut calls = threads.iter().filter_map(|thread| thread.call);
    let has_an_end = |call: &Call| match call.kind {
        // The servers here pass this structure only for its timeout.
        Kind::UringEnter => call.uring_argument().is_some(),
        _ => call.is_wait() && !call.is_endless(),
    };
    let Some(call) = calls.find(has_an_end) else {
        return Ok(());
    };
    let what = format!("it has nothing to do, and sleeps in {call}, which ends by itself");
    Err(trial.with_view(Symptom::Spinning, what, ENDS))
}

/// 100 connections, half of which have had a round trip.
#[check(clause = 7, quick)]
fn a_hundred_idle_connections_cost_nothing(trial: &mut Trial<'_>) -> Step {
    trial.suspect(WRITE_INTEREST);
    let count = trial.up_to(100, 2)?;
    let mut clients = trial.connect_many(count)?;
    trial.echo_all(&mut clients[..count as usize / 2], 64)?;
    trial.expect_idle(&format!("{count} clients are connected and say nothing"))?;
    clients.into_iter().for_each(Client::reset_quietly);
    Ok(())
}

/// Clients that closed, clients that closed right after they sent, and clients that half-closed first.
#[check(clause = 7)]
fn a_client_that_has_left_leaves_nothing_to_do(trial: &mut Trial<'_>) -> Step {
    trial.suspect(LEFT);
    let base = trial.held_without_clients()?;
    let mut clients = trial.connect_many(9)?;
    trial.echo_all(&mut clients, 100)?;
    trial.step("3 of them close, 3 send 100 bytes and close, 3 send FIN, read the server's FIN and close");
    let mut finished = clients.split_off(6);
    send_all(&mut clients[..3], 100)?;
    drop(clients);
    finished.iter_mut().try_for_each(Client::half_close_quietly)?;
    expect_eof_all(&mut finished)?;
    drop(finished);
    trial.expect_idle("all its clients have left")?;
    trial.expect_held(base, "after all clients left")
}

/// A client sends until it is stuck: bytes are pending, input waits, and neither can move. Another sends less: all of it was
/// read, and a part is pending.
#[check(clause = 7)]
fn a_client_that_never_reads_costs_nothing(trial: &mut Trial<'_>) -> Step {
    trial.suspect(READ_INTEREST);
    let stuck = stuck(trial)?;
    trial.expect_idle("a client that does not read is stuck")?;
    drop(stuck);
    let bytes = trial.more_than_fits()?;
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    client.send(bytes)?;
    trial.rest()?;
    trial.expect_owed(std::slice::from_ref(&client))?;
    trial.expect_idle("a client that does not read is owed bytes, and the server has read all that it sent")
}

/// A client that was stuck has read everything: no bytes are pending, so the server must not wait for room.
#[check(clause = 7)]
fn a_drained_connection_costs_nothing_again(trial: &mut Trial<'_>) -> Step {
    trial.suspect(WRITE_INTEREST);
    // Its bytes were not all read when it began to read, so input is the last event. Then one of which all were read: room
    // for output is the last event.
    let mut client = stuck(trial)?;
    client.expect_echo()?;
    trial.expect_idle("a client that was stuck has read everything")?;
    client.echo(1)?;
    trial.small_send_buffers()?;
    let bytes = trial.more_than_fits()?;
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    // What the server notes of the first time must not keep it from waiting for room a second time. Where its send buffer
    // could not be made small, the buffer may have grown by then so that it takes everything: nothing is shown then.
    for is_first in [true, false] {
        client.send(bytes)?;
        trial.rest()?;
        if is_first {
            trial.expect_owed(std::slice::from_ref(&client))?;
        }
        client.expect_echo()?;
        trial.expect_idle("a client that was owed bytes, and had sent nothing more, has read them")?;
    }
    client.echo(1)
}

/// Bytes are pending for a client that sent FIN: the end of its input must wake the server once, and not for ever.
#[check(clause = 7, quick)]
fn a_stuck_client_that_has_finished_costs_nothing(trial: &mut Trial<'_>) -> Step {
    trial.suspect(END_OF_INPUT);
    // Few enough bytes that the server reads them all and the FIN, and so many that it cannot send them all.
    let bytes = trial.more_than_fits()?;
    let mut clients = trial.connect_many_with(2, ConnectOptions::NARROW)?;
    trial.step(format!("each sends {} and FIN, and reads nothing", size(bytes)));
    send_all(&mut clients, bytes)?;
    clients.iter_mut().try_for_each(Client::half_close_quietly)?;
    trial.expect_idle("two clients have finished and do not read")?;
    trial.expect_owed(&clients)?;
    expect_eof_all(&mut clients)
}

/// Three connections are reset: an idle one, one with unread bytes and a stuck one. Each descriptor is freed.
#[check(clause = 7)]
fn resets_leave_nothing_to_do(trial: &mut Trial<'_>) -> Step {
    trial.suspect(GONE);
    let base = trial.held_without_clients()?;
    let mut clients = trial.connect_many(2)?;
    trial.echo_all(&mut clients, 1)?;
    clients.push(stuck(trial)?);
    trial.freeze()?;
    clients[1].send(1000)?;
    trial.step("all three are reset");
    clients.into_iter().for_each(Client::reset_quietly);
    trial.thaw()?;
    trial.expect_idle("three connections were reset: an idle one, one with bytes unread and one that was stuck")?;
    trial.expect_held(base, "after three resets")
}

/// 50 clients leave in mixed order, by FIN and by reset, among 5 that stay.
#[check(clause = 7)]
fn coming_and_going_leaves_nothing_to_do(trial: &mut Trial<'_>) -> Step {
    trial.suspect(GONE);
    let base = trial.held_without_clients()?;
    let mut staying = trial.connect_many(5)?;
    let mut clients = trial.connect_many(50)?;
    trial.echo_all(&mut clients, 10)?;
    trial.step("the 50 leave: every third from the front, then the rest from the back; each second one is reset");
    let (third, rest): (Vec<_>, Vec<_>) = clients.into_iter().partition(|client| client.id % 3 == 0);
    for client in third.into_iter().chain(rest.into_iter().rev()) {
        if client.id % 2 == 0 { client.reset_quietly() } else { drop(client) }
    }
    trial.expect_idle("50 clients have left and 5 say nothing")?;
    trial.expect_held(base + 5, "after 50 clients left")?;
    trial.echo_all(&mut staying, 100)
}

/// Once descriptors are free again, the server has nothing to retry.
#[check(clause = 7)]
fn once_there_are_descriptors_again_the_server_sleeps(trial: &mut Trial<'_>) -> Step {
    let (_inside, outside) = trial.fill_up(false)?;
    trial.suspect(
        "After a lack of descriptors the listener is watched again, and the retry is planned only while there is one.",
    );
    trial.lift_limit()?;
    let _served = trial.admitted(outside)?;
    trial.expect_idle("it has enough descriptors again")
}

/// A client that sent until the server took no more bytes, and that read nothing.
fn stuck(trial: &mut Trial<'_>) -> Step<Client> {
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.fill(std::slice::from_mut(&mut client))?;
    Ok(client)
}

/// 20 round trips of 1 byte, with a rest after each: each byte wakes the server about once.
#[check(clause = 7)]
fn a_round_trip_costs_few_wakeups(trial: &mut Trial<'_>) -> Step {
    const ROUND_TRIPS: u64 = 20;
    const LOOK: Duration = Duration::from_millis(200);
    // One wakeup brings the byte. Others may bring a completion, or wake another thread.
    let allowed = ROUND_TRIPS * if trial.subject.own { 5 } else { 40 };
    trial.needs_proc()?;
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.rest()?;
    let process = trial.process()?;
    let wakeups = || process.activity().unwrap_or_default().wakeups;
    // Wakeups without a client, for example a runtime's own tick, are judged by another check.
    let (before, start) = (wakeups(), Instant::now());
    std::thread::sleep(LOOK);
    let (anyhow, looked) = (wakeups().saturating_sub(before), start.elapsed());
    trial.step(format!("{ROUND_TRIPS} times c0 sends 1 byte, reads it back, and the server comes to rest"));
    let (before, start) = (wakeups(), Instant::now());
    for _ in 0..ROUND_TRIPS {
        client.plan(1);
        echo_all(std::slice::from_mut(&mut client))?;
        trial.rest()?;
    }
    let woken = wakeups().saturating_sub(before);
    let share = start.elapsed().as_secs_f64() / looked.as_secs_f64();
    // Twice, because a tick is not regular on a busy machine.
    let anyhow = (2.0 * share * anyhow as f64) as u64;
    if woken > allowed + anyhow {
        let what = format!(
            "{ROUND_TRIPS} round trips cost {woken} wakeups; at most {allowed} are allowed, and {anyhow} for what it does \
             with nothing to do"
        );
        return Err(trial.with_view(Symptom::Spinning, what, NAPS));
    }
    Ok(())
}

/// 12 clients connect one at a time: of the threads that wait for events, at most two wake for each.
#[check(clause = 7)]
fn a_connect_wakes_one_worker_and_not_all(trial: &mut Trial<'_>) -> Step {
    const CONNECTS: usize = 12;
    // One thread accepts and hands the connection to another. Now and then a third thread wakes.
    const ENOUGH: usize = CONNECTS * 5 / 2;
    trial.needs_proc()?;
    let process = trial.process()?;
    trial.probe()?;
    trial.settle()?;
    trial.step(format!(
        "{CONNECTS} clients connect one at a time, and the threads that each wakes from a wait are counted"
    ));
    let mut clients = Vec::new();
    let mut woken = 0;
    for _ in 0..CONNECTS {
        let before = process.threads().unwrap_or_default();
        clients.push(trial.connect_quietly(ConnectOptions::default())?);
        trial.settle()?;
        let after = process.threads().unwrap_or_default();
        let same = |thread: &&Thread| after.iter().any(|it| it.tid == thread.tid && it.switches == thread.switches);
        // The server itself wakes threads that sleep elsewhere (for a lock, for work). A foreign server's thread that
        // waits with a timeout may have woken by the timeout.
        let counts = |call: &Call| call.is_wait() && (trial.subject.own || call.is_endless());
        let waits = |thread: &&Thread| thread.call.as_ref().is_some_and(counts);
        woken += before.iter().filter(waits).filter(|thread| !same(thread)).count();
    }
    if woken > ENOUGH {
        let what = format!("{CONNECTS} connects, one at a time, woke threads from their wait {woken} times");
        return Err(trial.with_view(Symptom::Spinning, what, HERD));
    }
    Ok(())
}
