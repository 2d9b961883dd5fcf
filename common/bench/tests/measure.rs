//! `measure` as it is called, and one count that is the same on every machine and at any load.
//!
//! Invariant: no test here depends on how fast the machine is.

use std::process::{Command, Output};

fn measure(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_measure")).args(arguments).output().expect("it starts")
}

#[test]
fn a_wrong_name_and_a_file_that_cannot_be_written_are_said_first() {
    for (arguments, says) in [
        (&["no-such-experiment"][..], "there is no experiment 'no-such-experiment'"),
        (&["--json", "/nonexistent/folder/here.json"], "/nonexistent/folder/here.json cannot be written"),
        (&["--html", "/nonexistent/folder/here.html"], "/nonexistent/folder/here.html cannot be written"),
    ] {
        let output = measure(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
        assert!(output.stdout.is_empty(), "nothing was measured");
    }
}

/// With one client, whose next message comes after its answer, the server's calls depend on nothing: a wait, a read and
/// a write for each round trip.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[test]
fn a_round_trip_of_one_client_takes_epoll_lt_three_calls() {
    use bench::Contestant;
    use bench::held;

    if let Err(why) = observe::ptrace::possible() {
        eprintln!("skipped: {why}");
        return;
    }
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(std::path::Path::parent).expect("a test lies in target/PROFILE/deps");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "epoll-lt", "--bin", "epoll-lt"])
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cargo build --package epoll-lt failed");
    let server = Contestant::own("epoll-lt", vec![profile.join("epoll-lt").to_string_lossy().into_owned()]);
    let running = server.start().expect("it starts");
    for round in held::rounds(&running, 1, 64, 5).expect("it is traced") {
        let name = |number: &i64| observe::Call::new(*number, [0; 6]).name;
        let mut names: Vec<&str> = round.calls.keys().map(name).collect();
        names.sort_unstable();
        assert_eq!((round.total(), round.again), (3, 0), "{names:?}: {round:?}");
        assert!(names[0].starts_with("epoll_") && names[1..] == ["recvfrom", "sendto"], "{names:?}");
    }
}
