//! One client's flood is one client's affair: the others wait for a bounded amount of its work, however much there is.
//!
//! Invariant: the judge is the flood's bytes and no clock. The server gets the processor only while the clients sleep
//! (see `Lockstep`), so they see each of its steps, and a flood never runs dry because a client was slow. The quiet
//! client's answer is looked for before the flood is moved on, so a delay of the harness cannot be held against the server.

use std::time::{Duration, Instant};

use crate::check::Check;
use crate::client::{Client, any_ready, echo_all, size};
use crate::failure::{Step, Stop, Symptom};
use crate::trial::Trial;

const GROUP: &str = "fairness";
/// Bytes that a flooding client has under way: more than the sockets hold.
const FLOOD: u64 = 8 << 20;
const TURN: usize = 64 * 1024;
/// What may come back of a flood before a quiet client is answered. Our servers need 1 to 2 MiB for four flooders; libuv
/// reads up to 2 MiB of each before it turns to the next, and is fair.
const BOUND: u64 = 48 << 20;
const ROUNDS: usize = 3;

const UNFAIR: &str = "Each connection's turn has to end while there is more to read: after a few reads go on to the next. A level \
                      is reported again by the next wait; under edge triggering keep a list of those that are not drained.";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "four_clients_that_flood_do_not_keep_a_fifth_waiting",
        clause: 8,
        about: "four connections that never run dry, and one byte on a fifth: the flood's bytes until its echo are bounded",
        alone: false,
        run: a_fifth,
    },
    Check {
        group: GROUP,
        name: "four_clients_that_flood_do_not_keep_a_new_one_waiting",
        clause: 8,
        about: "as before, and the fifth connects while the others flood",
        alone: false,
        run: a_new_one,
    },
    Check {
        group: GROUP,
        name: "fifty_clients_that_pipeline_do_not_keep_another_waiting",
        clause: 8,
        about: "50 connections with 16 KiB under way each, refilled as soon as they are echoed, and one byte on another",
        alone: false,
        run: among_pipeliners,
    },
    Check {
        group: GROUP,
        name: "a_burst_of_connects_does_not_keep_a_connected_client_waiting",
        clause: 8,
        about: "300 clients connect and send a byte in one wake: one that was connected before is not served after them all",
        alone: false,
        run: among_connects,
    },
];

fn a_fifth(trial: &mut Trial<'_>) -> Step {
    let mut clients = trial.connect_many(5)?;
    trial.echo_all(&mut clients, 1)?;
    let _lockstep = Lockstep::begin(trial)?;
    for _ in 0..ROUNDS {
        trial.freeze()?;
        flood(trial, &mut clients[..4], FLOOD)?;
        clients[4].send(1)?;
        trial.thaw()?;
        until_answered(trial, &mut clients, FLOOD)?;
    }
    Ok(())
}

fn a_new_one(trial: &mut Trial<'_>) -> Step {
    let mut clients = trial.connect_many(4)?;
    trial.echo_all(&mut clients, 1)?;
    let _lockstep = Lockstep::begin(trial)?;
    for _ in 0..ROUNDS {
        trial.freeze()?;
        flood(trial, &mut clients, FLOOD)?;
        clients.push(trial.connect()?);
        clients[4].send(1)?;
        trial.thaw()?;
        until_answered(trial, &mut clients, FLOOD)?;
        clients.pop();
    }
    Ok(())
}

fn among_pipeliners(trial: &mut Trial<'_>) -> Step {
    const WINDOW: u64 = 16 * 1024;
    let mut clients = trial.connect_many(51)?;
    trial.echo_all(&mut clients, 1)?;
    let _lockstep = Lockstep::begin(trial)?;
    for _ in 0..ROUNDS {
        trial.freeze()?;
        flood(trial, &mut clients[..50], WINDOW)?;
        clients[50].send(1)?;
        trial.thaw()?;
        until_answered(trial, &mut clients, WINDOW)?;
    }
    Ok(())
}

fn among_connects(trial: &mut Trial<'_>) -> Step {
    // Twice the largest batch of our servers.
    const BEFORE: usize = 128;
    let mut connected = trial.connect()?;
    connected.echo(1)?;
    let _lockstep = Lockstep::begin(trial)?;
    trial.freeze()?;
    let mut new = trial.connect_many(300)?;
    trial.step("each of the 300 sends 1 byte");
    new.iter_mut().try_for_each(|client| client.send_quietly(1))?;
    connected.send(1)?;
    trial.thaw()?;
    let mut served = 0;
    new.push(connected);
    while new[300].outstanding() > 0 {
        new[300].read_some(1)?;
        for client in &mut new[..300] {
            served += client.read_some(1)?;
        }
        if served > BEFORE && new[300].outstanding() > 0 {
            let what = format!("{served} of 300 new clients were served while c0, connected before, waited for 1 byte");
            return Err(trial.with_view(Symptom::Starved, what, "Accept a bounded number in each turn, and serve those already connected between."));
        }
        let _ = any_ready(&new, Duration::from_millis(20))?;
    }
    echo_all(&mut new)
}

/// Fills the connections as far as their sockets go while nobody reads.
fn flood(trial: &Trial<'_>, clients: &mut [Client], window: u64) -> Step {
    trial.step(format!("{} clients send without end, with {} under way each", clients.len(), size(window)));
    for client in clients {
        client.planned = client.sent.max(client.received + window);
        while client.write_some(TURN)? > 0 {}
    }
    Ok(())
}

/// Keeps the flood going on all but the last client until that one has its byte back.
fn until_answered(trial: &mut Trial<'_>, clients: &mut [Client], window: u64) -> Step {
    trial.step("all read, and send on as they read, until it has its byte back");
    let end = Instant::now() + Duration::from_secs(20);
    let mut echoed = 0; let mut dbg = false;
    loop {
        let (quiet, flooders) = clients.split_last_mut().expect("one that waits");
        if quiet.read_some(1)? > 0 {
            eprintln!("MEASURE {} {} {}", trial.subject.name, clients.len(), echoed);
            clients.iter_mut().for_each(|client| client.planned = client.sent);
            return echo_all(clients);
        }
        let mut moved = 0;
        for client in flooders {
            let read = client.read_some(TURN)?;
            client.planned = client.sent.max(client.received + window);
            echoed += read as u64;
            moved += read + client.write_some(TURN)?;
        }
        if echoed > 3<<20 && !dbg {
            dbg = true;
            let server = trial.server()?;
            let v = server.process.unwrap().view(server.addr.port()).unwrap();
            eprintln!("DBG quiet {:?} cq {:?} threads {:?}\n others {:?}", v.connection(quiet.local), crate::kernel::queues(quiet.local, server.addr), v.threads, v.sockets.iter().map(|s| (s.fd, s.rx, s.tx)).collect::<Vec<_>>());
        }
        if echoed > BOUND {
            let what = format!("c{} waited for 1 byte while {} of the flood came back, and still waits", quiet.id, size(echoed));
            return Err(trial.with_view(Symptom::Starved, what, UNFAIR));
        }
        let stopped = moved == 0 && !any_ready(clients, Duration::from_millis(50))?;
        if stopped || clients.iter().any(|client| client.eof) || Instant::now() > end {
            // It says which connection ended or stands still, and why.
            return echo_all(&mut clients.last_mut().map(std::slice::from_mut).expect("one that waits"));
        }
    }
}

/// While it lives, the server runs only when the calling thread sleeps: both are bound to one processor, and the server is
/// scheduled as idle work. Where that is not possible the checks judge as well, and see less of an unfair server.
struct Lockstep {
    #[cfg(target_os = "linux")]
    before: rustix::thread::CpuSet,
}

impl Lockstep {
    #[cfg(target_os = "linux")]
    fn begin(trial: &mut Trial<'_>) -> Step<Option<Self>> {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
        let threads = trial.process()?.threads().unwrap_or_default();
        let (mut here, Ok(before)) = (CpuSet::new(), sched_getaffinity(None)) else { return Ok(None) };
        here.set(sched_getcpu());
        for thread in threads {
            let tid = rustix::process::Pid::from_raw(thread.tid);
            let _ = sched_setaffinity(tid, &here);
            if std::env::var("NICE").is_ok() {
                let _ = rustix::process::setpriority_process(tid, 19);
            } else if std::env::var("NOIDLE").is_err() {
            let lowest = libc::sched_param { sched_priority: 0 };
            // SAFETY: the parameter is a valid struct that the call only reads.
            unsafe { libc::sched_setscheduler(thread.tid, libc::SCHED_IDLE, &lowest) };
            }
        }
        Ok(sched_setaffinity(None, &here).is_ok().then_some(Self { before }))
    }

    #[cfg(not(target_os = "linux"))]
    fn begin(_trial: &mut Trial<'_>) -> Step<Option<Self>> {
        Ok(None)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Lockstep {
    fn drop(&mut self) {
        let _ = rustix::thread::sched_setaffinity(None, &self.before);
    }
}
