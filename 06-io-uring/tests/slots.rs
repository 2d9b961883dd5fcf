//! Direct descriptors: no slot of the ring leaks, and no client is turned away for lack of a slot. The harness counts
//! file descriptors, and does not see these slots.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use harness::server::{Limits, Options, Server};
use harness::{Model, Stop, Subject};

/// The server's limit of descriptors, which also limits its slots.
const SLOTS: usize = 40;

fn all_are_served_in_turn(example: &str) {
    let subject = Subject::example("uring", example, Model::Completion);
    let limits = Limits { nofile: Some(SLOTS as u64), ..Limits::default() };
    let server = match Server::start(&subject, &Options { limits, ..Options::default() }) {
        Ok(server) => server,
        Err(Stop::Fail(failure)) => panic!("{} {}", failure.what, failure.cause),
        Err(Stop::Skip(why) | Stop::Broken(why)) => panic!("{why}"),
    };
    for round in 0..5u8 {
        // More clients than slots: the others wait in the accept queue.
        let clients = (0..3 * SLOTS).map(|_| {
            let mut client = TcpStream::connect(server.addr).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            client.write_all(&[round]).unwrap();
            client
        });
        for (number, mut client) in clients.collect::<Vec<_>>().into_iter().enumerate() {
            let mut byte = [0xff];
            client.read_exact(&mut byte).unwrap_or_else(|error| panic!("round {round}, client {number}: {error}"));
            assert_eq!(byte, [round]);
            // The client leaves, by FIN or by reset, and frees its slot.
            if number % 2 == 1 {
                socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }
}

#[test]
fn multishot_serves_more_clients_than_it_has_slots() {
    all_are_served_in_turn("multishot");
}

#[test]
fn fixed_serves_more_clients_than_it_has_slots() {
    all_are_served_in_turn("fixed");
}
