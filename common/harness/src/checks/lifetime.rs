//! Buffer lifetime: shared buffers, buffers lent twice, and bytes that a connection leaves behind.
//!
//! Invariant: every byte tells its connection and offset, so a failure can say whose byte was read. The server is stuck
//! in the middle of a send when the next connection uses the buffer.

use harness_macros::check;

use crate::client::{Client, ConnectOptions, echo_all, send_all, size};
use crate::failure::{Step, Stop, Symptom};
use crate::subject::Model;
use crate::trial::{Trial, growth};

const MIB: u64 = 1 << 20;
const GIVEN_BACK: &str = "These connections ended in the middle of a send. What a connection has of a pool goes back where a send \
                          fails too, and not only where all is sent.";

const USED_UP: &str = "These connections ended in the middle of a send. What they had of a pool (a buffer that was lent to the \
                       kernel, say) has not come back, so each operation fails for lack of it, and is made again in another \
                       way: give it back where a send fails too.";

/// 64 KiB, then 1 byte, 100 and so on: on one connection, then the short ones on another.
#[check(clause = 2)]
fn short_messages_after_long_ones_carry_no_old_bytes(trial: &mut Trial<'_>) -> Step {
    let mut long = trial.connect()?;
    let mut other = trial.connect()?;
    for short in [1, 2, 100, 1023, 4095, 16_385] {
        long.echo(64 * 1024)?;
        long.echo(short)?;
        long.echo(64 * 1024)?;
        other.echo(short)?;
    }
    Ok(())
}

/// Two connections send 16 MiB each at the same time.
#[check(clause = 2, quick)]
fn large_messages_of_two_connections_are_not_mixed(trial: &mut Trial<'_>) -> Step {
    let mut clients = vec![trial.connect()?, trial.connect_with(ConnectOptions::receive_buffer(16 * 1024))?];
    trial.echo_all(&mut clients, 16 * MIB)
}

/// 32 MiB on each of two connections, no reading until the server is stuck with both and has served a third.
#[check(clause = 2)]
fn bytes_held_for_two_stuck_clients_are_not_mixed(trial: &mut Trial<'_>) -> Step {
    for (options, each) in [(ConnectOptions::NARROW, 3 * MIB), (ConnectOptions::default(), 32 * MIB)] {
        let mut clients = trial.connect_many_with(2, options)?;
        trial.fill(&mut clients)?;
        // A buffer that was given back too early now belongs to the next connection.
        trial.connect()?.echo(100_000)?;
        trial.step(format!("both read at last, and send on, up to {}", size(each)));
        clients.iter_mut().for_each(|client| client.planned = each.max(client.sent));
        echo_all(&mut clients)?;
    }
    Ok(())
}

/// A client with pending bytes is reset, and the next client gets its descriptor; 20 times.
#[check(clause = 2)]
fn a_new_connection_gets_nothing_of_the_one_before_it(trial: &mut Trial<'_>) -> Step {
    let more = trial.more_than_fits()?;
    let mut owed = 0;
    for _ in 0..20 {
        let mut before = trial.connect_with(ConnectOptions::NARROW)?;
        before.send(more)?;
        before.receive(10)?;
        owed += u32::from(before.is_owed());
        before.reset();
        let mut next = trial.connect()?;
        next.echo(1000)?;
        next.echo(100_000)?;
    }
    match owed {
        0 => Err(Stop::skip(format!("nothing was owed to any client: the sockets took all of the {}", size(more)))),
        _ => Ok(()),
    }
}

/// In one wake 8 neighbours send 3,000 bytes each, and 8 others from 8 to 64 descriptors further; again with every distance
/// up to 1,088, and when the first have left and others have come.
#[check(clause = 2)]
fn connections_share_no_buffer_however_far_apart_they_are(trial: &mut Trial<'_>) -> Step {
    // The distances between 8 neighbours and 8 others, each 8 further than the one before, are 64 in a row. A kernel may
    // hand no more than 20 completions to one io_uring_enter.
    const EACH: u32 = 8;
    const ROW: u32 = EACH * EACH;
    const ROWS: u32 = 17;
    const ALL: u32 = (ROWS - 1) * (ROW + EACH) + ROW + 1;
    // Where each may need a thread, that would be a long check.
    let is_loop = trial.subject.own && trial.subject.model != Model::Unknown;
    let all = trial.many_at_once(if is_loop { ALL } else { 300 })?;
    let all = trial.up_to(all, ROW + 1)?;
    let mut clients = trial.connect_many(all)?;
    trial.rest()?;
    for row in 0..ROWS {
        // Others each time: whoever has been served may have another buffer by now.
        let first = row * EACH;
        let further = first + row * ROW + EACH;
        if further + ROW - EACH >= all {
            break;
        }
        let others = (further..further + ROW).step_by(EACH as usize);
        trial.step(format!(
            "c{first} and the 7 after it, and every eighth from c{further}, send 3,000 bytes in one wake"
        ));
        send_in_one_wake(trial, &mut clients, (first..first + EACH).chain(others))?;
    }
    // Whoever comes now must not get what one of the last has.
    trial.step("the first 8 close");
    clients.drain(..EACH as usize);
    trial.rest()?;
    clients.extend(trial.connect_many(EACH)?);
    trial.rest()?;
    trial.step("these 8 and the last 8 before them send 3,000 bytes in one wake");
    send_in_one_wake(trial, &mut clients, all - 2 * EACH..all)
}

/// Lets the clients at these places send while the server is stopped, and all of them read.
fn send_in_one_wake(trial: &mut Trial<'_>, clients: &mut [Client], places: impl Iterator<Item = u32>) -> Step {
    trial.freeze()?;
    for place in places {
        clients[place as usize].send_quietly(3000)?;
    }
    trial.thaw()?;
    echo_all(clients)
}

/// Two clients are stuck while 72 MiB of four others pass, in thousands of reads; then they read.
#[check(clause = 2)]
fn bytes_held_while_thousands_of_reads_pass_are_kept(trial: &mut Trial<'_>) -> Step {
    let more = trial.more_than_fits()?;
    let mut stuck = trial.connect_many_with(2, ConnectOptions::NARROW)?;
    trial.step(format!("each sends {}, and reads nothing", size(more)));
    send_all(&mut stuck, more)?;
    trial.rest()?;
    trial.expect_owed(&stuck)?;
    let mut others = trial.connect_many(4)?;
    trial.echo_all(&mut others, 18 * MIB)?;
    trial.step("the two that are stuck read at last");
    echo_all(&mut stuck)
}

/// 6 rounds of 20 clients that are reset while the server sends to them: neither memory nor an operation in flight is left
/// behind, and an answer costs as many system calls as before.
#[check(clause = 4)]
fn a_send_that_fails_gives_back_what_it_had(trial: &mut Trial<'_>) -> Step {
    const ROUNDS: usize = 6;
    const CLIENTS: u32 = 20;
    /// The smallest buffer that is looked for.
    const BUFFER: u64 = 16 * 1024;
    /// The arenas of several threads fill up one after the other, at most by 10 KiB for each client where it was seen. They
    /// come to an end, and a leak does not: it is there in each of so many times six rounds.
    const TIMES: u32 = 4;
    trial.small_send_buffers()?;
    let after = "after clients were reset while it sent to them";
    let base = trial.held_without_clients()?;
    let in_flight = trial.in_flight()?;
    let calls = if trial.subject.own { trial.calls_for_a_byte()? } else { None };
    let more = trial.more_than_fits()?;
    let mut resident = Vec::new();
    for _ in 0..TIMES {
        trial.step(format!("{ROUNDS} times {CLIENTS} clients send {} each, read nothing, and are reset", size(more)));
        resident.clear();
        for _ in 0..ROUNDS {
            reset_in_a_send(trial, CLIENTS, more)?;
            resident.extend(trial.process()?.resident());
        }
        if !trial.subject.own || !growth::goes_on(&resident, CLIENTS, BUFFER) {
            break;
        }
    }
    trial.expect_held(base, after)?;
    trial.expect_in_flight(in_flight, after)?;
    if trial.subject.own {
        trial.expect_no_memory_growth(&resident, CLIENTS, BUFFER).map_err(|stop| stop.because(GIVEN_BACK))?;
        trial.expect_calls_for_a_byte(calls, after, USED_UP)?;
    }
    trial.probe()
}

fn reset_in_a_send(trial: &mut Trial<'_>, count: u32, bytes: u64) -> Step {
    let clients = (0..count).map(|_| trial.connect_quietly(ConnectOptions::NARROW));
    let mut clients = clients.collect::<Step<Vec<_>>>()?;
    send_all(&mut clients, bytes)?;
    trial.rest()?;
    trial.expect_owed(&clients)?;
    clients.into_iter().for_each(Client::reset_quietly);
    trial.await_ends()?;
    trial.rest()
}

/// 12 rounds of 12 clients that are reset with pending bytes, beside a client that streams.
#[check(clause = 4)]
fn resets_in_the_middle_of_sends_leave_a_stream_byte_exact(trial: &mut Trial<'_>) -> Step {
    let more = trial.more_than_fits()?;
    let mut stream = vec![trial.connect()?, trial.connect_with(ConnectOptions::NARROW)?];
    for _ in 0..12 {
        let mut victims = trial.connect_many_with(12, ConnectOptions::NARROW)?;
        trial.echo_all(&mut victims, 1000)?;
        trial.step(format!("each sends {} without reading, which the server's socket does not take whole", size(more)));
        send_all(&mut victims, more)?;
        trial.echo_all(&mut stream, 200_000)?;
        trial.expect_owed(&victims)?;
        stream.iter_mut().for_each(|client| client.plan(100_000));
        trial.step("all 12 are reset, and the two others send 100,000 bytes");
        victims.into_iter().for_each(Client::reset_quietly);
        echo_all(&mut stream)?;
    }
    trial.probe()
}

/// 2,000 clients send and leave, 500 leave at once, 2,000 are reset; then new ones are served.
#[check(clause = 4)]
fn buffers_come_back_from_thousands_of_connections(trial: &mut Trial<'_>) -> Step {
    let mut witness = trial.connect()?;
    witness.echo(1)?;
    leave(trial, 2000, 100, false)?;
    leave(trial, 500, 0, false)?;
    leave(trial, 2000, 0, true)?;
    let mut clients = trial.connect_many(10)?;
    trial.echo_all(&mut clients, 100_000)?;
    witness.echo(100_000)
}

/// One after the other, `count` clients connect, send some bytes and end.
fn leave(trial: &mut Trial<'_>, count: u32, bytes: u64, reset: bool) -> Step {
    let end = if reset { "are reset" } else { "close" };
    trial.step(format!("{count} clients connect, send {} and {end}; one in four is served first", size(bytes)));
    for i in 0..count {
        let mut client = trial.connect_quietly(ConnectOptions::default())?;
        client.send_quietly(bytes)?;
        // Each client is served before the next connects, because some servers have a short accept queue.
        if i % 4 == 3 {
            client.plan(1);
            echo_all(std::slice::from_mut(&mut client))?;
        }
        if reset {
            client.reset_quietly();
        }
    }
    Ok(())
}

/// Four rounds of 40 clients that come and leave at once: no child of a server with processes stays a zombie.
#[check(clause = 4)]
fn children_that_have_ended_are_waited_for(trial: &mut Trial<'_>) -> Step {
    trial.expect_no_zombies()
}

/// Four rounds of 40 clients that come and leave: the stacks of a server's threads are given back.
#[check(clause = 4)]
fn threads_that_have_ended_are_joined(trial: &mut Trial<'_>) -> Step {
    trial.expect_threads_joined()
}

/// Rounds of bytes that are echoed, of stuck clients that are reset, and of a client that is stuck and then reads all: the
/// memory does not grow from round to round.
#[check(clause = 13)]
fn bytes_that_have_gone_leave_no_memory(trial: &mut Trial<'_>) -> Step {
    const MIB: u64 = 1 << 20;
    const CLIENTS: u32 = 10;
    // Of what each connection is owed, which is more than 64 KiB. What collects garbage needs a margin.
    let least: u64 = if trial.subject.own { 16 << 10 } else { 64 << 10 };
    let mut client = trial.connect()?;
    client.echo(1)?;
    expect_bounded(trial, MIB, "1 MiB or more was echoed on one connection", |_, times| {
        client.echo(u64::from(times) * MIB)
    })?;
    trial.small_send_buffers()?;
    expect_bounded(
        trial,
        u64::from(CLIENTS) * least,
        "10 clients were reset while bytes were owed to them",
        |trial, _| {
            let count = trial.up_to(CLIENTS, 1)?;
            let mut stuck = trial.connect_many_with(count, ConnectOptions::NARROW)?;
            trial.fill_up_to(&mut stuck, MIB / 2)?;
            stuck.into_iter().for_each(Client::reset_quietly);
            Ok(())
        },
    )?;
    let mut stuck = trial.connect_with(ConnectOptions::NARROW)?;
    expect_bounded(trial, 2 * least, "a client that was stuck read all that it was owed", |trial, _| {
        trial.fill_up_to(std::slice::from_mut(&mut stuck), MIB / 2)?;
        echo_all(std::slice::from_mut(&mut stuck))
    })
}

/// The memory after each round does not grow by half of `each` bytes a round to the end. `round` is told how many times as
/// much as usual is to be done.
fn expect_bounded(
    trial: &mut Trial<'_>,
    each: u64,
    what: &str,
    mut round: impl FnMut(&mut Trial<'_>, u32) -> Step,
) -> Step {
    const ROUNDS: usize = 9;
    // What frees late, when its collector gets to it, does so within some dozen megabytes.
    for (rounds, times) in [(ROUNDS, 1), (3 * ROUNDS, 3)] {
        let mut memory = Vec::new();
        for _ in 0..rounds {
            round(trial, times)?;
            trial.rest()?;
            memory.extend(trial.memory()?);
        }
        if memory.is_empty() {
            return Err(Stop::skip("the server's memory cannot be seen here"));
        }
        if !growth::goes_on(&memory, times, each) {
            return Ok(());
        }
        if times > 1 || trial.subject.own {
            let kib: Vec<String> = memory.iter().map(|bytes| (bytes >> 10).to_string()).collect();
            let what = format!("its memory, in KiB, after rounds in each of which {what}: {}", kib.join(" "));
            let cause = "It grows without end. Free what held the bytes when the last of them is sent, and when the \
                         connection ends before that.";
            return Err(trial.with_view(Symptom::Leak, what, cause));
        }
    }
    Ok(())
}
