//! One submission per connection: fixed-length requests come back, and a chain that breaks sends nothing.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use harness::server::{Options, Server};
use harness::{Model, Stop, Subject};

const REQUEST: usize = 64;
/// Bounds the wait for an answer.
const BACKSTOP: Duration = Duration::from_secs(30);

fn start(lanes: &str) -> Server {
    let mut subject = Subject::example("uring", "linked", Model::Completion);
    let harness::Launch::Command(argv) = &mut subject.launch else { unreachable!() };
    argv.extend(["--lanes".into(), lanes.into()]);
    match Server::start(&subject, &Options::default()) {
        Ok(server) => server,
        Err(Stop::Fail(failure)) => panic!("{} {}", failure.what, failure.cause),
        Err(Stop::Skip(why) | Stop::Broken(why)) => panic!("{why}"),
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(BACKSTOP)).unwrap();
    stream
}

/// All bytes up to the FIN.
fn answer(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Stops the server and returns the numbers that it prints: connections served, connections broken off, system calls.
fn stop(mut server: Server) -> Vec<u64> {
    let process = server.process.expect("a process that was started here");
    // SAFETY: kill takes two numbers. The child is not reaped yet, so its number is not another process.
    unsafe { libc::kill(process.pid, libc::SIGTERM) };
    let status = server.wait_exit(BACKSTOP);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "after SIGTERM");
    let (_, said) = server.output();
    said.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn each_request_comes_back_and_then_fin_and_each_costs_one_call() {
    let server = start("1");
    for name in 0..200u8 {
        let mut client = connect(server.addr);
        client.write_all(&[name; REQUEST]).unwrap();
        assert_eq!(answer(&client), [name; REQUEST]);
    }
    let counts = stop(server);
    assert_eq!(counts[..2], [200, 0]);
    // One call for each connection, and a few for the signal.
    assert!(counts[2] <= 205, "{} calls for 200 connections", counts[2]);
}

#[test]
fn more_clients_than_lanes_are_all_served() {
    let server = start("3");
    let clients: Vec<_> = (0..100u8).map(|name| (name, connect(server.addr))).collect();
    for (name, client) in &clients {
        (&mut &*client).write_all(&[*name; REQUEST]).unwrap();
    }
    for (name, client) in &clients {
        assert_eq!(answer(client), [*name; REQUEST]);
    }
    assert_eq!(stop(server)[..2], [100, 0]);
}

#[test]
fn a_request_may_arrive_in_pieces() {
    let server = start("1");
    let mut client = connect(server.addr);
    client.set_nodelay(true).unwrap();
    for _ in 0..REQUEST {
        client.write_all(b"x").unwrap();
    }
    assert_eq!(answer(&client), [b'x'; REQUEST]);
    assert_eq!(stop(server)[..2], [1, 0]);
}

#[test]
fn a_chain_that_breaks_sends_no_stale_byte_and_its_lane_goes_on() {
    let server = start("1");
    for bytes in [10, 0, 63] {
        let mut before = connect(server.addr);
        before.write_all(&[b's'; REQUEST]).unwrap();
        assert_eq!(answer(&before), [b's'; REQUEST]);
        // The lane's buffer still holds the secret of the previous client.
        let mut short = connect(server.addr);
        short.write_all(&vec![b'x'; bytes]).unwrap();
        short.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(&short), b"", "{bytes} bytes and FIN");
        // A reset in the middle of a request.
        let mut reset = connect(server.addr);
        reset.write_all(&vec![b'x'; bytes]).unwrap();
        socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let mut after = connect(server.addr);
    after.write_all(&[b'a'; REQUEST]).unwrap();
    assert_eq!(answer(&after), [b'a'; REQUEST]);
    // A client that resets its connection before the accept is accepted and breaks its chain, or is never accepted.
    let counts = stop(server);
    assert_eq!(counts[0], 4);
    assert!((3..=6).contains(&counts[1]), "{} broken off", counts[1]);
}
