//! The harness catches a buffer that is freed while its receive is in flight.

#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use harness::server::{Options, Server};
use harness::{Launch, Model, Outcome, Subject};

fn subject(options: &[&str]) -> Subject {
    let mut subject = Subject::example("uring", "lifetime", Model::Completion);
    let Launch::Command(argv) = &mut subject.launch else { unreachable!() };
    argv.extend(options.iter().map(|it| (*it).to_owned()));
    subject
}

/// The failures of the checks that compare bytes, as the harness prints them.
fn caught(options: &[&str]) -> Vec<String> {
    let subject = subject(options);
    let lifetime = harness::checks().filter(|check| check.group == "lifetime");
    let reports = lifetime.map(|check| harness::run(check, &subject));
    let failed = reports.filter(|report| !matches!(report.outcome, Outcome::Pass));
    failed.map(|report| report.explain().unwrap_or_default()).collect()
}

#[test]
fn a_buffer_that_the_operation_owns_passes() {
    for memory in ["heap", "pages"] {
        let caught = caught(&["--bug", "none", "--memory", memory]);
        assert!(caught.is_empty(), "{memory}: {}", caught.join("\n"));
    }
}

#[test]
fn a_buffer_on_the_stack_of_a_function_that_has_returned_is_caught() {
    let caught = caught(&["--bug", "stack"]);
    assert!(caught.iter().any(|it| it.contains("large_messages_of_two_connections_are_not_mixed")), "{caught:?}");
}

#[test]
fn a_buffer_that_was_freed_is_caught() {
    let caught = caught(&["--bug", "freed"]);
    assert!(caught.iter().any(|it| it.contains("large_messages_of_two_connections_are_not_mixed")), "{caught:?}");
}

#[test]
fn with_a_mapping_for_each_buffer_the_operation_itself_fails() {
    let mut server = Server::start(&subject(&["--bug", "freed", "--memory", "pages"]), &Options::default()).unwrap();
    let mut client = TcpStream::connect(server.addr).unwrap();
    client.write_all(b"x").unwrap();
    let status = server.wait_exit(Duration::from_secs(60));
    assert_eq!(status.and_then(|status| status.code()), Some(1), "it goes on as if nothing were wrong");
    let (_, said) = server.output();
    assert!(said.contains("the buffer of its receive was freed while the kernel had it"), "{said}");
}
