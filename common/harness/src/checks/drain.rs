//! Many events in one wait: the server must take all that came before the wait, because an edge is reported once.
//!
//! The checks freeze the server: SIGSTOP, the clients' steps, SIGCONT. The server then meets all steps in one wait.

use std::time::{Duration, Instant};

use harness_macros::check;

use crate::client::{Client, ConnectOptions, echo_all, expect_eof_all, make_room, send_all, size};
use crate::failure::{Step, Stop, Symptom};
use crate::trial::Trial;

const TURN: usize = 64 * 1024;

/// 8 clients connect and send a byte while the server is stopped; no further connect may be needed.
#[check(clause = 2, quick)]
fn a_burst_of_connects_in_one_wakeup_is_all_accepted(trial: &mut Trial<'_>) -> Step {
    burst_of_connects(trial, 8, 2)
}

/// 1,500 connects in one wake (300 for a foreign server), and then 300 beside more bytes of one client than a turn reads: a
/// bounded accept loop must come back by itself. A multishot accept that ended must be armed again.
#[check(clause = 2)]
fn more_connects_than_any_batch_in_one_wakeup_are_all_accepted(trial: &mut Trial<'_>) -> Step {
    // More than a completion queue of the usual size can hold. Fewer where descriptors are scarce, and for foreign
    // servers, whose limit is not known: select has 1,024.
    let count = if trial.subject.own && trial.needs_fds(1500).is_ok() { 1500 } else { 300 };
    // One wake never brings more connects than the accept queue can hold.
    burst_of_connects(trial, count, 9)?;
    burst_beside_a_large_message(trial)
}

/// Both the listener and a connection have more than a batch: each goes on in the next turn, and neither because of the other.
fn burst_beside_a_large_message(trial: &mut Trial<'_>) -> Step {
    trial.process()?.widen(4 << 20);
    let mut talker = trial.connect_with(ConnectOptions::UNPACED)?;
    // Where nothing was widened, the sockets grow by what they carry.
    talker.echo(16 << 20)?;
    trial.rest()?;
    trial.freeze()?;
    talker.send_until_stuck(3 << 20)?;
    let count = trial.up_to(300, 9)?;
    let mut clients = trial.connect_many(count)?;
    trial.step(format!("each of the {count} sends 1 byte"));
    send_all(&mut clients, 1)?;
    trial.thaw()?;
    // No client connects before the verdict: a connect would bring the missing edge.
    clients.push(talker);
    echo_all(&mut clients)
}

fn burst_of_connects(trial: &mut Trial<'_>, count: u32, least: u32) -> Step {
    trial.server()?;
    trial.freeze()?;
    let count = trial.up_to(count, least)?;
    let mut clients = trial.connect_many(count)?;
    trial.step(format!("each of the {count} sends 1 byte"));
    send_all(&mut clients, 1)?;
    trial.thaw()?;
    trial.expect_no_pause_at_the_door()?;
    // No client connects before the verdict: a connect would bring the missing edge.
    echo_all(&mut clients)
}

/// 64 KiB in 16 sends arrive while the server is stopped.
#[check(clause = 2, quick)]
fn a_burst_of_bytes_in_one_wakeup_is_all_read(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.freeze()?;
    for _ in 0..16 {
        client.send(4096)?;
    }
    trial.thaw()?;
    client.expect_echo()
}

/// 3 MiB in one wake, in wide sockets: more than 16 reads of 64 KiB, and no lack of room that could bring another edge.
#[check(clause = 2)]
fn more_bytes_than_any_batch_of_reads_in_one_wakeup_are_all_read(trial: &mut Trial<'_>) -> Step {
    const MIB: u64 = 1 << 20;
    /// Where the kernel gives a connection less room than this, there is no such batch.
    const ENOUGH: u64 = 5 * MIB / 4;
    trial.process()?.widen(4 << 20);
    let mut client = trial.connect_with(ConnectOptions::UNPACED)?;
    let mut most = 0;
    for round in 0..4 {
        // Where nothing was widened, the sockets grow by what they carry.
        client.echo(if round == 0 { 1 } else { 16 * MIB })?;
        trial.rest()?;
        trial.freeze()?;
        client.send_until_stuck(3 * MIB)?;
        let unread = client.at_server().map(|(unread, _)| unread);
        trial.thaw()?;
        client.expect_echo()?;
        most = most.max(unread.ok_or_else(|| Stop::skip("needs Linux's /proc"))?);
        if most >= ENOUGH {
            return Ok(());
        }
    }
    Err(Stop::skip(format!("the kernel took {} for the stopped server, and {} are needed", size(most), size(ENOUGH))))
}

/// Sizes around every usual buffer, each in one wake of its own on one connection; and 200,000 bytes, without a pause between
/// the turns that read them.
#[check(clause = 2)]
fn any_number_of_bytes_in_one_wakeup_is_all_read(trial: &mut Trial<'_>) -> Step {
    const ATTEMPTS: u32 = 20;
    let mut client = trial.connect()?;
    for around in [1, 1024, 4096, 8192, 16_384, 32_768, 65_536] {
        for bytes in [around - 1, around, around + 1].into_iter().filter(|bytes| *bytes > 0) {
            trial.freeze()?;
            client.send(bytes)?;
            trial.thaw()?;
            client.expect_echo()?;
        }
    }
    // More than one turn's work of any server, and no more than the sockets of the way back take.
    for _ in 0..ATTEMPTS {
        trial.freeze()?;
        client.send(200_000)?;
        let since = Instant::now();
        trial.thaw()?;
        let watched = trial.expect_no_pause_in_reading(&client, since)?;
        client.expect_echo()?;
        if watched {
            return Ok(());
        }
    }
    Err(Stop::skip(format!("on this busy machine a pause between two turns cannot be seen, in {ATTEMPTS} attempts")))
}

fn bytes_and_fin(trial: &mut Trial<'_>, sizes: &[u64]) -> Step {
    trial.server()?;
    for &bytes in sizes {
        let mut client = trial.connect()?;
        // Each client is served once before, so only bytes and FIN are in the batch, and no accept.
        client.echo(1)?;
        trial.freeze()?;
        client.send(bytes)?;
        client.half_close()?;
        trial.thaw()?;
        client.expect_eof()?;
    }
    Ok(())
}

/// 10 bytes and FIN arrive as one event: the server must also make the read that returns 0.
#[check(clause = 3)]
fn bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished(trial: &mut Trial<'_>) -> Step {
    bytes_and_fin(trial, &[10])
}

/// A FIN behind 1 to 200,000 bytes: RDHUP announces the FIN, and the bytes before the FIN come first.
#[check(clause = 3, quick)]
fn many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished(trial: &mut Trial<'_>) -> Step {
    bytes_and_fin(trial, &[1, 4095, 4096, 16_384, 65_536, 65_537, 131_072, 200_000])
}

/// FIN behind 14,000 bytes to 2 MiB, which all wait in the server's wide socket: behind more than a turn reads, and behind a
/// turn that ends with a short read.
#[check(clause = 3)]
fn a_fin_behind_more_bytes_than_one_turn_reads_loses_none(trial: &mut Trial<'_>) -> Step {
    /// More than the turns of the servers here, which read 256 KiB at most.
    const ENOUGH: u64 = 256 * 1024 + 1;
    const UNDER_WAY: Duration = Duration::from_millis(300);
    const BEHIND: &str = "This check is about a FIN behind more bytes than one turn reads. RDHUP (EV_EOF) says that the client \
                          sends no more, and not that all was read: go on in the next turn, until a read returns 0.";
    // Three full reads and a short one with a buffer of 4, 16 and 64 KiB; fifteen and a short one with 64 KiB.
    const SIZES: [u64; 6] = [14_000, 50_000, 200_000, 300_000, 984_000, 2 << 20];
    // The sockets take it all on the way back, so that no room which comes later brings another edge.
    trial.process()?.widen(4 << 20);
    let mut met = Vec::new();
    for bytes in SIZES {
        let mut client = trial.connect_with(ConnectOptions::UNPACED)?;
        // The kernel gives a connection more room the more is read from it.
        client.echo(4 << 20)?;
        trial.freeze()?;
        client.plan(bytes);
        while client.write_some(TURN)? > 0 {}
        client.planned = client.sent;
        trial.step(format!("c{} sends {}", client.id, size(client.outstanding())));
        client.half_close()?;
        // Where the room is less, the server meets less at once, and this check sees less.
        let end = Instant::now() + UNDER_WAY;
        while client.at_server().is_some_and(|(unread, _)| unread < client.outstanding()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        met.extend(client.at_server().map(|(unread, _)| unread));
        trial.thaw()?;
        client.expect_eof().map_err(|stop| stop.suspecting((&[Symptom::Reset, Symptom::Truncated], BEHIND)))?;
    }
    match met.iter().max() {
        Some(most) if *most < ENOUGH => Err(Stop::skip(format!(
            "the kernel took {} for the stopped server, and {} before a FIN are needed",
            size(*most),
            size(ENOUGH)
        ))),
        _ => Ok(()),
    }
}

/// 32 KiB on each of 40 connections at once: more than one turn's work, on more than one connection.
#[check(clause = 2)]
fn bursts_on_many_connections_in_one_wakeup_are_all_read(trial: &mut Trial<'_>) -> Step {
    let mut clients = trial.connect_many(40)?;
    trial.echo_all(&mut clients, 1)?;
    trial.freeze()?;
    trial.step("each of the 40 sends 32 KiB");
    send_all(&mut clients, 32 * 1024)?;
    trial.thaw()?;
    echo_all(&mut clients)
}

/// Three bursts on one connection, each in one wake: after a full drain the edge must come again.
#[check(clause = 2)]
fn a_second_burst_is_read_like_the_first(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    for bytes in [64 * 1024, 1, 64 * 1024] {
        trial.freeze()?;
        client.send(bytes)?;
        trial.thaw()?;
        client.expect_echo()?;
    }
    Ok(())
}

/// New clients, and old clients that sent bytes, finished or were reset, all in one wake.
#[check(clause = 2)]
fn connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled(trial: &mut Trial<'_>) -> Step {
    for _ in 0..5 {
        let mut old = trial.connect_many(12)?;
        trial.echo_all(&mut old, 100)?;
        trial.freeze()?;
        let count = trial.up_to(12, 1)?;
        let mut new = trial.connect_many(count)?;
        trial.step(
            "4 of the old ones are reset, 4 send 5,000 bytes and FIN, 4 send 5,000 bytes; the new ones send 5,000",
        );
        old.drain(..4).for_each(Client::reset_quietly);
        send_all(&mut old, 5000)?;
        send_all(&mut new, 5000)?;
        for client in &mut old[..4] {
            client.half_close()?;
        }
        trial.thaw()?;
        expect_eof_all(&mut old[..4])?;
        echo_all(&mut old[4..])?;
        echo_all(&mut new)?;
    }
    Ok(())
}

/// Connect, 3,000 bytes and FIN before the server could accept, 20 times over.
#[check(clause = 3)]
fn a_client_that_came_and_finished_in_one_wakeup_is_served(trial: &mut Trial<'_>) -> Step {
    trial.server()?;
    trial.freeze()?;
    let count = trial.up_to(20, 1)?;
    let mut clients = trial.connect_many(count)?;
    trial.step(format!("each of the {count} sends 3,000 bytes and FIN"));
    send_all(&mut clients, 3000)?;
    for client in &mut clients {
        client.half_close()?;
    }
    trial.thaw()?;
    expect_eof_all(&mut clients)
}

/// A stopped server meets a full receive queue: reads, writes and pauses of one drain depend on each other.
#[check(clause = 5)]
fn a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.freeze()?;
    client.send_until_stuck(64 << 20)?;
    trial.thaw()?;
    // The server fills its own send buffer, stops reading, and must start to read again by itself.
    trial.settle()?;
    client.expect_echo()?;
    client.echo(1)
}

/// 64 stuck clients can be written to in one wake, then 128, then 1,100 (708 or 108 where little is allowed) beside a
/// byte from all before; half have sent a byte more.
#[check(clause = 2)]
fn room_on_more_connections_than_any_batch_in_one_wakeup_is_all_used(trial: &mut Trial<'_>) -> Step {
    let small = trial.small_send_buffers()?;
    let all = how_many(trial, small)?;
    let all = trial.up_to(all, FEWEST)?;
    let waves = if all > 192 + FEWEST { vec![64, 128, all - 192] } else { vec![all] };
    let bytes = trial.more_than_fits_by(4 * 1024)?;
    let mut before: Vec<Client> = Vec::new();
    for count in waves {
        let mut wave = room_in_one_wakeup(trial, count, bytes, if count > 128 { &mut before } else { &mut [] })?;
        before.append(&mut wave);
    }
    Ok(())
}

/// 4,200 stuck clients can be written to in one wake, and half of them have sent a byte more.
#[check(clause = 2, long, alone)]
fn room_on_thousands_of_connections_in_one_wakeup_is_all_used(trial: &mut Trial<'_>) -> Step {
    if !trial.small_send_buffers()? {
        return Err(Stop::skip("needs small send buffers (pidfd_getfd(2)): otherwise it takes gigabytes"));
    }
    let all = trial.many_at_once(THOUSANDS)?;
    if all < 1025 {
        return Err(Stop::skip(format!(
            "it may have {all} clients at once, and so many have room in one wake elsewhere"
        )));
    }
    let all = trial.up_to(all, 1025)?;
    let bytes = trial.more_than_fits_by(4 * 1024)?;
    room_in_one_wakeup(trial, all, bytes, &mut []).map(|_| ())
}

/// So many new clients are stuck, and can all be written to in one wake, in which those `before` them send a byte each.
fn room_in_one_wakeup(trial: &mut Trial<'_>, count: u32, bytes: u64, before: &mut [Client]) -> Step<Vec<Client>> {
    let mut wave = trial.connect_many_with(count, ConnectOptions::NARROW)?;
    trial.echo_all(&mut wave, 1)?;
    trial.step(format!("each of the {count} sends {}, and reads nothing", size(bytes)));
    let sent = send_all(&mut wave, bytes);
    trial.unless_cut_off(sent)?;
    trial.rest()?;
    let owed = wave.iter().filter(|client| client.is_owed()).count();
    wave.iter().for_each(Client::widen);
    trial.freeze()?;
    if !before.is_empty() {
        trial.step(format!("the {} before them send 1 byte each", before.len()));
        send_all(before, 1)?;
    }
    trial.step(format!("every other one of the {count} sends 1 byte more, and all read what comes meanwhile"));
    wave.iter_mut().step_by(2).try_for_each(|client| client.send_quietly(1))?;
    let full = make_room(&mut wave)?;
    trial.thaw()?;
    // No client sends before the verdict: a send would be another event.
    trial.step("all read the rest");
    echo_all(&mut wave)?;
    echo_all(before)?;
    match owed.min(wave.len() - full) {
        all if all == wave.len() => Ok(wave),
        some => {
            Err(Stop::skip(format!("only {some} of {count} clients were owed something and had room for it at once")))
        }
    }
}

/// More than the smallest batch of any server.
const FEWEST: u32 = 66;
/// More than the largest.
const THOUSANDS: u32 = 4200;

/// As many as the harness and the server may have; a foreign server's own select would stop at 1,024 descriptors. Where
/// each takes half a megabyte until it is stuck, no more than 300.
fn how_many(trial: &mut Trial<'_>, small: bool) -> Step<u32> {
    const MANY: u32 = 64 + 128 + 1100;
    if !small {
        return trial.needs_fds(300).map(|()| 300);
    }
    match trial.many_at_once(MANY) {
        Err(Stop::Skip(_)) => trial.needs_fds(300).map(|()| 300),
        many => many,
    }
}
