//! Faults: no descriptors left, stops and signals, floods of resets.
//!
//! Invariant: once descriptors are free, a check makes no connect before its verdict on the queued clients, because a
//! connect would bring the event that a broken server waits for.

use std::time::{Duration, Instant};

use harness_macros::check;
use rustix::process::Signal;

use crate::client::{BACKSTOP, Client, ConnectOptions, echo_all, send_all, size};
use crate::failure::{Step, Stop, Symptom};
use crate::limit::{self, Limit};
use crate::moments::Held;
use crate::server::{Limits, Options};
use crate::trial::{EMFILE, INSIDE, Trial};

const EINTR: &str = "A stop and a continue (ctrl-Z, a debugger, a laptop's sleep) make epoll_wait and io_uring_enter \
                     return EINTR although no handler ran. That is no error: wait again.";
const CUT: &str = "A stop and a continue cut short a send that waits for room: it returns a part of its bytes, or EINTR \
                   (io_uring's splice: ERESTARTSYS, 512). Neither is an error: send the rest.";
const RESET: &str =
    "A connection that was reset ends that connection: accept, getpeername, read and write may all say so.";
const EPIPE: &str = "A write to a connection that was reset fails with EPIPE or ECONNRESET, and raises SIGPIPE unless that \
                     is ignored: close this connection and go on.";

/// 6 clients more than the server has descriptors for: the listener stays readable, and the server must not spin.
#[check(clause = 9, quick)]
fn out_of_descriptors_the_server_rests(trial: &mut Trial<'_>) -> Step {
    let (_inside, _outside) = trial.fill_up(false)?;
    // The servers here try again 4 times a second. A foreign server may pause for any time between two attempts: a
    // retry after a pause is no spin. A retry without a pause uses the processor, or wakes more often than each
    // millisecond.
    let per_second = if trial.subject.own { 25 } else { 1000 };
    trial.expect_wakeups("it has no descriptor left, and clients wait to be accepted", per_second)
}

/// Two seconds without a descriptor: the attempts to accept do not grow in number.
#[check(clause = 9)]
fn out_of_descriptors_attempts_stay_few(trial: &mut Trial<'_>) -> Step {
    let (_inside, _outside) = trial.fill_up(false)?;
    trial.expect_steady_attempts()
}

/// The newest client is connected, an older one has left, and then there is no descriptor: a declared server names the newest.
#[check(clause = 9)]
fn out_of_descriptors_the_newest_client_is_named(trial: &mut Trial<'_>) -> Step {
    /// The server sleeps, so its line is in a pipe that another thread of the harness empties.
    const ON_ITS_WAY: Duration = Duration::from_secs(5);
    if !trial.subject.names_newest {
        return Err(Stop::skip("it was not declared that this server names its newest client"));
    }
    let mut clients = trial.connect_many(3)?;
    trial.echo_all(&mut clients, 1)?;
    let newest = clients[2].local;
    trial.step(format!("c{}, which is not the newest, closes", clients[0].id));
    drop(clients.remove(0));
    trial.rest()?;
    trial.leave_room(0)?;
    let _outside = trial.queue_up()?;
    let start = Instant::now();
    while !trial.server()?.stderr().contains(&newest.to_string()) {
        if start.elapsed() > ON_ITS_WAY {
            let said = trial.server()?.said();
            let what =
                format!("no line that it wrote has the address of the newest client, {newest}, which is connected");
            return Err(Stop::fail(Symptom::Contract, what, NEWEST).saying(said));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    trial.echo_all(&mut clients, 1)
}

const NEWEST: &str = "The line about descriptors names the client that came last. A client that leaves is forgotten only if it \
                      is that client.";

/// While others wait in the accept queue, 12 clients send 64 KiB each, one of them 2 MiB, and then a byte each in turn for
/// 0.6 s.
#[check(clause = 9)]
fn out_of_descriptors_those_connected_go_on(trial: &mut Trial<'_>) -> Step {
    /// Longer than the servers here wait between two attempts to accept.
    const WATCHED: Duration = Duration::from_millis(600);
    const APART: Duration = Duration::from_millis(2);
    let (mut inside, _outside) = trial.fill_up(false)?;
    trial.echo_all(&mut inside, 64 * 1024)?;
    inside[0].echo(2 << 20)?;
    trial.step(format!("for {} ms each in turn sends 1 byte and reads it back", WATCHED.as_millis()));
    let (end, mut in_time) = (Instant::now() + WATCHED, false);
    for turn in 0.. {
        let at = turn % inside.len();
        let since = Instant::now();
        inside[at].send_quietly(1)?;
        in_time |= trial.expect_no_pause_in_reading(&inside[at], since)?;
        echo_all(&mut inside[at..=at])?;
        if Instant::now() > end {
            break;
        }
        std::thread::sleep(APART);
    }
    trial.echo_all(&mut inside, 1)?;
    if in_time { Ok(()) } else { Err(Stop::skip("the machine is busy: a pause between two turns could not be seen")) }
}

/// Descriptors are freed one by one, and in one wake; no new connect may be needed.
#[check(clause = 9, quick)]
fn queued_clients_are_served_as_soon_as_others_leave(trial: &mut Trial<'_>) -> Step {
    let (mut inside, mut outside) = trial.fill_up(true)?;
    for in_one_wake in [false, true] {
        if in_one_wake {
            trial.freeze()?;
        }
        let leaving = outside.len().min(inside.len());
        trial.step(format!("{leaving} of those connected close"));
        inside.drain(..leaving);
        if in_one_wake {
            trial.thaw()?;
        }
        inside.extend(trial.admitted(outside)?);
        // If the server closes excess clients at once, the next round starts with new clients and free descriptors.
        if inside.len() < INSIDE {
            trial.rest()?;
            let missing = INSIDE - inside.len();
            inside.extend(trial.connect_many(missing as u32)?);
        }
        trial.echo_all(&mut inside, 100)?;
        outside = trial.queue_up()?;
    }
    drop((inside, outside));
    // A server that closes excess clients at once would close the probe too, until it has seen the others end.
    trial.await_ends()?;
    trial.rest()?;
    trial.probe()
}

/// A client leaves, by FIN or by a reset, and its descriptor becomes free: the server accepts the next client before it sleeps
/// again, and not at the end of a pause.
#[check(clause = 9)]
fn a_descriptor_that_becomes_free_is_used_before_the_server_sleeps(trial: &mut Trial<'_>) -> Step {
    /// A pause may end while the server is looked at. It cannot end so in each round.
    const ROUNDS: usize = 6;
    const ASLEEP: Duration = Duration::from_millis(20);
    trial.only_own("how long a server waits before it tries to accept again")?;
    let port = trial.server()?.addr.port();
    let view = trial.process()?.view(port).unwrap_or_default();
    // A client may be in the queue of a thread that closes nothing, and that cannot know of the others' closes.
    if view.sockets.iter().filter(|socket| socket.listening).count() > 1 {
        return Err(Stop::skip("its threads have an accept queue each (SO_REUSEPORT)"));
    }
    let (mut inside, outside) = trial.fill_up(true)?;
    trial.rest()?;
    let full = trial.descriptors()?;
    for (round, mut next) in outside.into_iter().take(ROUNDS).enumerate() {
        let leaver = inside.pop().expect("fill_up lets some in");
        if round % 2 == 0 {
            trial.step(format!("one of those connected closes, and c{} waits", next.id));
            drop(leaver);
        } else {
            trial.step(format!("one of those connected is reset, and c{} waits", next.id));
            leaver.reset_quietly();
        }
        let end = Instant::now() + BACKSTOP;
        while !next.has_an_answer() && Instant::now() < end {
            // In this order: what is free was freed before the server fell asleep.
            let is_free = trial.descriptors()? < full;
            if is_free && trial.comes_to_rest(ASLEEP)? && !next.has_an_answer() && trial.descriptors()? < full {
                let what = format!("a descriptor is free, c{} is in the accept queue, and the server sleeps", next.id);
                let cause = "It tries again only when its pause ends. A close frees a descriptor: accept again in the \
                             same turn, and keep the pause for what is freed elsewhere.";
                return Err(Stop::fail(Symptom::AcceptQueueNotDrained, what, cause));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        next.expect_echo()?;
        inside.push(next);
    }
    trial.echo_all(&mut inside, 1)
}

/// No client closes: descriptors become free outside the server (ENFILE, prlimit), and the server must try again by
/// itself.
#[check(clause = 9)]
fn queued_clients_are_served_when_the_limit_is_raised(trial: &mut Trial<'_>) -> Step {
    let (mut inside, outside) = trial.fill_up(false)?;
    trial.lift_limit()?;
    let mut served = trial.admitted(outside)?;
    trial.echo_all(&mut inside, 100)?;
    trial.echo_all(&mut served, 100)?;
    trial.probe()
}

/// The same with a limit that the server has from its start, which is all that an accept in flight knows (io_uring).
#[check(clause = 9)]
fn queued_clients_are_served_when_the_limit_of_the_start_is_raised(trial: &mut Trial<'_>) -> Step {
    let (base, each) = trial.descriptors_for_clients()?;
    let (mut inside, outside) = trial.full_from_the_start(base, each)?;
    trial.lift_limit()?;
    let mut served = trial.admitted(outside)?;
    trial.echo_all(&mut inside, 100)?;
    trial.echo_all(&mut served, 100)?;
    trial.probe()
}

/// 40 clients of a server with room for 12: each leaves once it has its 1,000 bytes, which frees a descriptor for
/// another.
#[check(clause = 9)]
fn twice_as_many_clients_as_descriptors_are_all_served_in_turn(trial: &mut Trial<'_>) -> Step {
    const ALL: u32 = 40;
    let base = trial.descriptors_without_clients()?;
    let in_flight = trial.in_flight()?;
    if trial.subject.own {
        trial.step(format!(
            "the server starts with a limit of {} descriptors: room for {INSIDE} clients",
            base + INSIDE
        ));
        let limits = Limits { nofile: Some((base + INSIDE) as u64), ..Limits::default() };
        trial.start(&Options { limits, ..Options::default() })?;
    } else {
        trial.leave_room(INSIDE)?;
    }
    trial.suspect(EMFILE);
    let mut clients = trial.connect_until_full(ALL)?;
    trial.knock(&mut clients, 1000);
    trial.rest()?;
    trial.expect_lack(&mut [], &clients)?;
    if trial.subject.own {
        // An accept in flight keeps the limit of the moment when it was submitted, so the limit holds from the start.
        trial.expect_wakeups("it has no descriptor left, and clients wait to be accepted", 25)?;
    }
    trial.step("the clients, oldest first, each read their echo and close");
    for client in clients {
        trial.admitted(vec![client])?;
    }
    trial.probe()?;
    trial.expect_in_flight(in_flight, "after all its clients had left")
}

/// 130 clients come one by one. If the server takes fewer at once, the others are served after those leave by FIN or
/// reset.
#[check(clause = 2)]
fn a_limit_of_connections_is_lifted_when_clients_leave(trial: &mut Trial<'_>) -> Step {
    const MOST: u32 = 130;
    let most = trial.subject.max_clients.map_or(MOST, |max| (max + 1).max(MOST));
    match limit::find(trial, most as usize)? {
        Limit::None => trial.probe(),
        Limit::Kept(kept) => Err(Stop::Fail(Box::new(kept.failure()))),
        Limit::Policy(max) if trial.subject.own => {
            let what = format!("the server takes {max} clients at once, and no more");
            Err(Stop::fail(Symptom::Refused, what, "Only a lack of descriptors limits the servers of this repository."))
        }
        Limit::Policy(_) => Ok(()),
    }
}

/// SIGSTOP and SIGCONT five times with nothing to do: epoll_wait and io_uring_enter return EINTR.
#[check(clause = 10, quick)]
fn a_stop_and_a_continue_are_survived(trial: &mut Trial<'_>) -> Step {
    trial.suspect(EINTR);
    let mut client = trial.connect()?;
    client.echo(1)?;
    for _ in 0..5 {
        trial.freeze()?;
        trial.thaw()?;
    }
    client.echo(100)?;
    trial.probe()
}

/// SIGSTOP and SIGCONT every 512 KiB of 4 MiB.
#[check(clause = 10)]
fn a_stop_with_bytes_under_way_is_survived(trial: &mut Trial<'_>) -> Step {
    trial.suspect(EINTR);
    let mut client = trial.connect()?;
    client.plan(4 << 20);
    for _ in 0..7 {
        client.receive(512 * 1024)?;
        trial.freeze()?;
        trial.thaw()?;
    }
    client.expect_echo()
}

/// 8 stuck clients: a stop and a continue interrupt each send that waits for room, and the send returns a short count.
#[check(clause = 10)]
fn a_send_that_a_stop_cuts_short_goes_on(trial: &mut Trial<'_>) -> Step {
    trial.suspect(CUT);
    let mut clients = trial.connect_many_with(8, ConnectOptions::NARROW)?;
    trial.echo_all(&mut clients, 1)?;
    trial.fill_up_to(&mut clients, 1 << 20)?;
    for round in 0..6 {
        trial.freeze()?;
        trial.thaw()?;
        trial.step("each reads some thousand bytes, and sends as many");
        for (place, client) in clients.iter_mut().enumerate() {
            // Other sizes each time, so that the next sends wait at other offsets.
            let read = client.read_some(3001 + 997 * place + 512 * round).map_err(cut_short)?;
            client.planned = client.sent + read as u64;
            client.write_some(read).map_err(cut_short)?;
        }
        trial.rest()?;
    }
    trial.step("all read what is owed to them");
    clients.iter_mut().for_each(|client| client.planned = client.sent);
    echo_all(&mut clients).map_err(cut_short)
}

/// 32 busy and 6 stuck clients with the smallest buffers and segments, while the server is stopped and continued 300
/// times.
#[check(clause = 10)]
fn stops_while_bytes_trickle_are_survived(trial: &mut Trial<'_>) -> Step {
    const STOPS: usize = 300;
    /// With so many, it is left at that after a while; with fewer, nothing is said of the server.
    const NEEDED: usize = 100;
    const ENOUGH: Duration = Duration::from_millis(1500);
    const LONGEST: Duration = Duration::from_secs(10);
    /// The bytes in flight of a stuck client, whose sends wait for room, and of a busy client. Many busy clients keep
    /// the server at work, so that a stop hits it at work.
    const WINDOWS: [u64; 2] = [1 << 20, 32 << 10];
    /// The bytes that each client reads in the end. All bytes would take long in segments of 88 bytes.
    const TAIL: u64 = 16 * 1024;
    const SMALLEST: ConnectOptions = ConnectOptions {
        receive_buffer: Some(2304),
        send_buffer: Some(4608),
        max_segment: Some(88),
        ..ConnectOptions::NARROW
    };
    trial.suspect(CUT);
    let mut stuck = trial.connect_many_with(6, SMALLEST)?;
    let mut busy = trial.connect_many_with(32, SMALLEST)?;
    trial.echo_all(&mut busy, 1)?;
    trial.fill_up_to(&mut stuck, WINDOWS[0])?;
    trial.step(format!("all send 1 to 4000 bytes and read 1 to 3000 at a time, with {STOPS} stops (SIGSTOP, SIGCONT)"));
    let (start, mut stop) = (Instant::now(), 0);
    while stop < STOPS && start.elapsed() < if stop < NEEDED { LONGEST } else { ENOUGH } {
        trickle(&mut stuck, stop, WINDOWS[0]).map_err(cut_short)?;
        for turn in 0..2 {
            trickle(&mut busy, 2 * stop + turn, WINDOWS[1]).map_err(cut_short)?;
        }
        // The server is at work now.
        trial.server()?.signal_all(Signal::STOP)?;
        trickle(&mut busy, stop, WINDOWS[1]).map_err(cut_short)?;
        trial.server()?.signal_all(Signal::CONT)?;
        stop += 1;
    }
    trial.step(format!("after {stop} stops each reads {} more of what is owed to it", size(TAIL)));
    let mut clients: Vec<_> = stuck.into_iter().chain(busy).collect();
    for client in &mut clients {
        client.planned = client.sent;
        client.receive_quietly(TAIL.min(client.outstanding())).map_err(cut_short)?;
    }
    clients.into_iter().for_each(Client::reset_quietly);
    trial.probe()?;
    if stop < NEEDED {
        let seconds = LONGEST.as_secs();
        return Err(Stop::skip(format!(
            "the server was stopped {stop} times in {seconds} s, and {NEEDED} are needed: the machine is busy, or the server \
             is slow"
        )));
    }
    Ok(())
}

/// Each client writes and reads once, other sizes each time.
fn trickle(clients: &mut [Client], time: usize, window: u64) -> Step {
    for (place, client) in clients.iter_mut().enumerate() {
        let (write, read) = (1 + (time * 1237 + place * 331) % 4000, 1 + (time * 733 + place * 577) % 3000);
        if client.outstanding() < window {
            client.planned = client.sent + write as u64;
            client.write_some(write)?;
        }
        client.read_some(read)?;
    }
    Ok(())
}

/// The advice for a connection that lost bytes here.
fn cut_short(stop: Stop) -> Stop {
    match stop {
        Stop::Fail(mut failure)
            if matches!(failure.symptom, Symptom::WrongBytes | Symptom::Truncated | Symptom::Reset) =>
        {
            failure.cause = format!("{CUT} {}", failure.cause);
            Stop::Fail(failure)
        }
        other => other,
    }
}

/// 1,000 each of SIGWINCH, SIGURG and SIGCHLD during 1,000 round trips.
#[check(clause = 10)]
fn signals_that_are_ignored_by_default_change_nothing(trial: &mut Trial<'_>) -> Step {
    trial.suspect(
        "SIGWINCH, SIGURG and SIGCHLD are no request to stop. If a signal ends a call with EINTR, make the call again.",
    );
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.step("1,000 round trips, with a SIGWINCH, a SIGURG and a SIGCHLD during each");
    for _ in 0..1000 {
        client.plan(64);
        for signal in [Signal::WINCH, Signal::URG, Signal::CHILD] {
            client.write_some(32)?;
            trial.server()?.signal(signal)?;
        }
        echo_all(std::slice::from_mut(&mut client))?;
    }
    trial.probe()
}

/// 500 times connect and reset.
#[check(clause = 4)]
fn a_flood_of_resets_is_survived(trial: &mut Trial<'_>) -> Step {
    trial.suspect(RESET);
    let base = trial.held_without_clients()?;
    let count = trial.up_to(50, 2)?;
    for _ in 0..10 {
        let clients = trial.connect_many(count)?;
        trial.step(format!("all {count} are reset"));
        clients.into_iter().for_each(Client::reset_quietly);
    }
    trial.probe()?;
    trial.expect_held(base, &format!("after {} resets", 10 * count))
}

/// In one wake 100 connections that are already reset, half of them with bytes, among 10 live connections.
#[check(clause = 10)]
fn connections_that_were_reset_before_their_accept_are_survived(trial: &mut Trial<'_>) -> Step {
    trial.suspect(RESET);
    let base = trial.held_without_clients()?;
    trial.freeze()?;
    let count = trial.up_to(110, 4)?;
    let around = (count / 4).min(5);
    let mut staying = trial.connect_many(around)?;
    let mut leaving = trial.connect_many(count - 2 * around)?;
    staying.extend(trial.connect_many(around)?);
    let half = leaving.len() / 2;
    trial.step(format!(
        "the {} in the middle are reset, {half} of them with 100 bytes sent before; the others send 100 bytes",
        leaving.len()
    ));
    leaving[..half].iter_mut().chain(&mut staying).try_for_each(|client| {
        client.plan(100);
        client.write_some(100).map(|_| ())
    })?;
    leaving.into_iter().for_each(Client::reset_quietly);
    trial.thaw()?;
    echo_all(&mut staying)?;
    drop(staying);
    trial.probe()?;
    trial.expect_held(base, "after connections that were reset in the queue")
}

/// Clients with pending bytes are reset before and after their FIN: EPIPE, ECONNRESET, SIGPIPE.
#[check(clause = 4)]
fn a_reset_while_output_is_owed_is_survived(trial: &mut Trial<'_>) -> Step {
    trial.suspect(EPIPE);
    let mut neighbour = trial.connect()?;
    neighbour.echo(1)?;
    let more = trial.more_than_fits()?;
    for fin in ["", " and FIN"] {
        // Both in one wake: the server can read the bytes and cannot send their echo.
        let mut clients = trial.connect_many(5)?;
        trial.echo_all(&mut clients, 1)?;
        trial.freeze()?;
        trial.step(format!("each sends 64 KiB{fin}, and is reset"));
        send_and_finish(&mut clients, 64 * 1024, !fin.is_empty())?;
        clients.into_iter().for_each(Client::reset_quietly);
        trial.thaw()?;
        neighbour.echo(1)?;
        // The echo does not fit into the sockets: the server keeps the rest as pending bytes, and waits for room.
        let mut stuck = trial.connect_many_with(2, ConnectOptions::NARROW)?;
        trial.step(format!("each sends {}{fin}, and reads nothing", size(more)));
        send_and_finish(&mut stuck, more, !fin.is_empty())?;
        trial.rest()?;
        trial.expect_owed(&stuck)?;
        trial.step("both are reset");
        stuck.into_iter().for_each(Client::reset_quietly);
        neighbour.echo(1)?;
    }
    trial.probe()
}

/// FIN and RST come at each moment of the turn that answers a byte (ptrace): between the wait and the read, and between the
/// read and the write.
#[check(clause = 4)]
fn a_reset_at_any_moment_of_a_turn_is_survived(trial: &mut Trial<'_>) -> Step {
    /// Entries and exits of calls in one turn. One that answers a single byte makes fewer.
    const MOST: u32 = 24;
    /// On an idle machine all moments take half a second.
    const ENOUGH: Duration = Duration::from_secs(5);
    trial.suspect(EPIPE);
    trial.needs_proc()?;
    let mut neighbour = trial.connect()?;
    neighbour.echo(1)?;
    let (end, mut held, mut all_tried) = (Instant::now() + ENOUGH, 0, false);
    for calls in 0..MOST {
        let mut client = trial.connect()?;
        client.echo(1)?;
        trial.rest()?;
        let Some(moment) = trial.before_it_answers(&client)? else { break };
        client.send(1)?;
        match moment.hold(calls)? {
            Held::Yes => held += 1,
            Held::Over => all_tried = true,
            Held::Late => {}
        }
        // Behind the answer there may be any number of calls, and no moment of another kind.
        all_tried |= client.has_an_answer();
        if held <= calls || Instant::now() > end {
            break;
        }
        trial.step(format!("c{} sends FIN and RST while the server is held at stop {calls} of its calls", client.id));
        client.half_close_quietly()?;
        let (local, server) = (client.local, trial.server()?.addr);
        client.reset_quietly();
        let has_gone = move || observe::queues(server, local).is_none();
        trial.wait_until("the RST has arrived", |_| Ok(has_gone()))?;
        drop(moment);
        neighbour.echo(1)?;
    }
    trial.probe()?;
    match all_tried {
        _ if held == 0 => Err(Stop::skip("no thread could be held at work on a client (ptrace)")),
        true => Ok(()),
        false => Err(Stop::skip(format!(
            "not all moments of a turn were tried, but {held}: the machine is busy, or the server answers after more than {} \
             calls",
            MOST / 2
        ))),
    }
}

fn send_and_finish(clients: &mut [Client], bytes: u64, finish: bool) -> Step {
    send_all(clients, bytes)?;
    if finish { clients.iter_mut().try_for_each(Client::half_close_quietly) } else { Ok(()) }
}

/// An urgent byte (MSG_OOB) among 2,000 bytes: a read ends before it, also where FIN has come. Then an urgent byte alone: poll
/// may report PRI for ever.
#[check(clause = 10)]
fn urgent_data_neither_breaks_the_stream_nor_wakes_for_ever(trial: &mut Trial<'_>) -> Step {
    trial.suspect("Urgent data was reported and not taken: PRI and select's third set stay ready until it is read.");
    let mut clients = trial.connect_many(6)?;
    trial.echo_all(&mut clients, 1)?;
    for client in &mut clients {
        trial.freeze()?;
        client.send(1000)?;
        client.send_urgent()?;
        client.send(1000)?;
        trial.thaw()?;
        client.expect_echo()?;
    }
    // As much as the kernel says is there (FIONREAD) ends before the urgent byte too, so it is not all that there is.
    let mut last = clients.pop().expect("six");
    trial.freeze()?;
    last.send(1000)?;
    last.send_urgent()?;
    last.send(1000)?;
    last.half_close()?;
    trial.thaw()?;
    if let Err(stop) = last.expect_eof() {
        return Err(match stop {
            Stop::Fail(failure) if last.outstanding() == 1000 => Stop::Fail(failure).because(
                "A read ends before an urgent byte, and so does the number of bytes that FIONREAD and kqueue's `data` give. \
                 Bytes may wait behind it: the end is the read that returns 0.",
            ),
            stop => stop,
        });
    }
    // No byte follows the urgent byte, so no read passes it, and it stays.
    clients[0].send_urgent()?;
    trial.expect_idle("urgent data was sent to it, and nothing after that")?;
    clients[0].echo(1000)
}
