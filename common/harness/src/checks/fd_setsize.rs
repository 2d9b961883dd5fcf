//! Descriptors at and above 1024: a select server must refuse them, all others must serve them, and none may crash.
//!
//! Invariant: the server inherits so many descriptors of /dev/null that a few clients reach the limit. Which clients
//! fit below the limit is read from /proc, and not guessed.

use std::time::{Duration, Instant};

use harness_macros::check;
use rustix::process::Signal;

use crate::client::{Client, echo_all, send_all};
use crate::failure::{Step, Stop, Symptom};
use crate::server::{self, Options, Server};
use crate::trial::{Trial, raise_fd_limit};

const FD_SETSIZE: usize = 1024;
/// Clients that still get a descriptor below FD_SETSIZE.
const LOW: usize = 24;
const OVERFLOW: &str = "A descriptor of 1024 or more does not fit into an fd_set: FD_SET writes past its end. Close such \
                        a connection at once, before its number comes near a set.";

/// 10 clients get descriptors of 1024 and more: refused by select, served by all others.
#[check(clause = 11, quick)]
fn a_connection_past_fd_1023_is_served_or_closed_at_once(trial: &mut Trial<'_>) -> Step {
    let mut low = fill_below(trial)?;
    let mut high = trial.connect_many(10)?;
    for client in &mut high {
        served_or_refused(trial, client)?;
    }
    trial.echo_all(&mut low, 100)
}

/// Bytes, closes and connects past the limit in one wake: clients with low descriptors lose nothing.
#[check(clause = 11)]
fn clients_below_fd_1024_go_on_while_others_pass_it(trial: &mut Trial<'_>) -> Step {
    let mut low = fill_below(trial)?;
    for _ in 0..3 {
        trial.freeze()?;
        trial.step("each client below 1024 sends 5,000 bytes");
        send_all(&mut low, 5000)?;
        let count = trial.up_to(10, 1)?;
        let high = trial.connect_many(count)?;
        trial.step("the new ones close");
        drop(high);
        trial.thaw()?;
        echo_all(&mut low)?;
    }
    Ok(())
}

/// Clients past the limit come and go, and clients below it close: the server serves new clients with the freed
/// numbers.
#[check(clause = 11)]
fn new_clients_are_served_again_once_low_descriptors_are_free(trial: &mut Trial<'_>) -> Step {
    let mut low = fill_below(trial)?;
    let mut high = trial.connect_many(10)?;
    for client in &mut high {
        served_or_refused(trial, client)?;
    }
    drop(high);
    let held = trial.held()?;
    trial.step("8 of the clients below 1024 close");
    low.drain(4..12);
    trial.expect_held(held - 8, "after 8 clients closed")?;
    let mut new = trial.connect_many(8)?;
    trial.echo_all(&mut new, 100)?;
    trial.echo_all(&mut low, 100)
}

/// 200 connections past the limit: one line to stderr a second at most, and it says why.
#[check(clause = 11)]
fn a_flood_of_refused_connections_writes_few_lines(trial: &mut Trial<'_>) -> Step {
    trial.only_own("what it writes to stderr")?;
    if trial.subject.fd_limit.is_none() {
        return Err(Stop::skip("it refuses no descriptor, so it has nothing to say"));
    }
    let mut low = fill_below(trial)?;
    let start = Instant::now();
    for _ in 0..10 {
        trial.connect_many(20)?.iter_mut().try_for_each(Client::expect_closed).map_err(ignored)?;
    }
    trial.echo_all(&mut low, 100)?;
    let server = trial.server()?;
    server.signal(Signal::TERM)?;
    server.wait_exit(Duration::from_secs(10));
    let (_, said) = server.output();
    trial.ended_as_wanted();
    let lines = said.lines().count();
    // One at once and one for each second begun; a slow machine takes more seconds.
    let allowed = 2 + start.elapsed().as_secs() as usize;
    let first = said.lines().next().unwrap_or_default();
    if lines > allowed {
        let what =
            format!("200 refused connections made {lines} lines on stderr, at most {allowed} were due: '{first}'");
        return Err(Stop::fail(Symptom::Contract, what, "A line for each refusal lets any client fill the log."));
    }
    if !first.contains("1024") {
        let what = format!("200 connections were refused, and stderr does not say that 1024 is the limit: '{first}'");
        return Err(Stop::fail(
            Symptom::Contract,
            what,
            "Refused clients look like network trouble unless it is said.",
        ));
    }
    Ok(())
}

/// 1,100 inherited descriptors: the listener itself gets a number past the limit.
#[check(clause = 11)]
fn a_listener_past_fd_1023_serves_or_says_why_it_cannot(trial: &mut Trial<'_>) -> Step {
    let options = Options { inherit: FD_SETSIZE + 76, ..Options::default() };
    enough_descriptors()?;
    let mut argv = trial.argv()?;
    trial.step(format!("the server starts with {} inherited descriptors", options.inherit));
    if trial.subject.own && trial.subject.fd_limit.is_some() {
        argv.extend(["--addr".into(), options.addr.clone()]);
        let ended = server::run_to_end(&argv, &options, Duration::from_secs(30))?;
        let said = ended.stderr.trim_end();
        if ended.status.code() == Some(1) && said.lines().count() == 1 && said.contains("1024") {
            return Ok(());
        }
        let status = observe::errno::end_of_process(ended.status);
        let what = format!("its listener got a number past 1023; it ended with {status} and said {said:?}");
        return Err(Stop::fail(Symptom::Contract, what, "Exit code 1 and one line that names the limit were due."));
    }
    trial.suspect(OVERFLOW);
    match trial.start(&options).map(|_: &mut Server| ()) {
        // A foreign server may refuse to start, but not crash.
        Err(Stop::Fail(failure)) if !trial.subject.own && !failure.what.contains("ended with signal") => Ok(()),
        Err(stop) => Err(stop),
        Ok(()) => trial.probe(),
    }
}

/// Starts the server just below the limit, and connects clients until no number below it is left: the low clients.
fn fill_below(trial: &mut Trial<'_>) -> Step<Vec<Client>> {
    trial.needs_proc()?;
    enough_descriptors()?;
    let own = numbers(trial)?.len();
    let options = Options { inherit: FD_SETSIZE.saturating_sub(own + LOW), ..Options::default() };
    trial.step(format!("the server starts with {} inherited descriptors", options.inherit));
    trial.start(&options)?;
    trial.suspect(OVERFLOW);
    let taken = numbers(trial)?;
    let room = FD_SETSIZE - taken.iter().filter(|fd| (**fd as usize) < FD_SETSIZE).count();
    let mut low = trial.connect_many(room as u32)?;
    trial.echo_all(&mut low, 100)?;
    Ok(low)
}

/// The open descriptors of the server, at rest.
fn numbers(trial: &mut Trial<'_>) -> Step<Vec<i32>> {
    trial.rest()?;
    let process = trial.process()?;
    let family = process.processes().unwrap_or_default();
    let numbers = family.into_iter().filter_map(|process| process.fds());
    numbers.max_by_key(Vec::len).ok_or_else(|| Stop::skip("needs Linux's /proc"))
}

/// A client past the limit that was neither served nor closed.
fn ignored(stop: Stop) -> Stop {
    match &stop {
        // Its own story is the better one; but a server that lowers its limit of descriptors means to let them wait.
        Stop::Fail(failure) if failure.symptom == Symptom::AcceptQueueNotDrained => {
            let cause =
                format!("{} A client past fd 1023 is closed at once: it does not wait in the queue.", failure.cause);
            stop.because(cause)
        }
        _ => stop.because(format!("It was neither served nor closed at once. {OVERFLOW}")),
    }
}

fn enough_descriptors() -> Step {
    let (limit, needed) = (raise_fd_limit(), FD_SETSIZE as u64 + 200);
    let reason = || Stop::skip(format!("needs {needed} descriptors, and the hard limit is {limit} (ulimit -Hn)"));
    if limit < needed { Err(reason()) } else { Ok(()) }
}

/// A client past the limit: it must be treated as the server declares, or in either way if the server declares nothing.
fn served_or_refused(trial: &Trial<'_>, client: &mut Client) -> Step {
    let id = client.id;
    let refused = match client.echo(1) {
        Ok(()) => false,
        Err(Stop::Fail(failure)) if matches!(failure.symptom, Symptom::Reset | Symptom::Truncated) => true,
        Err(stop) => return Err(ignored(stop)),
    };
    match (trial.subject.own, trial.subject.fd_limit.is_some(), refused) {
        (true, true, false) => {
            let what = format!("c{id} was served although its descriptor is past the declared limit");
            Err(Stop::fail(Symptom::Contract, what, OVERFLOW))
        }
        (true, false, true) => {
            let what = format!("c{id}, whose descriptor is 1024 or more, was closed and not served");
            let cause = "Only select has this limit: poll, epoll and io_uring take any number.";
            Err(Stop::fail(Symptom::Refused, what, cause))
        }
        _ => Ok(()),
    }
}
