//! The program as it is called: exit codes, and what stands on stdout and stderr.
//!
//! Invariant: no chapter is built and no more than one check is run here; the servers are threads of the test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};

use serde_json::Value;

fn lab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lab")).args(args).output().expect("the lab starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server that sends back each byte as `answer` has it.
fn serve(answer: fn(u8) -> u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    buffer[..n].iter_mut().for_each(|byte| *byte = answer(*byte));
                    if stream.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

fn first_check() -> String {
    harness::checks().next().expect("there are checks").full_name()
}

#[test]
fn the_list_has_every_server_and_every_check_with_its_line() {
    let output = lab(&["check", "--list"]);
    assert_eq!(output.status.code(), Some(0));
    let shown = stdout(&output);
    for check in harness::all_checks() {
        let long = if check.long { ", long: only with --long, or by its name" } else { "" };
        assert!(shown.contains(&format!("  {}  clause {}{long}\n", check.name, check.clause)), "{}", check.name);
    }
    for name in harness::CHAPTERS.iter().map(|it| it.folder).chain(harness::all_variants().map(|it| it.name)) {
        assert!(shown.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name}: {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no control codes in a pipe");
}

#[test]
fn the_list_is_narrowed_by_words_and_there_for_machines() {
    let output = lab(&["check", "--list", "--json", "drain"]);
    let listed: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let groups: Vec<&Value> = listed.as_array().expect("an array").iter().map(|check| &check["group"]).collect();
    assert!(!groups.is_empty() && groups.iter().all(|group| *group == "drain"));
    assert!(listed[0]["about"].is_string() && listed[0]["clause"].is_number() && listed[0]["check"].is_string());
}

#[test]
fn what_cargo_calls_where_the_lab_is_installed_is_the_lab_itself() {
    let words = ["check", "--list", "--json", "echo"];
    let installed = |first: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-lab"));
        command.args(first).args(words).output().expect("it starts")
    };
    let wanted = stdout(&lab(&words));
    assert!(!wanted.is_empty());
    // Cargo passes the subcommand's name; somebody at a shell does not.
    for first in [&["lab"][..], &[]] {
        let output = installed(first);
        assert_eq!((output.status.code(), stdout(&output)), (Some(0), wanted.clone()), "{first:?}");
    }
    assert_eq!(installed(&["lab", "chekc"]).status.code(), Some(2));
}

#[test]
fn checks_are_left_out_by_group_and_the_results_are_there_for_ci() {
    let addr = serve(|byte| byte).to_string();
    let groups: Vec<&str> = harness::checks::GROUPS.iter().copied().filter(|group| *group != "echo").collect();
    let mut words = vec!["check", "--addr", &addr, "--name", "mine", "--format", "junit", "--profile", "quick"];
    words.push("--except");
    words.extend(groups);
    let output = lab(&words);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let quick = harness::checks().filter(|check| check.group == "echo" && check.quick).count();
    let xml = stdout(&output);
    assert!(xml.contains(&format!("<testsuite name=\"mine\" tests=\"{quick}\"")), "{xml}");
    assert_eq!(xml.matches("classname=\"mine\"").count(), quick, "{xml}");
    for wrong in [
        &["check", "--except", "04"][..],
        &["check", "--format", "junit", "--json"],
        &["check", "--format", "junit", "--list"],
        &["check", "--profile", "quick", "--long"],
        &["check", "--fuzz", "--except", "echo"],
        &["check", "09", "--profile", "quick"],
    ] {
        assert_eq!(lab(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_an_error_and_a_reader_that_goes_away_is_none() {
    let lab = |stdout: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(["check", "--list"]).stdout(stdout).output().expect("the lab starts")
    };
    let full = lab(std::fs::File::options().write(true).open("/dev/full").expect("Linux").into());
    assert_eq!(full.status.code(), Some(1));
    assert!(stderr(&full).starts_with("error: cannot write to stdout: No space left"), "{full:?}");
    assert_eq!(stderr(&full).lines().count(), 1, "{full:?}");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let gone = lab(writer.into());
    assert_eq!((gone.status.code(), stderr(&gone).as_str()), (Some(0), ""), "{gone:?}");
}

#[test]
fn grade_knows_an_exercise_by_its_name_and_refuses_a_folder_before_it_grades() {
    let output = lab(&["grade", "--only", "nfds", "--attempts", ".", "--output", "."]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--output .: it is a folder"), "{output:?}");
}

#[test]
fn a_word_that_stands_for_nothing_is_a_usage_error_with_the_nearest_name() {
    let output = lab(&["check", "04-epoll-et", "drian"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'drian'") && stderr(&output).contains("Did you mean drain"), "{output:?}");
    assert_eq!(lab(&["check", "--jbos", "3"]).status.code(), Some(2));
    assert_eq!(lab(&["chekc"]).status.code(), Some(2));
    assert_eq!(lab(&["check", "--addr", "9000"]).status.code(), Some(2));
    assert_eq!(lab(&["check", "--fd-limit", "1024"]).status.code(), Some(2), "it belongs to a server of one's own");
}

#[test]
fn a_command_that_cannot_be_started_is_said_once() {
    let output = lab(&["check", "--cmd", "/nonexistent/server {port}"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output).matches("cannot start").count(), 1, "{output:?}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_command_that_ends_at_once_is_said_once_with_its_last_words() {
    let output = lab(&["check", "--cmd", "sh -c 'echo bad option >&2; exit 3' {port}"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output).matches("bad option").count(), 2, "in the command and in its words: {output:?}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_server_that_runs_already_passes_and_the_results_are_there_for_machines() {
    let (addr, check) = (serve(|byte| byte).to_string(), first_check());
    let output = lab(&["check", "--addr", &addr, "--name", "mine", "--json", &check]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let servers: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((&servers[0]["name"], &servers[0]["passed"]), (&"mine".into(), &1.into()));
    assert_eq!(servers[0]["reports"][0]["check"], check.as_str());
    assert!(!stderr(&output).contains('\u{1b}'), "no control codes in a pipe");
}

#[test]
fn a_server_that_changes_a_byte_fails_and_it_is_explained() {
    let (addr, check) = (serve(|byte| !byte).to_string(), first_check());
    let output = lab(&["check", "--addr", &addr, &check]);
    assert_eq!(output.status.code(), Some(1));
    let shown = stdout(&output);
    for part in ["FAIL", "contract, clause", "1 check: 0 passed, 1 failed, 0 skipped in "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.ends_with(&format!("cargo lab check --addr {addr} {check}\n")), "{shown}");
    assert_eq!(stderr(&output).matches("FAIL").count(), 1, "as it happens: {output:?}");
}

#[test]
fn a_report_is_one_file_in_which_a_name_is_a_name() {
    let (addr, check) = (serve(|byte| !byte).to_string(), first_check());
    let file = std::env::temp_dir().join(format!("lab-report-{}.html", std::process::id()));
    let path = file.to_str().expect("UTF-8");
    let name = "</title><script>alert(1)</script>\u{202e}\"'";
    let output = lab(&["check", "--addr", &addr, "--name", name, "--json", "--html", path, &check]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(serde_json::from_str::<Value>(&stdout(&output)).is_ok(), "stdout is for machines: {output:?}");
    assert!(stderr(&output).contains("the report: "), "{output:?}");
    let report = std::fs::read_to_string(&file).expect("it was written");
    let _ = std::fs::remove_file(&file);
    let (failure, matrix) =
        (report.find("id=\"failures\"").expect("a failure"), report.find("<table class=\"matrix\"").expect("a matrix"));
    assert!(failure < matrix && report.contains("Contract, clause "), "{report}");
    assert!(report.contains("&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;[U+202E]&quot;&#39;"), "{report}");
    assert!(!report.contains("<script") && !report.contains('\u{202e}'), "{report}");
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_is_run() {
    let addr = serve(|byte| byte).to_string();
    for (path, why) in [("/", "it is a folder"), ("/no-such-folder/report.html", "there is no folder")] {
        let output = lab(&["check", "--addr", &addr, "--html", path, &first_check()]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()), "{output:?}");
        assert!(stderr(&output).contains(why), "{output:?}");
    }
    let output = lab(&["check", "--addr", &addr, "--fuzz", "--html", "report.html"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_fuzz_passes_a_right_server_and_shrinks_and_replays_what_a_wrong_one_fails() {
    let good = serve(|byte| byte).to_string();
    let output = lab(&["check", "--addr", &good, "--fuzz", "--seed", "7", "--seconds", "1", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((json[0]["seed"].as_u64(), json[0]["finding"].is_null()), (Some(7), true));
    assert!(json[0]["scripts"].as_u64() > Some(0), "{json}");

    let bad = serve(|byte| byte.wrapping_add(1)).to_string();
    let output = lab(&["check", "--addr", &bad, "--fuzz", "--seed", "7"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = stdout(&output);
    for part in ["seed 7", "symptom: wrong-bytes", "fails in 5 of 5 runs:\n      c0 connect; c0 send 1\n"] {
        assert!(shown.contains(part), "{shown}");
    }
    let again = format!("cargo lab check --addr {bad} --fuzz --replay 'c0 connect; c0 send 1'");
    assert!(shown.contains(&again), "{shown}");
    let replay = |addr: &str| lab(&["check", "--addr", addr, "--fuzz", "--replay", "c0 connect; c0 send 1"]);
    assert_eq!(replay(&bad).status.code(), Some(1));
    assert_eq!(replay(&good).status.code(), Some(0));
}

#[test]
fn a_wrong_command_line_of_a_fuzz_is_said() {
    for (args, said) in [
        (&["--fuzz", "--replay", "c0 sned 3"][..], "'sned' is nothing that a client does"),
        (&["--fuzz", "--replay", "nosuchfile"], "There is no such file"),
        (&["--seed", "3"], "--fuzz"),
        (&["--fuzz", "drain"], "--fuzz runs no checks"),
        (&["--fuzz", "--seconds", "0"], "0"),
    ] {
        let output = lab(&[&["check", "--addr", "127.0.0.1:1"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(stderr(&output).contains(said), "{args:?}: {output:?}");
    }
}

#[test]
fn a_dead_port_is_said_once() {
    // A client's end: taken, so that nobody else can come to listen on it.
    let client = TcpStream::connect(serve(|byte| byte)).expect("it listens");
    let addr = client.local_addr().expect("connected").to_string();
    let output = lab(&["check", "--addr", &addr]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output).matches(&addr).count(), 1, "{output:?}");
}

#[cfg(target_os = "linux")]
mod interrupted {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process};

    /// The lab's servers and all that they started.
    fn servers(lab: &Child) -> usize {
        observe::start::started_by(lab.id()).expect("Linux").len()
    }

    fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !reached() {
            assert!(Instant::now() < end, "not reached: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn leaves_nothing(signal: Signal, code: i32) {
        // A server with a child in its group, one that left the group, and one that lost its parent.
        let script = "sleep 600 & setsid sleep 600 & (setsid sleep 600 &) ; sleep 600";
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(["check", "--cmd", &format!("sh -c '{script}' {{port}}")])
            .stderr(Stdio::null())
            .spawn()
            .expect("the lab starts");
        wait_for("a shell and four sleeps", || servers(&lab) >= 5);
        kill_process(Pid::from_child(&lab), signal).expect("it runs");
        let sent = Instant::now();
        let status = lab.wait().expect("it ends");
        assert_eq!(status.code(), Some(code));
        assert!(sent.elapsed() < Duration::from_secs(5), "it took {:?}", sent.elapsed());
        // Killed is not yet gone.
        wait_for("nothing is left", || servers(&lab) == 0);
    }

    #[test]
    fn ctrl_c_leaves_no_server_and_no_descendant_of_one() {
        leaves_nothing(Signal::INT, 130);
    }

    #[test]
    fn sigterm_leaves_no_server_and_no_descendant_of_one() {
        leaves_nothing(Signal::TERM, 143);
    }
}

#[test]
fn a_silent_server_is_said_to_be_silent_and_no_check_is_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound").to_string();
    let start = std::time::Instant::now();
    let output = lab(&["check", "--addr", &addr]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains(&format!("{addr} accepts connections, and of 4096 bytes nothing came back")));
    assert!(start.elapsed() < std::time::Duration::from_secs(30), "it took {:?}", start.elapsed());
    drop(listener);
}

#[test]
fn check_and_explore_say_the_same_of_a_wrong_command() {
    for (line, said) in [
        ("cd X && ./server {port}", "Write: --cmd 'sh -c '\\''cd X && ./server {port}'\\'''"),
        ("FOO=bar ./server {port}", "Write: --cmd 'env FOO=bar ./server {port}'"),
        ("/nonexistent/server {port}", "cannot start '/nonexistent/server'"),
    ] {
        for command in ["check", "explore"] {
            let output = lab(&[command, "--cmd", line]);
            if command == "explore" && stderr(&output).contains("nothing can be explored on this machine") {
                continue;
            }
            assert_eq!(output.status.code(), Some(2), "{command} {line}: {output:?}");
            assert!(stderr(&output).contains(said), "{command} {line}: {output:?}");
        }
    }
}
