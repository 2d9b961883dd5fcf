//! `cargo lab explore` as it is called: exit codes, and what stands on stdout and stderr.
//!
//! Invariant: no chapter is built here; the servers are short scripts, and what needs one that this machine lacks says
//! so.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A correct echo server, and one that reads once for each report and registers its sockets edge-triggered.
const SERVER: &str = r#"
import select, socket, sys
edge = select.EPOLLET if sys.argv[2] == "once" else 0
lsock = socket.socket()
lsock.bind(("127.0.0.1", int(sys.argv[1])))
lsock.listen()
poller = select.epoll()
poller.register(lsock, select.EPOLLIN)
conns = {}
while True:
    for fd, events in poller.poll():
        if fd == lsock.fileno():
            conn, _ = lsock.accept()
            conns[conn.fileno()] = conn
            poller.register(conn, select.EPOLLIN | edge)
            continue
        data = conns[fd].recv(1024)
        if data:
            conns[fd].sendall(data)
        else:
            poller.unregister(fd)
            conns.pop(fd).close()
"#;

fn lab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lab")).args(args).output().expect("the lab starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file of this test's own.
fn scratch(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("explore-{}.{kind}", std::process::id()))
}

/// The command of a server, or the reason why there is none.
fn command(kind: &str) -> Result<String, String> {
    explorer::possible()?;
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python = found.map_err(|error| format!("no python3 on this machine: {error}"))?;
    let (file, python) = (scratch("py"), text(&python.stdout));
    std::fs::write(&file, SERVER).map_err(|error| error.to_string())?;
    Ok(format!("{} -S -E {} {{port}} {kind}", python.trim(), file.display()))
}

#[test]
fn a_wrong_command_line_is_said_with_what_there_is() {
    for (args, said) in [
        (&["explore"][..], "--cmd"),
        (&["explore", "05-kqeue"], "Did you mean 05-kqueue"),
        (&["explore", "epoll"], "names 2 servers"),
        (&["explore", "epoll-et", "--script", "clsoe"], "Did you mean the script 'close'"),
        (&["explore", "epoll-et", "--script", "c0 connect; c0 sned 3"], "did you mean 'send'"),
        (&["explore", "epoll-et", "--replay", "0,1"], "--script"),
        (&["explore", "epoll-et", "--script", "close", "--replay", "0,x"], "'x' is not a small number"),
        (&["explore", "epoll-et", "--faults", "eintrr"], "eintr"),
        (&["explore", "--cmd", "a 'b"], "close every quote"),
    ] {
        let output = lab(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn a_server_that_does_not_start_is_a_failure_with_its_last_words() {
    let output = lab(&["explore", "--cmd", "sh -c 'echo bad option >&2; exit 3' {port}", "--script", "close"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    if let Err(why) = explorer::possible() {
        return eprintln!("skipped: {why}");
    }
    let said = text(&output.stderr);
    assert!(said.contains("exit code 3") && said.contains("bad option"), "{said}");
}

#[test]
fn a_correct_server_has_no_finding() {
    let command = match command("all") {
        Ok(command) => command,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let output = lab(&["explore", "--cmd", &command, "--script", "close", "--max-placements", "1", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let explored: Value = serde_json::from_str(&text(&output.stdout)).expect("JSON");
    let script = &explored["scripts"][0];
    assert_eq!(
        (&script["complete"], &script["placements"], &script["finding"]),
        (&true.into(), &1.into(), &Value::Null)
    );
}

/// Of an exploration's JSON, what does not depend on time. A finding ends the search of its part alone, so then the number
/// of runs depends on the division.
fn timeless(json: &str) -> Value {
    let mut explored: Value = serde_json::from_str(json).expect(json);
    for script in explored["scripts"].as_array_mut().expect("a list") {
        let fields = script.as_object_mut().expect("an object");
        fields.remove("seconds");
        if !fields["finding"].is_null() {
            fields.remove("runs");
        }
    }
    explored
}

#[test]
fn parts_that_are_merged_equal_the_whole() {
    for kind in ["level", "once"] {
        let server = match command(kind) {
            Ok(server) => server,
            Err(why) => return eprintln!("skipped: {why}"),
        };
        // More bytes than one read takes: the server that reads once for each edge leaves some.
        let script = "c0 connect; c0 send 3000; c0 send 3; c0 shutdown";
        let explore = ["explore", "--cmd", &server, "--script", script, "--max-seconds", "600", "--json"];
        let whole = text(&lab(&explore).stdout);
        let files: Vec<String> = (1..=3)
            .map(|at| {
                let part = lab(&[&explore[..], &["--shard", &format!("{at}/3")]].concat());
                let file = scratch(&format!("{kind}-{at}.json"));
                std::fs::write(&file, part.stdout).unwrap();
                file.display().to_string()
            })
            .collect();
        let merge = |options: &[&str], files: &[&str]| lab(&[&["merge"][..], options, files].concat());
        let all: Vec<&str> = files.iter().rev().map(String::as_str).collect();
        let merged = merge(&["--format", "json"], &all);
        let merged = text(&merged.stdout);
        assert!(timeless(&merged) == timeless(&whole), "{kind}\n{merged}\n{whole}");
        let told = text(&merge(&[], &all).stdout);
        let expected = if kind == "level" { "COMPLETE at 2 placements" } else { "again: --script 'c0 connect" };
        assert!(told.contains(expected), "{told}");
        let missing = merge(&[], &all[1..]);
        assert_eq!(missing.status.code(), Some(1));
        assert!(text(&missing.stderr).contains("these are missing: 3/3; nothing was merged"), "{missing:?}");
        let csv = merge(&["--format", "csv"], &all);
        assert_eq!(csv.status.code(), Some(2), "{csv:?}");
    }
}

#[test]
fn what_a_signal_does_is_not_asked_of_a_foreign_server() {
    let command = match command("all") {
        Ok(command) => command,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let output = lab(&["explore", "--cmd", &command, "--max-placements", "0", "--max-seconds", "2"]);
    assert_eq!(text(&output.stderr).matches("script stop is skipped").count(), 1, "{output:?}");
    assert!(!text(&output.stdout).contains("\nstop "), "{output:?}");
}

#[test]
fn a_wrong_one_is_shown_replayed_and_recorded() {
    let command = match command("once") {
        Ok(command) => command,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let output = lab(&["explore", "--cmd", &command, "--script", "close"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = text(&output.stdout);
    for part in ["LOST WAKEUP", "for ever", "IN|ET", "bytes unread", "again: cargo lab explore --cmd '"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    let schedule = line("again: ").rsplit("--replay ").next().unwrap_or_default().to_owned();
    let last = shown.lines().last().unwrap_or_default();
    assert!(last.starts_with("see it: cargo lab show --cmd '") && last.ends_with("--script 'close'"), "{shown}");
    let file = scratch("json");
    let record = file.to_string_lossy().into_owned();
    let output = lab(&["explore", "--cmd", &command, "--script", "close", "--replay", &schedule, "--record", &record]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = text(&output.stdout);
    assert!(shown.contains("LOST WAKEUP"), "{output:?}");
    assert!(shown.ends_with(&format!("see it: cargo lab show {record}\n")), "{shown}");
    let recorded = explorer::record::read(&std::fs::read_to_string(&file).expect("written")).expect("a recording");
    assert_eq!((recorded.version, recorded.runs[0].verdict), (2, explorer::Verdict::LostWakeup));
    let passing = recorded.passing.map(|at| recorded.runs[at].verdict);
    assert!(passing.is_none_or(|verdict| verdict == explorer::Verdict::Ok), "{passing:?}");
    let all = ["explore", "--cmd", &command, "--script", "close", "--record", &record, "--record-all"];
    let output = lab(&all);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("schedules with at most 1 placement, all of them"), "{output:?}");
    let recorded = explorer::record::read(&std::fs::read_to_string(&file).expect("written")).expect("a recording");
    assert!(recorded.bound.is_some_and(|bound| bound.complete) && recorded.runs.len() > 10);
    let _ = std::fs::remove_file(file);
    for foreign in ["9", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1"] {
        let output = lab(&["explore", "--cmd", &command, "--script", "close", "--replay", foreign]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains("does not fit"), "{output:?}");
    }
}

/// The lab's servers and all that they started.
fn servers(lab: &Child) -> usize {
    observe::start::started_by(lab.id()).expect("Linux").len()
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !reached() {
        assert!(Instant::now() < end, "not reached: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ctrl_c_leaves_no_server_and_no_descendant_of_one() {
    if let Err(why) = explorer::possible() {
        return eprintln!("skipped: {why}");
    }
    // It never listens; its children leave its group, and one loses its parent.
    let script = "sleep 600 & setsid sleep 600 & (setsid sleep 600 &) ; sleep 600";
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, -1)] {
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(["explore", "--cmd", &format!("sh -c '{script}' {{port}}"), "--script", "close"])
            .stderr(Stdio::null())
            .spawn()
            .expect("the lab starts");
        wait_for("a shell and four sleeps", || servers(&lab) >= 5);
        kill_process(Pid::from_child(&lab), signal).expect("it runs");
        let status = lab.wait().expect("it ends");
        assert_eq!(status.code().unwrap_or(-1), code);
        // Killed is not yet gone.
        wait_for("nothing is left", || servers(&lab) == 0);
    }
}
