//! The ways to end an operation that does not end by itself.

#![cfg(target_os = "linux")]

use std::process::Command;

use harness::{Launch, Model, Subject};

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Launch::Command(argv) = Subject::example("uring", "timeouts", Model::Completion).launch else { unreachable!() };
    let output = Command::new(&argv[0]).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn each_operation_ends_as_its_heading_says() {
    let head = include_str!("../examples/timeouts.rs");
    let said: Vec<_> = head.lines().skip_while(|line| *line != "//! ```text").skip(1).take(5).collect();
    let said: String = said.iter().map(|line| format!("{}\n", line.trim_start_matches("//! "))).collect();
    let (code, stdout, stderr) = run(&[]);
    assert_eq!((code, stdout, stderr), (Some(0), said, String::new()));
}

#[test]
fn an_argument_is_refused() {
    let (code, stdout, stderr) = run(&["--fast"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("--fast") && stderr.contains("usage"), "{stderr}");
}
