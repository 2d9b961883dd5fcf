//! The variants show the numbers that the README quotes.

#![cfg(target_os = "linux")]

use std::process::Command;

use harness::{Launch, Model, Outcome, Subject, VARIANTS, Variant};

fn program(name: &str) -> String {
    let Launch::Command(argv) = Subject::example("epoll-et", name, Model::Readiness).launch else { unreachable!() };
    argv[0].clone()
}

fn output(name: &str, args: &[&str]) -> String {
    let output = Command::new(program(name)).args(args).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// All numbers of a line, in order.
fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn without_exclusive_each_connection_wakes_all_and_with_it_one() {
    let shown = output("exclusive", &["--demo", "--workers", "6"]);
    let at_rest = shown.split("each right after the other").next().expect("two tables");
    // The columns: woken, returned, and the share of the busiest thread in percent.
    let row = |name: &str| {
        let row = at_rest.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
        let numbers = numbers(row);
        assert_eq!(numbers.len(), 3, "{row}");
        numbers
    };
    for herd in ["one epoll per thread, level ", "one epoll per thread, edge "] {
        assert!(row(herd)[0] >= 5.9, "all six are woken: {shown}");
    }
    let exclusive = row("one epoll per thread, level, EXCLUSIVE");
    assert!(exclusive[0] < 1.5 && exclusive[2] > 90.0, "one thread is woken, always the same: {shown}");
    assert!(row("one epoll for all, edge")[0] < 1.5, "a shared epoll has no herd: {shown}");
    let level = row("one epoll for all, level")[0];
    assert!((1.5..3.0).contains(&level), "the listener returns to the ready list and wakes a second thread: {shown}");
}

#[test]
fn a_listener_that_closes_loses_its_queue_and_the_others_keep_theirs() {
    let shown = output("reuseport", &["--demo", "--workers", "4"]);
    let count = |prefix: &str| numbers(shown.lines().find(|line| line.starts_with(prefix)).expect(prefix))[0];
    let accepted: Vec<f64> = ["listener 2:", "listener 3:", "listener 4:"]
        .map(|prefix| {
            numbers(&shown.lines().find(|line| line.starts_with(prefix)).expect(prefix).replace(prefix, ""))[0]
        })
        .to_vec();
    let lost = count("reset:");
    assert_eq!(accepted.iter().sum::<f64>() + lost, 1000.0, "{shown}");
    if shown.contains("tcp_migrate_req is 1") {
        assert_eq!(lost, 0.0, "{shown}");
    } else {
        // A hash does not take turns, but a share outside these bounds would not come from a hash either.
        assert!(accepted.iter().chain([&lost]).all(|share| (150.0..350.0).contains(share)), "{shown}");
    }
}

#[test]
fn two_threads_meet_at_a_connection_only_if_it_is_armed_before_the_work_is_done() {
    let shown = output("oneshot", &["--demo"]);
    let met: Vec<f64> = shown.lines().map(|line| numbers(line)[0]).collect();
    assert_eq!(met[0], 0.0, "{shown}");
    assert!(met[1] > 0.0, "{shown}");
}

#[test]
fn the_shortcut_without_rdhup_loses_the_fin_and_the_check_says_so() {
    let right = VARIANTS.iter().find(|it| it.name == "short_read").expect("it is a variant");
    let forgetful = Variant { args: &["--forget-rdhup"], ..*right };
    let run = |variant: &Variant, name: &str| {
        let check = harness::checks().find(|check| check.name == name).expect("a check");
        harness::run(check, &Subject::variant(variant, &program("short_read")))
    };
    let caught = run(&forgetful, "bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished");
    let Outcome::Fail(failure) = &caught.outcome else { panic!("not caught: {caught:?}") };
    assert_eq!(failure.symptom, harness::Symptom::EofLost, "{failure:?}");
    for name in ["bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished", "one_byte_comes_back"] {
        assert!(matches!(run(right, name).outcome, Outcome::Pass), "{name}");
    }
    // The shortcut loses only a FIN that comes with bytes, so only a check that sends such a FIN finds it.
    assert!(matches!(run(&forgetful, "one_byte_comes_back").outcome, Outcome::Pass));
}
