//! How a server begins and ends: the command line, the first line, the signals.
//!
//! Invariant: a check about the command line, or about what a signal does, is about this repository's own choice, and is
//! skipped on other servers.

use std::net::TcpListener;
use std::time::Duration;

use harness_macros::check;
use observe::errno::end_of_process;
use observe::is_listening;
use rustix::process::Signal;

use crate::before_wait::signal_before_wait;
use crate::client::ConnectOptions;
use crate::failure::{Step, Stop, Symptom};
use crate::server::{Finished, Options, run_to_end};
use crate::subject::Model;
use crate::trial::Trial;
use crate::waits::Waits;

/// A server that refuses its command line, or that was told to stop, ends at once. Under load this takes a while.
const AT_ONCE: Duration = Duration::from_secs(30);
const COMMAND_LINE: &str = "the command line";
const O_NONBLOCK: i32 = libc::O_NONBLOCK;
const O_CLOEXEC: i32 = libc::O_CLOEXEC;

/// --help: the usage on stdout, exit 0.
#[check(clause = 1)]
fn help_is_printed_to_stdout(trial: &mut Trial<'_>) -> Step {
    let finished = run(trial, &["--help"])?;
    expect_code(&finished, 0, "--help")?;
    for word in ["--addr", "--backlog", "--help"] {
        if !finished.stdout.contains(word) {
            let what = format!("--help does not mention {word} on stdout; it printed {:?}", finished.stdout);
            return Err(contract(what));
        }
    }
    Ok(())
}

/// Unknown options, missing and impossible values: usage on stderr, nothing on stdout, exit 2.
#[check(clause = 1, quick)]
fn bad_arguments_are_refused_with_the_usage(trial: &mut Trial<'_>) -> Step {
    for args in [
        &["--no-such-option"][..],
        &["7000"],
        &["--addr"],
        &["--addr", "here"],
        &["--addr", "127.0.0.1"],
        &["--addr", "127.0.0.1:65536"],
        &["--backlog", "0"],
        &["--backlog", "-1"],
        &["--backlog", "many"],
    ] {
        let finished = run(trial, args)?;
        let line = args.join(" ");
        expect_code(&finished, 2, &line)?;
        if !finished.stdout.is_empty() {
            return Err(contract(format!("'{line}': stdout is for results, and got {:?}", finished.stdout)));
        }
        if !finished.stderr.contains("--addr") || !finished.stderr.contains(args.last().copied().unwrap_or_default()) {
            let what =
                format!("'{line}': stderr has to name what is wrong and show the usage; it is {:?}", finished.stderr);
            return Err(contract(what));
        }
    }
    Ok(())
}

/// A port that is in use: one line with the address, the reason and advice, exit 1.
#[check(clause = 1)]
fn an_address_in_use_is_said_in_one_line(trial: &mut Trial<'_>) -> Step {
    trial.only_own(COMMAND_LINE)?;
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let addr = taken.local_addr()?.to_string();
    refused_address(trial, &addr, &[&addr, "in use", "port"])
}

/// 192.0.2.1, a documentation address (RFC 5737): one line, exit 1.
#[check(clause = 1)]
fn an_address_that_is_not_this_machines_is_said_in_one_line(trial: &mut Trial<'_>) -> Step {
    refused_address(trial, "192.0.2.1:0", &["192.0.2.1:0", "address"])
}

/// Port 80 without permission: one line, exit 1.
#[check(clause = 1)]
fn a_port_that_needs_root_is_said_in_one_line(trial: &mut Trial<'_>) -> Step {
    trial.only_own(COMMAND_LINE)?;
    if TcpListener::bind(("127.0.0.1", 80)).is_ok() {
        return Err(Stop::skip("this user may listen on port 80"));
    }
    refused_address(trial, "127.0.0.1:80", &["127.0.0.1:80"])
}

/// The set-up fails: exit 1, and one line with these words.
fn refused_address(trial: &mut Trial<'_>, addr: &str, words: &[&str]) -> Step {
    let finished = run(trial, &["--addr", addr])?;
    expect_code(&finished, 1, addr)?;
    let missing = words.iter().find(|word| !finished.stderr.contains(**word));
    if finished.stderr.trim_end().lines().count() != 1 || missing.is_some() || !finished.stdout.is_empty() {
        let what = format!(
            "{addr}: stderr has to be one line with {words:?}, and stdout empty; they are {:?} and {:?}",
            finished.stderr, finished.stdout
        );
        return Err(contract(what));
    }
    Ok(())
}

/// Port 0, some traffic, and nothing else on stdout.
#[check(clause = 1, quick)]
fn one_line_on_stdout_says_where_it_listens(trial: &mut Trial<'_>) -> Step {
    trial.only_own(COMMAND_LINE)?;
    let mut client = trial.connect()?;
    client.echo(100_000)?;
    client.reset();
    trial.probe()?;
    trial.step("the server is told to stop");
    let server = trial.server()?;
    server.signal(Signal::TERM)?;
    server.wait_exit(AT_ONCE);
    let expected = format!("listening on {}\n", server.addr);
    let (stdout, _) = server.output();
    trial.ended_as_wanted();
    if stdout == expected { Ok(()) } else { Err(contract(format!("stdout is {stdout:?} and not {expected:?}"))) }
}

/// [::1]:0 and a round trip.
#[check(clause = 1)]
fn ipv6_is_served(trial: &mut Trial<'_>) -> Step {
    trial.only_own(COMMAND_LINE)?;
    if TcpListener::bind(("::1", 0)).is_err() {
        return Err(Stop::skip("this machine has no IPv6"));
    }
    trial.start(&Options { addr: "[::1]:0".into(), ..Options::default() })?;
    trial.connect()?.echo(100_000)
}

/// O_NONBLOCK of the listener and of accepted sockets; where these block, no call on them may wait (ptrace). Close-on-exec
/// on all.
#[check(clause = 6, quick)]
fn every_socket_is_blocking_or_not_as_its_model_needs(trial: &mut Trial<'_>) -> Step {
    trial.needs_proc()?;
    let mut clients = trial.connect_many(3)?;
    trial.echo_all(&mut clients, 1)?;
    trial.rest()?;
    let process = trial.process()?;
    let port = trial.server()?.addr.port();
    let view = process.view(port).ok_or_else(|| Stop::skip("needs Linux's /proc"))?;
    let is_loop = view.threads().all(|thread| thread.call.is_some_and(|call| call.is_wait()));
    let mut blocking = None;
    for socket in &view.sockets {
        let Some(holder) = socket.holder() else { continue };
        let (fd, flags) = (holder.fd, process.fd_flags(holder).unwrap_or(0));
        let kind = if socket.listening { "the listener" } else { "an accepted socket" };
        let blocks = flags & O_NONBLOCK == 0;
        match (trial.subject.model, socket.listening) {
            (Model::Readiness, true) if blocks => {
                let what = format!("{kind} (fd {fd}) has the flags {flags:#o}; O_NONBLOCK is {O_NONBLOCK:#o}");
                let cause = "A client that leaves before its accept leaves an accept that waits for the next client, and \
                             serves nobody meanwhile.";
                return Err(Stop::fail(Symptom::Contract, what, cause));
            }
            (Model::Completion, false) if !blocks => {
                let what = format!("{kind} (fd {fd}) has the flags {flags:#o}; O_NONBLOCK is {O_NONBLOCK:#o}");
                let cause = "With io_uring O_NONBLOCK turns the kernel's own waiting into EAGAIN.";
                return Err(Stop::fail(Symptom::Contract, what, cause));
            }
            // What its calls do is what counts.
            (Model::Readiness | Model::Unknown, false) if blocks => blocking = Some(fd),
            // The listener of a completion server may be blocking or not: the kernel waits for its accept.
            _ => {}
        }
        if trial.subject.own && flags & O_CLOEXEC == 0 {
            let what = format!("{kind} (fd {fd}) has the flags {flags:#o}, without close-on-exec ({O_CLOEXEC:#o})");
            return Err(Stop::fail(
                Symptom::Contract,
                what,
                "A program that it starts would keep the connection open.",
            ));
        }
    }
    match blocking {
        None => Ok(()),
        Some(_) if trial.subject.model == Model::Unknown && !is_loop => {
            Err(Stop::skip("not all of its threads wait for many clients at once, so a call may wait for one of them"))
        }
        Some(fd) => no_call_waits(trial, fd),
    }
}

/// A client sends without reading, and then reads a little: on a socket without O_NONBLOCK each call has to say itself that
/// it does not wait.
fn no_call_waits(trial: &mut Trial<'_>, fd: i32) -> Step {
    const WAITS: &str = "An event loop that waits in one call serves nobody meanwhile. Set O_NONBLOCK on every accepted \
                         socket (Linux does not inherit it from the listener), or give each send and each receive \
                         MSG_DONTWAIT.";
    let mut client = trial.connect_with(ConnectOptions::NARROW)?;
    client.echo(1)?;
    trial.rest()?;
    let process = trial.process()?;
    let Some(waits) = Waits::start(process) else {
        return Err(Stop::skip(format!(
            "fd {fd} has no O_NONBLOCK, and what its calls do cannot be traced here (ptrace)"
        )));
    };
    let sent = client.send_until_stuck(1 << 20);
    trial.unless_cut_off(sent)?;
    // Little by little: there is room for a part of what is owed, and not for all.
    let half = client.outstanding() / 2;
    let mut asleep = Waits::asleep(process);
    while asleep.is_none() && client.outstanding() > half {
        client.receive(client.outstanding().min(24 * 1024))?;
        trial.rest()?;
        asleep = Waits::asleep(process);
    }
    match asleep.or(waits.found()) {
        None => Ok(()),
        Some(call) => {
            let what = format!("a client that does not read made a call wait, on a socket without O_NONBLOCK: {call}");
            Err(Stop::fail(Symptom::Contract, what, WAITS))
        }
    }
}

/// SIGTERM to a sleeping server, with no other event to wake it: exit 0.
#[check(clause = 12)]
fn sigterm_ends_an_idle_server(trial: &mut Trial<'_>) -> Step {
    stops(trial, Signal::TERM, &[])
}

/// SIGINT with 50 connections, one of them stuck: exit 0.
#[check(clause = 12, quick)]
fn sigint_ends_a_server_with_connections(trial: &mut Trial<'_>) -> Step {
    trial.only_own("what a signal does")?;
    let mut clients = trial.connect_many(49)?;
    trial.echo_all(&mut clients, 100)?;
    let mut stuck = trial.connect()?;
    stuck.send_until_stuck(64 << 20)?;
    stops(trial, Signal::INT, &[])
}

/// SIGTERM while the server is stopped, with and without work waiting: exit 0.
#[check(clause = 12)]
fn a_signal_that_comes_before_the_wait_is_not_lost(trial: &mut Trial<'_>) -> Step {
    trial.only_own("what a signal does")?;
    trial.server()?;
    trial.freeze()?;
    stops(trial, Signal::TERM, &[Signal::CONT])?;
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.freeze()?;
    client.send(1000)?;
    stops(trial, Signal::TERM, &[Signal::CONT])
}

/// SIGTERM, then SIGINT, at the entry of the wait (ptrace): pselect, ppoll, a self-pipe and signalfd exist for this.
#[check(clause = 12)]
fn a_signal_between_the_last_look_and_the_wait_is_not_lost(trial: &mut Trial<'_>) -> Step {
    trial.only_own("what a signal does")?;
    for signal in [Signal::TERM, Signal::INT] {
        let mut client = trial.connect()?;
        client.echo(1)?;
        trial.rest()?;
        let (id, name) = (client.id, name(signal));
        trial.step(format!("c{id} sends 1 byte; {name} comes when it is echoed, just before the server waits again"));
        signal_before_wait(trial.process()?, signal, &mut client)?;
        ends_well(trial, signal)?;
    }
    Ok(())
}

/// SIGTERM, twice, while a client sends without end: exit 0.
#[check(clause = 12)]
fn a_signal_during_traffic_ends_the_server(trial: &mut Trial<'_>) -> Step {
    trial.only_own("what a signal does")?;
    let mut client = trial.connect()?;
    client.echo(1 << 20)?;
    client.plan(8 << 20);
    while client.write_some(usize::MAX)? > 0 {}
    stops(trial, Signal::TERM, &[Signal::TERM])
}

/// Stop with open connections, then a new server on the same port.
#[check(clause = 12)]
fn the_port_is_free_again_after_a_stop(trial: &mut Trial<'_>) -> Step {
    trial.only_own("what a signal does")?;
    let mut client = trial.connect()?;
    client.echo(1000)?;
    let addr = trial.server()?.addr;
    stops(trial, Signal::TERM, &[])?;
    // The kernel takes a ring down after its process has gone, and the ring holds the listener.
    trial.wait_until("nobody listens on the port any more", |_| Ok(is_listening(addr.port()) != Some(true)))?;
    trial.step("the server starts again on the same port");
    let again = trial.start(&Options { addr: addr.to_string(), ..Options::default() }).map(|_| ());
    again.map_err(|stop| {
        stop.because("Connections of its last life are in TIME_WAIT for a minute: set SO_REUSEADDR before bind.")
    })?;
    trial.probe()
}

/// SIGSTOP and SIGCONT right after the start, then the first client.
#[check(clause = 10)]
fn a_server_that_was_stopped_before_its_first_client_serves_it(trial: &mut Trial<'_>) -> Step {
    trial.server()?;
    trial.freeze()?;
    trial.thaw()?;
    trial.probe()
}

/// Sends the signals and expects exit code 0; afterwards the trial has no server.
fn stops(trial: &mut Trial<'_>, signal: Signal, more: &[Signal]) -> Step {
    trial.only_own("what a signal does")?;
    let server = trial.server()?;
    if more.is_empty() {
        trial.rest()?;
    } else {
        server.signal(signal)?;
    }
    trial.step(format!("the server gets {}", name(signal)));
    let server = trial.server()?;
    for signal in if more.is_empty() { std::slice::from_ref(&signal) } else { more } {
        server.signal(*signal)?;
    }
    ends_well(trial, signal)
}

/// The server has got the signal: it ends with exit code 0, and leaves no process behind.
fn ends_well(trial: &mut Trial<'_>, signal: Signal) -> Step {
    let name = name(signal);
    let process = trial.process()?;
    let server = trial.server()?;
    let status = server.wait_exit(Duration::from_secs(1)).or_else(|| {
        // A server that rests again will never end. A server that is still at work may lack the processor.
        match process.settle(Duration::from_millis(500), AT_ONCE) {
            Some(_) => server.exit_status(),
            None => server.wait_exit(AT_ONCE),
        }
    });
    match status {
        Some(_) if server.left_others() => Err(contract(format!("after {name} it ended and left processes behind"))),
        Some(status) if status.code() == Some(0) => {
            trial.ended_as_wanted();
            Ok(())
        }
        Some(status) => {
            let what = format!("after {name} it ended with {} and not with exit code 0", end_of_process(status));
            Err(server.failed(Symptom::Contract, what))
        }
        None => {
            let what = format!("{name} was sent, and the server does not end");
            let cause = "A flag that is set by a handler and tested before the wait misses the signal that comes in between: \
                         let the handler write to a socket that the loop waits for, or use pselect, ppoll or a signalfd.";
            Err(trial.with_view(Symptom::Contract, what, cause))
        }
    }
}

fn name(signal: Signal) -> &'static str {
    if signal == Signal::INT { "SIGINT" } else { "SIGTERM" }
}

fn run(trial: &mut Trial<'_>, args: &[&str]) -> Step<Finished> {
    trial.only_own(COMMAND_LINE)?;
    let mut argv = trial.argv()?;
    argv.extend(args.iter().map(|arg| (*arg).to_owned()));
    trial.step(format!("run with {}", args.join(" ")));
    run_to_end(&argv, &Options::default(), AT_ONCE)
}

fn expect_code(finished: &Finished, code: i32, line: &str) -> Step {
    if finished.status.code() == Some(code) {
        return Ok(());
    }
    let what = format!(
        "'{line}': {} and not exit code {code}; stderr: {:?}",
        end_of_process(finished.status),
        finished.stderr
    );
    Err(contract(what))
}

fn contract(what: String) -> Stop {
    Stop::fail(Symptom::Contract, what, "")
}
