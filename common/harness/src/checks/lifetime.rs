//! Buffer lifetime: shared buffers, buffers lent twice, and bytes that a connection leaves behind.
//!
//! Invariant: every byte tells its connection and offset, so a failure can say whose byte was read. The server is stuck
//! in the middle of a send when the next connection uses the buffer.

use harness_macros::check;

use crate::client::{Client, ConnectOptions, echo_all, send_all, size};
use crate::failure::Step;
use crate::trial::Trial;

const MIB: u64 = 1 << 20;

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
    for _ in 0..20 {
        let mut before = trial.connect_with(ConnectOptions::NARROW)?;
        before.send(more)?;
        before.receive(10)?;
        before.reset();
        let mut next = trial.connect()?;
        next.echo(1000)?;
        next.echo(100_000)?;
    }
    Ok(())
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
