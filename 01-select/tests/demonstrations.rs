//! The demonstrations print what the README quotes.

#![cfg(target_os = "linux")]

use std::process::{Command, Output};

fn run(name: &str, args: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").expect("run by cargo");
    let run = ["run", "--quiet", "--package", "select", "--example", name, "--"];
    Command::new(cargo).args(run).args(args).output().expect("cargo runs")
}

fn shown(name: &str) -> String {
    let output = run(name, &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn at_1024_c_writes_past_the_set_rust_stops_and_the_kernel_has_no_limit() {
    // The third attempt needs a descriptor above 1024.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    if limit.rlim_max <= 1030 {
        eprintln!("skipped: the hard limit of descriptors is {} (ulimit -Hn)", limit.rlim_max);
        return;
    }
    let shown = shown("fd_setsize");
    let parts: Vec<&str> = shown.split("fd 1030:\n").collect();
    let [_, c, rust, kernel] = parts[..] else { panic!("three parts: {shown}") };
    assert!(
        c.starts_with("    the set: still empty\n    the word behind it: 0 before, 0x40 now\n    went on\n"),
        "{c}"
    );
    assert!(rust.contains("1030 out of range") && rust.contains("    ended with SIGABRT\n"), "{rust}");
    assert!(!rust.contains("returned"), "{rust}");
    assert_eq!(kernel, "    1 ready, and its bit is 1\n    went on\n");
}

#[test]
fn a_signal_in_the_gap_is_lost_by_a_flag_alone() {
    let expected = "\
flag       lost, asleep in select with no signal pending; woken by another event, flag set
self-pipe  seen; woken by the byte in the pipe, flag set
pselect    seen; woken by EINTR, flag set
";
    assert_eq!(shown("signal_race"), expected);
}

#[test]
fn an_argument_that_is_none_is_a_usage_error() {
    for name in ["fd_setsize", "signal_race"] {
        let output = run(name, &["--fast"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"), "{output:?}");
    }
}
