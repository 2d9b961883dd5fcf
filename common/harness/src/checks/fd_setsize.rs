//! The numbers of descriptors: numbers with gaps between them, and numbers at and above 1024. A select server must refuse
//! the latter, all others must serve them, and none may crash.
//!
//! Invariant: the server inherits so many descriptors of /dev/null that a few clients reach the limit. Which clients
//! fit below the limit is read from /proc, and not guessed.

use std::time::{Duration, Instant};

use harness_macros::check;
use rustix::process::Signal;

use crate::client::{Client, ConnectOptions, echo_all, send_all};
use crate::failure::{Step, Stop, Symptom};
use crate::server::{self, Limits, Options, Server};
use crate::trial::{Trial, raise_fd_limit};

const FD_SETSIZE: usize = 1024;
/// Clients that still get a descriptor below FD_SETSIZE.
const LOW: usize = 24;
const COUNTED: &str = "The server's descriptors have gaps between them: 3, 5, 17 and 200 were open when it started. How many \
                       connections there are tells neither the highest descriptor (select's nfds is that plus one) nor \
                       the place of one in a list.";
const OVERFLOW: &str = "A descriptor of 1024 or more does not fit into an fd_set: FD_SET writes past its end. Close such \
                        a connection at once, before its number comes near a set.";

const TABLE: &str = "A descriptor is any number below the limit (ulimit -n), which may be a million: what is indexed by it has to grow, \
                     or refuse by closing.";

/// The server starts with descriptors 3, 5, 17 and 200 open; each new client is heard at once, also when others have left.
#[check(clause = 2, quick)]
fn descriptors_with_gaps_between_them_are_served_like_others(trial: &mut Trial<'_>) -> Step {
    /// As a server inherits them from a careless parent.
    const OPEN: &[i32] = &[3, 5, 17, 200];
    trial.process()?;
    let limits = Limits { gaps: OPEN, ..Limits::default() };
    trial.step("the server starts with the descriptors 3, 5, 17 and 200 open");
    trial.start(&Options { limits, ..Options::default() })?;
    trial.suspect(COUNTED);
    // Past 17, and then past 200.
    let mut clients = Vec::new();
    for all in [24, 210] {
        let new = trial.up_to(all, 1)?.saturating_sub(clients.len() as u32);
        trial.step(format!("{new} clients connect, one after the other; each sends 1 byte and reads it back"));
        for _ in 0..new {
            let mut client = trial.connect_quietly(ConnectOptions::default())?;
            client.plan(1);
            echo_all(std::slice::from_mut(&mut client)).map_err(counted)?;
            clients.push(client);
        }
        trial.step("in one wake all send 100 bytes, and the first eight leave");
        trial.freeze()?;
        send_all(&mut clients, 100)?;
        let leaving = clients.len().min(8);
        clients.drain(..leaving);
        trial.thaw()?;
        echo_all(&mut clients).map_err(counted)?;
    }
    trial.probe().map_err(counted)
}

/// It was served, or not, with numbers that have gaps between them.
fn counted(stop: Stop) -> Stop {
    match &stop {
        // Its own story is the better one.
        Stop::Fail(failure) if failure.symptom == Symptom::AcceptQueueNotDrained => stop,
        _ => with_its_facts(stop, COUNTED),
    }
}

/// What the check is about, behind what the kernel's view shows.
fn with_its_facts(stop: Stop, about: &str) -> Stop {
    match &stop {
        Stop::Fail(failure) if !failure.is_unclear() => {
            let cause = format!("{} {about}", failure.cause);
            stop.because(cause)
        }
        _ => stop.because(about),
    }
}

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
    trial.expect_held(held.saturating_sub(8), "after 8 clients closed")?;
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
    let limits = Limits { inherit: FD_SETSIZE + 76, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    enough_descriptors()?;
    let mut argv = trial.argv()?;
    trial.step(format!("the server starts with {} inherited descriptors", limits.inherit));
    if trial.subject.own && trial.subject.fd_limit.is_some() {
        argv.extend(["--addr".into(), options.addr.clone()]);
        const DUE: &str = "A listener with such a number does not fit into an fd_set. Exit code 1 and one line that names the \
                           limit are due.";
        let ended = server::run_to_end(&argv, &options, Duration::from_secs(30)).map_err(|stop| stop.because(DUE))?;
        let said = ended.stderr.trim_end();
        if ended.status.code() == Some(1) && said.lines().count() == 1 && said.contains("1024") {
            return Ok(());
        }
        let status = observe::errno::end_of_process(ended.status);
        let what = format!("its listener got a number past 1023; it ended with {status} and said {said:?}");
        return Err(Stop::fail(Symptom::Contract, what, DUE));
    }
    trial.suspect(OVERFLOW);
    match trial.start(&options).map(|_: &mut Server| ()) {
        // A foreign server may refuse to start, but not crash.
        Err(Stop::Fail(failure)) if !trial.subject.own && !failure.what.contains("ended with signal") => Ok(()),
        Err(stop) => Err(stop),
        Ok(()) => trial.probe(),
    }
}

/// The server's own descriptors end just below 2,048, then below 4,096 and so on: clients on both sides are served.
#[check(clause = 11)]
fn descriptors_past_every_power_of_two_are_served(trial: &mut Trial<'_>) -> Step {
    // Clients on this side, and on that.
    const BELOW: usize = 4;
    const ABOVE: u32 = 8;
    if let Some(limit) = trial.subject.fd_limit {
        return Err(Stop::skip(format!("it serves only descriptors below {limit}, as declared")));
    }
    trial.needs_proc()?;
    let most = raise_fd_limit();
    let own = numbers(trial)?.len();
    let tables = [2048, 4096, 8192, 16_384, 65_536].into_iter().filter(|table| *table as u64 + 200 <= most);
    for table in tables {
        let limits = Limits { inherit: table - own - BELOW, ..Limits::default() };
        trial.step(format!("the server starts with {} inherited descriptors", limits.inherit));
        let options = Options { limits, ..Options::default() };
        match trial.start(&options).map(|_: &mut Server| ()) {
            Err(Stop::Fail(failure)) if !trial.subject.own && !failure.what.contains("ended with signal") => {
                return Err(Stop::skip(format!("it refuses to start with so many descriptors open: {}", failure.what)));
            }
            started => started?,
        }
        trial.suspect(TABLE);
        let mut clients = trial.connect_many(BELOW as u32 + ABOVE)?;
        for client in &mut clients {
            in_the_table(trial, client)?;
        }
        let last = numbers(trial)?.last().map_or(0, |fd| *fd as usize);
        let served = clients.iter().filter(|client| client.received > 0).count();
        if last < table && served == clients.len() {
            return Err(Stop::skip(format!(
                "none of its descriptors came past {table}: it closes what it inherits, or its connections are no \
                 descriptors of its own table"
            )));
        }
    }
    if most < 2048 + 200 {
        Err(Stop::skip(format!("the hard limit is {most} descriptors (ulimit -Hn)")))
    } else {
        Ok(())
    }
}

/// Starts the server just below the limit, and connects clients until no number below it is left: the low clients.
fn fill_below(trial: &mut Trial<'_>) -> Step<Vec<Client>> {
    trial.needs_proc()?;
    enough_descriptors()?;
    let own = numbers(trial)?.len();
    let limits = Limits { inherit: FD_SETSIZE.saturating_sub(own + LOW), ..Limits::default() };
    trial.step(format!("the server starts with {} inherited descriptors", limits.inherit));
    trial.start(&Options { limits, ..Options::default() })?;
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

/// A client whose descriptor may be past the end of a table. A foreign server may refuse it by closing.
fn in_the_table(trial: &Trial<'_>, client: &mut Client) -> Step {
    match client.echo(1) {
        Err(Stop::Fail(it)) if !trial.subject.own && matches!(it.symptom, Symptom::Reset | Symptom::Truncated) => {
            Ok(())
        }
        Err(stop) => Err(with_its_facts(stop, TABLE)),
        Ok(()) => Ok(()),
    }
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
