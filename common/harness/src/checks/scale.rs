//! Many connections: each is served, each costs little, and the server gives all their memory and descriptors back.
//!
//! Invariant: a check never lowers its number in silence. If the machine or the server cannot have so many connections,
//! the check is skipped.

use std::time::{Duration, Instant};

use harness_macros::check;

use crate::client::{Client, ConnectOptions, echo_all, expect_eof_all, send_all, size};
use crate::failure::{Step, Stop, Symptom};
use crate::trial::{Trial, growth};

const MANY: u32 = 10_000;
const HOW_MANY: &str = "serving 10,000 connections";

/// Connect, echo and close; connect and close; connect, send and reset: 2,100 in all. No connection is left. Other open
/// descriptors and the memory do not grow from round to round.
#[check(clause = 4)]
fn two_thousand_clients_come_and_go_without_a_trace(trial: &mut Trial<'_>) -> Step {
    let base = trial.held_without_clients()?;
    let count = trial.up_to(100, 2)?;
    let (mut open, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        come_and_go(trial, count)?;
        open.push(trial.descriptors()?);
        memory.extend(trial.memory()?);
    }
    trial.probe()?;
    trial.expect_no_growth(&open, &format!("{count} clients came and went"))?;
    if !trial.subject.own && growth::goes_on(&memory, count, growth::SMALL) {
        // What frees late, when its collector gets to it, does so within some thousand clients.
        trial.step("its memory has grown all the time, so as many come and go twice more");
        memory.clear();
        for _ in 0..2 * ROUNDS {
            come_and_go(trial, count)?;
            memory.extend(trial.memory()?);
        }
    }
    trial.expect_no_memory_growth(&memory, count, growth::SMALL)?;
    trial.expect_held(base, "after 2,100 clients came and went")
}

const ROUNDS: usize = 21;

fn come_and_go(trial: &mut Trial<'_>, count: u32) -> Step {
    let third = count.div_ceil(3) as usize;
    let mut clients = trial.connect_many(count)?;
    trial
        .step("a third of them send 64 bytes and read them back, a third send them; 10 close and the others are reset");
    let (served, others) = clients.split_at_mut(third);
    served.iter_mut().for_each(|client| client.plan(64));
    echo_all(served)?;
    let sending = third.min(others.len());
    send_all(&mut others[..sending], 64)?;
    clients.drain(..third.min(10));
    clients.into_iter().for_each(Client::reset_quietly);
    trial.await_ends()?;
    trial.rest()
}

/// 70,000 clients send a byte, read it back and are reset: a number of 16 bits comes round, and what leaks shows.
#[check(clause = 4, long)]
fn seventy_thousand_clients_come_and_go(trial: &mut Trial<'_>) -> Step {
    const STEPS: usize = 7;
    const ROUNDS: u32 = 100;
    /// A leak of less than a small allocation for each client is not told from an allocator's scatter.
    const EACH: u64 = 128;
    const LONGEST: Duration = Duration::from_secs(400);
    let start = Instant::now();
    let base = trial.held_without_clients()?;
    let count = trial.up_to(100, 20)?;
    let mut memory = Vec::new();
    for step in 0..STEPS {
        trial.step(format!("{ROUNDS} times {count} clients send 1 byte, read it back and are reset"));
        for _ in 0..ROUNDS {
            let mut clients = Vec::new();
            for _ in 0..count {
                clients.push(trial.connect_quietly(ConnectOptions::default())?);
            }
            clients.iter_mut().for_each(|client| client.plan(1));
            echo_all(&mut clients).map_err(|stop| match trial.clients().0 {
                65_400..=65_700 => stop.because("It served 65,000 clients and more: a number of 16 bits wraps there."),
                _ => stop,
            })?;
            clients.into_iter().for_each(Client::reset_quietly);
            trial.await_ends()?;
            if start.elapsed() > LONGEST {
                let clients = step * (ROUNDS * count) as usize;
                return Err(Stop::skip(format!("only {clients} clients came and went in {} s", LONGEST.as_secs())));
            }
        }
        trial.rest()?;
        memory.extend(trial.process()?.resident());
    }
    trial.expect_held(base, "after 70,000 clients came and went")?;
    if growth::does_not_end(&memory, EACH * u64::from(ROUNDS * count)) {
        let kib: Vec<String> = memory.iter().map(|bytes| (bytes >> 10).to_string()).collect();
        let what = format!("its resident memory after each {} clients, in KiB: {}", ROUNDS * count, kib.join(", "));
        let cause = "Nobody is connected, and it grows without end: something is kept of each client that has left.";
        return Err(trial.with_view(Symptom::Leak, what, cause));
    }
    Ok(())
}

/// 4,200 connections (900 where only so many are declared) with a byte each in one wake, resets and FINs among them.
#[check(clause = 2, alone)]
fn thousands_of_events_in_one_wakeup_are_all_handled(trial: &mut Trial<'_>) -> Step {
    // More than the largest batch that servers have, 4,096.
    let count = if trial.subject.own && trial.subject.fd_limit.is_none() { 4200 } else { 900 };
    trial.needs_fds(count.into())?;
    let base = trial.held_without_clients()?;
    let count = trial.up_to(count, 40)?;
    let mut clients = trial.connect_many(count)?;
    trial.echo_all(&mut clients, 1)?;
    trial.freeze()?;
    trial.step("each sends 1 byte; every tenth is then reset, and every fortieth sends FIN");
    send_all(&mut clients, 1)?;
    let (leaving, clients): (Vec<_>, Vec<_>) = clients.into_iter().partition(|client| client.id % 10 == 0);
    let (mut finishing, mut staying): (Vec<_>, Vec<_>) = clients.into_iter().partition(|client| client.id % 40 == 1);
    leaving.into_iter().for_each(Client::reset_quietly);
    finishing.iter_mut().try_for_each(Client::half_close_quietly)?;
    trial.thaw()?;
    trial.step(format!("{} read their byte, {} their byte and FIN", staying.len(), finishing.len()));
    echo_all(&mut staying)?;
    expect_eof_all(&mut finishing)?;
    trial.expect_held(base + staying.len(), "after the reset and the finished clients left")?;
    trial.step("all that are left are reset");
    staying.into_iter().for_each(Client::reset_quietly);
    trial.expect_held(base, "after all clients left")
}

/// A round trip on each of 10,000 connections, then all close in one wake, most by reset.
#[check(clause = 11, alone)]
fn ten_thousand_idle_connections_are_served(trial: &mut Trial<'_>) -> Step {
    trial.only_own(HOW_MANY)?;
    trial.needs_fds(MANY.into())?;
    let base = trial.held_without_clients()?;
    let mut clients = trial.connect_many(MANY)?;
    trial.echo_all(&mut clients, 64)?;
    trial.freeze()?;
    // Most by reset: each FIN leaves a TIME_WAIT row in /proc/net/tcp, and makes every later look at it slower.
    trial.step("all close: 100 by FIN and 9,900 by reset");
    drop(clients.split_off(9900));
    clients.into_iter().for_each(Client::reset_quietly);
    trial.thaw()?;
    trial.probe()?;
    trial.expect_held(base, "after 10,000 clients closed")
}

/// The server's resident memory for 10,000 connections that have had a round trip of 64 bytes.
#[check(clause = 13, alone)]
fn an_idle_connection_costs_less_than_256_bytes(trial: &mut Trial<'_>) -> Step {
    // The contract's number, without a margin: 10,000 connections share what pages and arenas add, and the servers here
    // use 53 to 139 bytes.
    const EACH: u64 = 256;
    trial.only_own("its memory for each connection")?;
    trial.needs_fds(MANY.into())?;
    trial.probe()?;
    let before = resident(trial)?;
    let mut clients = trial.connect_many(MANY)?;
    trial.echo_all(&mut clients, 64)?;
    let grown = resident(trial)?.saturating_sub(before);
    clients.into_iter().for_each(Client::reset_quietly);
    let each = grown / u64::from(MANY);
    if each >= EACH {
        let what = format!(
            "an idle connection costs {each} bytes of resident memory, and less than {EACH} are allowed ({grown} in all)"
        );
        let cause = "A buffer for each connection is paid by all that are idle: read into one buffer of the loop, and allocate \
                     output only while it is owed.";
        return Err(trial.with_view(Symptom::Leak, what, cause));
    }
    Ok(())
}

/// 16 stuck clients, which cost the server memory, read everything. Ten times 8 other stuck clients are reset.
#[check(clause = 13)]
fn memory_comes_back_when_nothing_is_owed(trial: &mut Trial<'_>) -> Step {
    // What the allocator keeps, and its margin: freed pieces below its threshold for giving back stay resident (glibc's
    // M_TRIM_THRESHOLD is 128 KiB for each arena). A buffer that is kept for each of the 16 is several times as much.
    const KEPT: u64 = 2 << 20;
    trial.only_own("when it gives memory back")?;
    let mut clients = trial.connect_many(16)?;
    trial.echo_all(&mut clients, 64)?;
    let before = resident(trial)?;
    trial.fill(&mut clients)?;
    let owing = resident(trial)?;
    trial.step("all 16 read what is owed to them");
    echo_all(&mut clients)?;
    let after = resident(trial)?;
    if after > before + KEPT {
        let what = format!(
            "the server's resident memory was {} before, {} while it owed output, and is {} now that it owes none",
            size(before),
            size(owing),
            size(after)
        );
        let cause = "Output that was owed has been sent and its memory was kept: free it with the last byte.";
        return Err(trial.with_view(Symptom::Leak, what, cause));
    }
    drop(clients);
    expect_no_growth(trial)
}

/// In each of ten cycles 8 clients come, are stuck, and are reset: memory that is kept is kept once.
fn expect_no_growth(trial: &mut Trial<'_>) -> Step {
    const CYCLES: usize = 10;
    const CLIENTS: u32 = 8;
    // An allocator keeps more or less of what was freed, but not more each time. So the least of the last three
    // cycles is compared with the most of three early ones, and 32 KiB for each client in each cycle is too much.
    const GROWN: u64 = 1 << 20;
    let each = trial.more_than_fits()?;
    trial.step(format!("{CYCLES} times {CLIENTS} other clients send {} each, read nothing, and are reset", size(each)));
    let mut kept = Vec::new();
    for _ in 0..CYCLES {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(trial.connect_quietly(ConnectOptions::NARROW)?);
        }
        send_all(&mut clients, each)?;
        trial.rest()?;
        clients.into_iter().for_each(Client::reset_quietly);
        kept.push(resident(trial)?);
    }
    let early = kept[1..4].iter().max().copied().unwrap_or_default();
    let late = kept[CYCLES - 3..].iter().min().copied().unwrap_or_default();
    if late > early + GROWN {
        let sizes: Vec<String> = kept.iter().map(|bytes| format!("{}", bytes >> 10)).collect();
        trial.step(format!("resident memory after each cycle, in KiB: {}", sizes.join(", ")));
        let what = format!(
            "after {CYCLES} cycles of stuck clients the server holds {}, and {} after the fourth",
            size(late),
            size(early)
        );
        let cause =
            "Memory grows from cycle to cycle: something of each connection that was stuck is kept when it closes.";
        return Err(trial.with_view(Symptom::Leak, what, cause));
    }
    Ok(())
}

/// The server's resident memory, at rest.
fn resident(trial: &mut Trial<'_>) -> Step<u64> {
    trial.settle()?;
    let resident = trial.process()?.resident();
    resident.ok_or_else(|| Stop::skip("needs /proc/PID/smaps_rollup"))
}
