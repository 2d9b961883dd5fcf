//! Clients that read slowly, late or never: the server keeps pending bytes in order and in bounded memory.
//!
//! Invariant: a client stops reading until the server is stuck, not until some number of bytes was sent: the kernel's
//! buffers hold megabytes in each direction, and the bytes in them test nothing in the server.

use std::time::{Duration, Instant};

use harness_macros::check;

use crate::client::{Client, ConnectOptions, echo_all, size};
use crate::failure::{Step, Stop, Symptom};
use crate::trial::Trial;

const MIB: u64 = 1 << 20;

/// 1 MiB is sent, of which the sockets on the way back hold a part. The client rests, and then reads everything.
#[check(clause = 5, quick)]
fn a_paused_reader_is_not_disconnected(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    client.echo(1)?;
    client.send_until_stuck(MIB)?;
    trial.rest()?;
    trial.expect_owed(std::slice::from_ref(&client))?;
    client.expect_echo()?;
    client.echo(100_000)
}

/// One client is stuck. Meanwhile a connected client and ten new clients are served.
#[check(clause = 6, quick)]
fn a_client_that_never_reads_leaves_others_served(trial: &mut Trial<'_>) -> Step {
    let mut other = trial.connect()?;
    other.echo(1)?;
    let mut client = trial.connect()?;
    trial.fill(std::slice::from_mut(&mut client))?;
    other.echo(MIB)?;
    for _ in 0..10 {
        trial.probe()?;
    }
    other.echo(1)
}

/// One client is stuck, reads 16 KiB and rests, again and again: another client is served each time.
#[check(clause = 6, quick)]
fn a_client_that_reads_a_little_and_rests_leaves_others_served(trial: &mut Trial<'_>) -> Step {
    const A_LITTLE: u64 = 16 * 1024;
    const TIMES: u32 = 16;
    let mut other = trial.connect()?;
    other.echo(1)?;
    // There is soon room in these, and never room for all that is owed.
    trial.small_send_buffers()?;
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    trial.fill(std::slice::from_mut(&mut client))?;
    trial.step(format!(
        "c{} reads up to {} and rests, {TIMES} times; c{} sends 1 byte and reads it back each time",
        client.id,
        size(A_LITTLE),
        other.id
    ));
    for _ in 0..TIMES {
        let read = client.receive_quietly(A_LITTLE.min(client.outstanding()));
        trial.unless_cut_off(read)?;
        trial.rest()?;
        other.plan(1);
        echo_all(std::slice::from_mut(&mut other))?;
    }
    let rest = client.expect_echo();
    trial.unless_cut_off(rest)
}

/// A client is owed a little more than its socket takes, sends FIN and reads nothing: the rest must wait for room, and
/// others are served meanwhile.
#[check(clause = 6, quick)]
fn the_rest_for_a_client_that_has_finished_keeps_nobody_waiting(trial: &mut Trial<'_>) -> Step {
    // Small, so that the server reads the FIN: where much is owed it has stopped reading before.
    const PIECE: u64 = 2 * 1024;
    const MOST: u64 = 2 << 20;
    trial.needs_proc()?;
    let mut neighbour = trial.connect()?;
    neighbour.echo(1)?;
    trial.small_send_buffers()?;
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    client.echo(1)?;
    trial.step(format!(
        "c{} sends {} at a time and reads nothing, until the server keeps some",
        client.id,
        size(PIECE)
    ));
    loop {
        let sent = client.send_quietly(PIECE);
        trial.unless_cut_off(sent)?;
        trial.rest()?;
        match client.at_server() {
            Some((0, 1..)) => break,
            Some((0, 0)) if client.sent < MOST => {}
            Some((0, 0)) => {
                return Err(Stop::skip(format!("the sockets take {} that nobody reads", size(client.sent))));
            }
            Some(_) => return Err(Stop::skip("it stops reading as soon as it cannot write")),
            None => return Err(Stop::skip("needs Linux's /proc")),
        }
    }
    client.half_close()?;
    trial.rest()?;
    neighbour.echo(1)?;
    trial.probe()?;
    let rest = client.expect_echo();
    trial.unless_cut_off(rest)?;
    client.expect_eof()
}

/// 20 clients send up to 1 MiB and read nothing, and others are served. Then the 20 read, and every byte is there.
#[check(clause = 5)]
fn twenty_clients_that_never_read_leave_others_served(trial: &mut Trial<'_>) -> Step {
    let mut other = trial.connect()?;
    other.echo(1)?;
    let mut clients = trial.connect_many_with(20, ConnectOptions::NARROW)?;
    trial.fill_up_to(&mut clients, MIB)?;
    other.echo(MIB)?;
    trial.probe()?;
    trial.step("all 20 read at last");
    echo_all(&mut clients)
}

/// A client offers up to 128 MiB and reads nothing: the server takes no more than its bound, and loses nothing.
#[check(clause = 5)]
fn a_client_that_never_reads_costs_bounded_memory(trial: &mut Trial<'_>) -> Step {
    const OFFERED: u64 = 128 * MIB;
    const A_TIME: u64 = 16 * MIB;
    // What may be owed is far less: this tells a bound from none, at an eighth of what is offered. A runtime that
    // collects garbage grows by as much again before it collects, and for reasons of its own.
    let bound = if trial.subject.own { 16 * MIB } else { 64 * MIB };
    // Resident memory is more than what a program asked for: an allocator rounds sizes up (to the next power of two,
    // some) and takes arenas of megabytes, threads have stacks, and the kernel counts pages. A quarter is more than was
    // seen: a server whose buffers hold 16,384 KiB showed 16,392.
    let allowed = bound + bound / 4;
    let mut client = trial.connect()?;
    client.echo(1)?;
    let process = trial.server()?.process;
    let resident = || process.and_then(|process| process.resident()).unwrap_or(0);
    let before = resident();
    let (mut taken, mut grown) = (A_TIME, 0);
    while taken == A_TIME && client.outstanding() < OFFERED {
        taken = match client.send_until_stuck(A_TIME) {
            // The other right answer: the server disconnects a client that does not read.
            Err(stop) if trial.cuts_off(&stop)? => return trial.probe(),
            taken => taken?,
        };
        grown = grown.max(resident().saturating_sub(before));
    }
    let outstanding = client.outstanding();
    if outstanding < OFFERED && grown > allowed {
        return Err(too_large(trial, outstanding, grown, bound));
    }
    if grown > allowed {
        return Err(unbounded(trial, outstanding, &format!(", and the server grew by {}", mib(grown))));
    }
    // One that takes it all without growing has thrown bytes away.
    client.expect_echo()?;
    if outstanding >= OFFERED {
        return Err(unbounded(trial, outstanding, ""));
    }
    client.echo(1)
}

fn unbounded(trial: &mut Trial<'_>, taken: u64, grown: &str) -> Stop {
    let what = format!("a client that read nothing could send {}, and was not stopped{grown}", mib(taken));
    let cause = "The server keeps bytes for one client without a limit, or its limit is too high, so one client can take all \
                 its memory: past a fixed number of bytes stop reading that connection, and go on when the client has read.";
    trial.with_view(Symptom::Leak, what, cause)
}

fn too_large(trial: &mut Trial<'_>, taken: u64, grown: u64, bound: u64) -> Stop {
    let (grown, bound) = (mib(grown), mib(bound));
    let what = format!(
        "a client that read nothing was stopped after {}, and the server grew by {grown}; {bound} are allowed",
        mib(taken)
    );
    let cause = format!(
        "What it owes to one client has a bound, and the bound is too large: a few clients that do not read can take all \
         its memory. Keep {bound} for one client at most; a few hundred KiB are enough."
    );
    trial.with_view(Symptom::Leak, what, &cause)
}

fn mib(bytes: u64) -> String {
    size(bytes / MIB * MIB)
}

/// A receive buffer of 16 KiB, no reading until the server is stuck, then 64 MiB in all.
#[check(clause = 5)]
fn a_slow_reader_gets_64_mib_byte_exact(trial: &mut Trial<'_>) -> Step {
    const TOTAL: u64 = 64 * MIB;
    let mut client = trial.connect_with(ConnectOptions::receive_buffer(16 * 1024))?;
    let taken = trial.fill(std::slice::from_mut(&mut client))?;
    client.echo(TOTAL - taken)
}

/// 300 pieces of 8 KiB, each in a wake of its own, to a server whose socket is full; then all is read.
#[check(clause = 2, quick)]
fn small_pieces_sent_while_the_server_cannot_write_stay_in_order(trial: &mut Trial<'_>) -> Step {
    const PIECE: u64 = 8 * 1024;
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    for (pieces, read) in [(40, 200 * 1024), (60, 100 * 1024), (200, 0)] {
        trial.step(format!("c0 sends {pieces} pieces of {}, one by one", size(PIECE)));
        for _ in 0..pieces {
            client.plan(PIECE);
            let wrote = client.write_some(PIECE as usize);
            trial.unless_cut_off(wrote)?;
            // Each piece must be an input of its own.
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        client.receive(read)?;
    }
    trial.rest()?;
    trial.expect_owed(std::slice::from_ref(&client))?;
    client.expect_echo()
}

/// 16 MiB in full duplex with 4 KiB of SO_RCVBUF and of SO_SNDBUF: every write is short.
#[check(clause = 2)]
fn tiny_socket_buffers_in_both_directions_lose_nothing(trial: &mut Trial<'_>) -> Step {
    let options = ConnectOptions { receive_buffer: Some(4096), send_buffer: Some(4096), ..Default::default() };
    trial.connect_with(options)?.echo(16 * MIB)
}

/// 6 clients send as fast as they can and read 16 KiB to 96 KiB in turn, 1 MiB each.
#[check(clause = 5)]
fn slow_readers_of_different_speeds_are_all_served(trial: &mut Trial<'_>) -> Step {
    const EACH: u64 = MIB;
    const SLOWEST: u64 = 16 * 1024;
    let mut clients = trial.connect_many_with(6, ConnectOptions::NARROW)?;
    trial.step(format!(
        "each sends {} and reads in turn: c0 {} a time, c1 twice as much ...",
        size(EACH),
        size(SLOWEST)
    ));
    clients.iter_mut().for_each(|client| client.plan(EACH));
    while clients.iter().any(|client| client.received < EACH) {
        for client in &mut clients {
            while client.write_some(64 * 1024)? > 0 {}
            let most = SLOWEST * u64::from(client.id + 1);
            client.receive_quietly(most.min(EACH - client.received))?;
        }
    }
    Ok(())
}

/// 600 and then 3,000 pieces of 32 bytes, each in a wake of its own, to a server whose socket is full: more than one
/// writev can take.
#[check(clause = 2)]
fn more_pieces_than_one_writev_takes_come_back(trial: &mut Trial<'_>) -> Step {
    trial.small_send_buffers()?;
    // As many bytes in few pieces: a server that cuts off clients that do not read does so already here.
    for (count, piece) in [(600, 32), (64, 1500)] {
        let few = pieces(trial, count, piece);
        trial.unless_cut_off(few)?;
    }
    let many = pieces(trial, 3000, 32);
    let many = many.map_err(|stop| match stop {
        Stop::Fail(failure) if failure.symptom != Symptom::Exited => Stop::Fail(failure).because(IOV_MAX),
        other => other,
    });
    match many? {
        Pieces::Held(count) if count <= MOST_PIECES => Err(Stop::skip(format!(
            "on this busy machine the server got {count} pieces, and one writev takes {MOST_PIECES}"
        ))),
        // One that reads no more has its bound on this side of it.
        Pieces::Held(_) | Pieces::Refused => Ok(()),
    }
}

/// The kernel's IOV_MAX.
const MOST_PIECES: u32 = 1024;
const IOV_MAX: &str = "600 pieces came back, and 3,000 did not: writev and sendmsg with more than 1,024 pieces (IOV_MAX) \
                       fail with EINVAL or EMSGSIZE and send nothing. Give them the first 1,024, or join small pieces. \
                       What keeps pieces in a fixed number of places has such a limit too.";

/// What a server did with pieces that it could not send on.
enum Pieces {
    /// It has read so many.
    Held(u32),
    /// It stopped reading, and slept.
    Refused,
}

/// Sends pieces to a server that cannot write, each after the server read the previous piece, and reads them all.
fn pieces(trial: &mut Trial<'_>, count: u32, piece: u64) -> Step<Pieces> {
    /// A server that has not read a piece after this time has stopped reading, or the machine is busy.
    const UNREAD: Duration = Duration::from_millis(200);
    /// On a busy machine it is left at as many as one writev does not take.
    const LONG_ENOUGH: Duration = Duration::from_secs(4);
    const ENOUGH: u32 = MOST_PIECES + 200;
    const LONGEST: Duration = Duration::from_secs(20);
    // Few more bytes, so that all pieces fit into what the server may hold.
    let full = trial.more_than_fits_by(1)?;
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    client.echo(1)?;
    client.send(full)?;
    trial.rest()?;
    trial.expect_owed(std::slice::from_ref(&client))?;
    let (start, mut sent, mut refused) = (Instant::now(), 0, false);
    while sent < count && !refused && start.elapsed() < if sent > ENOUGH { LONG_ENOUGH } else { LONGEST } {
        client.plan(piece);
        client.write_some(piece as usize)?;
        sent += 1;
        if !client.is_read_within(UNREAD) {
            trial.rest()?;
            refused = !client.is_read_within(UNREAD);
        }
    }
    trial.step(format!("c{} sends {sent} pieces of {piece} bytes, each once the one before was read", client.id));
    client.expect_echo()?;
    client.echo(1)?;
    Ok(if refused { Pieces::Refused } else { Pieces::Held(sent) })
}

/// A client with pending bytes rests beside a silent client: for ten seconds if the server has begun to measure time,
/// and otherwise not at all.
#[check(clause = 5)]
fn a_reader_that_rests_is_not_thrown_out(trial: &mut Trial<'_>) -> Step {
    trial.rest_while_owed(false)
}

/// The same, always for ten seconds: a server whose thread looks at the clock each second shows nothing special.
#[check(clause = 5, long)]
fn a_reader_that_rests_for_ten_seconds_is_not_thrown_out(trial: &mut Trial<'_>) -> Step {
    trial.rest_while_owed(true)
}

/// 200 clients that never read, reset, and again, three times: another client is served meanwhile, and after each time.
#[check(clause = 5)]
fn hundreds_of_clients_that_never_read_leave_others_served(trial: &mut Trial<'_>) -> Step {
    const ENOUGH: u64 = 512 << 10;
    const BOUND_FOR_ALL: &str = "A bound for all connections together lets those that do not read stop everybody. Bound what \
                                 each connection may owe. A count of what all of them owe goes down when a connection ends.";
    let served = |trial: &mut Trial<'_>| match trial.probe() {
        Err(Stop::Fail(failure)) if [Symptom::ReadLost, Symptom::Spinning].contains(&failure.symptom) => {
            Err(Stop::Fail(failure).because(BOUND_FOR_ALL))
        }
        result => result,
    };
    // Without them it serves a client.
    trial.probe()?;
    trial.small_send_buffers()?;
    for _ in 0..3 {
        let count = trial.up_to(200, 30)?;
        let mut stuck = trial.connect_many_with(count, ConnectOptions::NARROW)?;
        trial.fill_up_to(&mut stuck, ENOUGH)?;
        served(trial)?;
        trial.step(format!("all {count} are reset"));
        stuck.into_iter().for_each(Client::reset_quietly);
        trial.await_ends()?;
        served(trial)?;
    }
    Ok(())
}
