//! Endings: a FIN while bytes are pending, resets at every moment, and the next owner of a descriptor.
//!
//! Invariant: a check about descriptors counts them before the first client and after the last client, while the server
//! sleeps. A check about bytes reads up to the server's own FIN, so a reset at the end fails the check.

use harness_macros::check;

use crate::client::{Client, ConnectOptions, echo_all, expect_eof_all, send_all, size};
use crate::failure::{Step, Stop};
use crate::trial::Trial;

const MOVED: &str = "Another connection has just left. If the last entry of a list moves into the gap, all that belongs to it must \
                     move: the descriptor, its events, and its pending bytes.";

/// Half-close without a byte sent, and half-close after everything was echoed.
#[check(clause = 3, quick)]
fn fin_alone_is_answered_with_fin(trial: &mut Trial<'_>) -> Step {
    let mut silent = trial.connect()?;
    silent.half_close()?;
    silent.expect_eof()?;
    let mut served = trial.connect()?;
    served.echo(10)?;
    served.half_close()?;
    served.expect_eof()
}

/// 64 KiB and half-close at once, on 20 connections, while the server runs.
#[check(clause = 3, quick)]
fn fin_right_behind_64_kib_loses_nothing(trial: &mut Trial<'_>) -> Step {
    for _ in 0..20 {
        let mut client = trial.connect()?;
        client.send(64 * 1024)?;
        client.half_close()?;
        client.expect_eof()?;
    }
    Ok(())
}

/// A client sends more than the sockets on the way back can hold, half-closes, and only then reads up to the server's
/// FIN.
#[check(clause = 3)]
fn fin_while_megabytes_are_owed_loses_nothing(trial: &mut Trial<'_>) -> Step {
    // Here the server reads the FIN while bytes are pending. With more bytes, as below, the FIN stays behind unread
    // input.
    let bytes = trial.more_than_fits()?;
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    client.send(bytes)?;
    client.half_close()?;
    trial.rest()?;
    trial.expect_owed(std::slice::from_ref(&client))?;
    client.expect_eof()?;
    for options in [ConnectOptions::default(), ConnectOptions::NARROW] {
        let mut client = trial.connect_with(options)?;
        trial.fill(std::slice::from_mut(&mut client))?;
        client.half_close()?;
        client.expect_eof()?;
    }
    Ok(())
}

/// 40 clients half-close in one wake, every other one with 1,000 bytes before its FIN.
#[check(clause = 3)]
fn fins_of_many_clients_at_once_are_all_answered(trial: &mut Trial<'_>) -> Step {
    let mut clients = trial.connect_many(40)?;
    trial.echo_all(&mut clients, 1)?;
    trial.freeze()?;
    trial.step("each half-closes, and every other one sends 1,000 bytes before");
    for (i, client) in clients.iter_mut().enumerate() {
        client.send_quietly(if i % 2 == 0 { 1000 } else { 0 })?;
        client.half_close_quietly()?;
    }
    trial.thaw()?;
    expect_eof_all(&mut clients)
}

/// Three of five clients are reset: one idle, one with bytes in flight, one with unread echoes.
#[check(clause = 4, quick)]
fn a_reset_ends_that_connection_alone(trial: &mut Trial<'_>) -> Step {
    let mut clients = trial.connect_many(5)?;
    trial.echo_all(&mut clients, 100)?;
    clients.remove(4).reset();
    trial.echo_all(&mut clients, 100)?;
    let mut in_flight = clients.remove(0);
    in_flight.send(64 * 1024)?;
    in_flight.reset();
    trial.echo_all(&mut clients, 100)?;
    let mut unread = clients.remove(1);
    unread.send(64 * 1024)?;
    unread.receive(1)?;
    unread.reset();
    trial.echo_all(&mut clients, 100)?;
    trial.probe()
}

/// 20 clients are reset after a round trip, and 20 right after they sent a byte: no descriptor is left behind.
#[check(clause = 4, quick)]
fn connections_that_were_reset_are_freed(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    let count = trial.up_to(20, 2)?;
    let mut clients = trial.connect_many(count)?;
    trial.echo_all(&mut clients, 1)?;
    trial.step("all are reset");
    clients.into_iter().for_each(Client::reset_quietly);
    trial.expect_held(base, "after clients were reset that had all their bytes back")?;
    trial.step("20 times a client connects, sends 1 byte and is reset at once");
    for _ in 0..20 {
        let mut client = trial.connect_quietly(ConnectOptions::default())?;
        client.send_quietly(1)?;
        client.reset_quietly();
    }
    trial.expect_held(base, "after 20 clients were reset right behind a byte")?;
    trial.probe()
}

/// 50 clients end in mixed order, by FIN, by close or by reset: no descriptor, and no operation in flight, is left
/// behind.
#[check(clause = 4)]
fn connections_are_freed_in_whatever_order_they_end(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    let in_flight = trial.in_flight()?;
    let mut clients = trial.connect_many(50)?;
    trial.echo_all(&mut clients, 10)?;
    trial.step("one after the other they leave: the oldest, the newest, one in the middle; by FIN, close or reset");
    for turn in 0..50 {
        let mut client = match turn % 3 {
            0 => clients.remove(0),
            1 => clients.remove(clients.len() - 1),
            _ => clients.remove(clients.len() / 2),
        };
        match turn % 4 {
            0 => {
                client.half_close_quietly()?;
                expect_eof_all(std::slice::from_mut(&mut client))?;
            }
            1 => client.reset_quietly(),
            _ => drop(client),
        }
        clients.iter_mut().for_each(|client| client.plan(1));
        echo_all(&mut clients)?;
        if clients.len() == 25 {
            trial.expect_held(base + 25, "after 25 of 50 clients had left")?;
        }
    }
    trial.expect_held(base, "after all 50 clients had left")?;
    trial.expect_in_flight(in_flight, "after all 50 clients had left")?;
    trial.probe()
}

/// Of three clients the newest leaves first, by FIN and by reset, then the others: no descriptor of a connection outlives it.
#[check(clause = 4)]
fn a_connection_that_has_ended_is_held_by_nobody(trial: &mut Trial<'_>) -> Step {
    for by in ["FIN", "reset"] {
        let mut clients = trial.connect_many(3)?;
        trial.echo_all(&mut clients, 10)?;
        // Without a new client in between: it would take the place of what was kept of the newest.
        while let Some(client) = clients.pop() {
            let (id, inode) = (client.id, trial.socket_of(&client)?);
            if by == "FIN" {
                client.close()
            } else {
                client.reset()
            }
            trial.expect_let_go(inode, &format!("c{id} has left by {by}"))?;
        }
    }
    trial.probe()
}

/// A client reads 1 byte of its 64 KiB and closes, 10 times over.
#[check(clause = 4)]
fn a_client_that_closes_with_unread_echoes_is_freed(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    for _ in 0..10 {
        let mut client = trial.connect()?;
        client.send(64 * 1024)?;
        client.receive(1)?;
        client.close();
    }
    trial.expect_held(base, "after 10 clients closed with unread bytes (which resets the connection)")?;
    trial.probe()
}

/// Three clients send until they are stuck, and are reset while the server has paused reading.
#[check(clause = 4)]
fn a_reset_while_reading_is_paused_frees_the_descriptor(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    let mut clients = vec![trial.connect()?];
    clients.extend(trial.connect_many_with(2, ConnectOptions::NARROW)?);
    trial.fill(&mut clients)?;
    clients.into_iter().for_each(Client::reset);
    trial.expect_held(base, "after three clients were reset while it was not reading them")?;
    trial.probe()
}

/// A stuck client sends FIN and is then reset: no input is left, so only the failing write shows the reset.
#[check(clause = 4)]
fn a_reset_of_a_stuck_client_that_had_finished_frees_the_descriptor(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    // Too few bytes to pause reading: the server has read the FIN before the reset comes.
    let bytes = trial.more_than_fits()?;
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    client.send(bytes)?;
    client.half_close()?;
    trial.rest()?;
    trial.expect_owed(std::slice::from_ref(&client))?;
    client.reset();
    trial.expect_held(base, "after a client was reset that had sent FIN and read nothing")?;
    // A place that was given back twice is given to two of the next clients.
    let mut next = trial.connect_many(3)?;
    trial.echo_all(&mut next, 100)
}

/// 20 clients connect and are reset while the server is stopped, half of them with a byte sent.
#[check(clause = 10)]
fn clients_that_vanish_before_they_are_accepted_are_survived(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    trial.freeze()?;
    let count = trial.up_to(20, 2)?;
    let mut clients = trial.connect_many(count)?;
    trial.step("half of them send 1 byte, and all are reset");
    let half = clients.len() / 2;
    send_all(&mut clients[..half], 1)?;
    clients.into_iter().for_each(Client::reset_quietly);
    trial.thaw()?;
    trial.probe()?;
    trial.expect_held(base, "after clients were reset before it could accept them")
}

/// In one wake three clients are reset, three new ones get their descriptors, and three others send; 15 times.
#[check(clause = 2)]
fn an_event_of_a_closed_connection_never_reaches_the_next_one(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    let mut others = trial.connect_many(3)?;
    let mut owners = trial.connect_many(3)?;
    trial.echo_all(&mut others, 100)?;
    trial.echo_all(&mut owners, 100)?;
    for _ in 0..15 {
        trial.freeze()?;
        trial.step("three with 1,000 bytes in flight are reset, three connect and send 3,000, three others send 500");
        send_all(&mut owners, 1000)?;
        owners.drain(..).for_each(Client::reset_quietly);
        let count = trial.up_to(3, 1)?;
        owners = trial.connect_many(count)?;
        send_all(&mut owners, 3000)?;
        send_all(&mut others, 500)?;
        trial.thaw()?;
        echo_all(&mut owners)?;
        echo_all(&mut others)?;
        // No connection was closed by an event of the descriptor's previous owner.
        trial.echo_all(&mut owners, 1)?;
    }
    drop((owners, others));
    trial.expect_held(base, "after all had left")
}

/// In one wake three clients with pending bytes are reset, and three new clients get their descriptors; 10 times.
#[check(clause = 4)]
fn a_reset_while_output_is_owed_leaves_the_next_owner_alone(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    // The server waits for input and for room for output. A reset is an event on both.
    let bytes = trial.more_than_fits()?;
    for _ in 0..10 {
        let mut owed = trial.connect_many_with(3, ConnectOptions::NARROW)?;
        trial.step(format!("each sends {} and reads nothing", size(bytes)));
        send_all(&mut owed, bytes)?;
        trial.freeze()?;
        trial.expect_owed(&owed)?;
        trial.step("they are reset, and three others connect and send 1,000 bytes each");
        owed.into_iter().for_each(Client::reset_quietly);
        let count = trial.up_to(3, 1)?;
        let mut next = trial.connect_many(count)?;
        send_all(&mut next, 1000)?;
        trial.thaw()?;
        echo_all(&mut next)?;
        trial.echo_all(&mut next, 1)?;
    }
    trial.expect_held(base, "after all had left")
}

/// Bytes are pending for two of four clients, and an earlier client leaves: the two get all their bytes.
#[check(clause = 5)]
fn bytes_owed_to_others_come_whoever_leaves(trial: &mut Trial<'_>) -> Step {
    trial.suspect(MOVED);
    // Nothing waits to be read: only room for output can wake the server for them.
    let bytes = trial.more_than_fits()?;
    for (leaving, by_reset) in [(0, false), (2, true)] {
        let mut clients = Vec::new();
        for options in [ConnectOptions::default(), ConnectOptions::NARROW].repeat(2) {
            // One after the other, so that a list of them has this order.
            clients.push(trial.connect_with(options)?);
            clients.last_mut().expect("just pushed").echo(1)?;
        }
        trial.step(format!("c{} and c{} send {} each and read nothing", clients[1].id, clients[3].id, size(bytes)));
        send_all(&mut clients[1..2], bytes)?;
        send_all(&mut clients[3..], bytes)?;
        trial.rest()?;
        trial.expect_owed(&clients[1..2])?;
        trial.expect_owed(&clients[3..])?;
        let gone = clients.remove(leaving);
        if by_reset {
            gone.reset()
        } else {
            gone.close()
        }
        trial.await_ends()?;
        trial.rest()?;
        for client in &mut clients {
            client.expect_echo()?;
            trial.rest()?;
        }
        for client in &mut clients {
            client.echo(1)?;
            trial.rest()?;
        }
        clients.into_iter().for_each(Client::reset_quietly);
        trial.await_ends()?;
    }
    Ok(())
}

/// Three clients with small windows send 48 KiB and FIN, and read nothing: close must not wait for their unsent bytes
/// while others are served.
#[check(clause = 6)]
fn a_close_with_bytes_under_way_keeps_nobody_waiting(trial: &mut Trial<'_>) -> Step {
    // The bytes fit into the server's socket and not into the client's: nothing is pending in the server when it reads
    // the FIN.
    const BYTES: u64 = 48 * 1024;
    let mut neighbour = trial.connect()?;
    neighbour.echo(1)?;
    let mut clients = trial.connect_many_with(3, ConnectOptions::NARROW)?;
    trial.echo_all(&mut clients, 1)?;
    let mut under_way = 0;
    for client in &mut clients {
        client.send(BYTES)?;
        // One client after the other: meanwhile the server sleeps in its wait or in its close.
        trial.rest()?;
        under_way += u32::from(client.has_bytes_under_way());
        client.half_close()?;
        trial.rest()?;
        neighbour.echo(1)?;
        trial.probe()?;
    }
    expect_eof_all(&mut clients)?;
    neighbour.echo(1)?;
    match under_way {
        0 => Err(Stop::skip(format!("the clients' sockets took all {}, so no close had bytes under way", size(BYTES)))),
        _ => Ok(()),
    }
}
