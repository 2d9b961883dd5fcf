//! `sqpoll --wait spin` never sleeps. It is not held to the contract: an idle server that keeps two cores busy breaks
//! clause 7 by design, and a hundred checks of it would take a small machine away from all other tests.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use harness::server::{Options, Server};
use harness::{Launch, Model, Stop, Subject};

#[test]
fn round_trips_without_a_sleep_and_a_signal_ends_it() {
    let mut subject = Subject::example("uring", "sqpoll", Model::Completion);
    let Launch::Command(argv) = &mut subject.launch else { unreachable!() };
    argv.extend(["--wait".into(), "spin".into()]);
    let mut server = match Server::start(&subject, &Options::default()) {
        Ok(server) => server,
        Err(Stop::Fail(failure)) => panic!("{} {}", failure.what, failure.cause),
        Err(Stop::Skip(why) | Stop::Broken(why)) => panic!("{why}"),
    };
    let pid = server.process.expect("a process that was started here").pid;
    let mut client = TcpStream::connect(server.addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    echo(&mut client);
    let before = sleeps(pid);
    (0..100).for_each(|_| echo(&mut client));
    assert_eq!(sleeps(pid), before, "it slept during 100 round trips");

    // SAFETY: kill takes two numbers. The child is not reaped yet, so its number is not another process.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    let status = server.wait_exit(Duration::from_secs(60));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "after SIGTERM");
}

fn echo(client: &mut TcpStream) {
    let mut answer = [0; 64];
    client.write_all(&[7; 64]).unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [7; 64]);
}

/// How often the main thread has slept: its voluntary context switches.
fn sleeps(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}
