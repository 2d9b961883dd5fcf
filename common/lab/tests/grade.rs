//! `cargo lab grade` as an instructor's machine runs it: the formats, and attempts that are hostile.
//!
//! Invariant: each test grades files of its own, and after each no process of an attempt is left. The attempts are made
//! from an exercise's solution, so that what is taken off is taken off for the hostility alone.
#![cfg(target_os = "linux")]

mod attempt;

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use attempt::{Attempt, exercise, exercises, has, root};
use lab::course::{Extent, JudgedChecks};
use serde_json::Value;

#[test]
fn a_solution_gets_all_points_in_every_format() {
    let attempt = Attempt::new("formats", |solution| solution.to_owned());
    let points = f64::from(attempt.exercise.about.points);

    let text = String::from_utf8(attempt.run(&[]).stdout).unwrap();
    assert!(text.contains(&format!("{points} of {points} points in ")), "{text}");

    let file = attempt.folder.join("results.json");
    let output = attempt.run(&["--format", "gradescope", "--output", file.to_str().unwrap()]);
    assert!(output.stdout.is_empty(), "{output:?}");
    let results: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(results["score"], points);
    assert!(results["execution_time"].is_u64() && results["output"].is_string());
    assert_eq!(results["stdout_visibility"], "hidden");
    let test = &results["tests"][0];
    assert_eq!((&test["score"], &test["max_score"]), (&points.into(), &points.into()));
    assert_eq!((&test["status"], &test["visibility"]), (&"passed".into(), &"visible".into()));
    assert_eq!(test["number"], attempt.exercise.number.to_string());
    assert!(has(&test["name"], &attempt.exercise.about.title), "{test}");

    let junit = String::from_utf8(attempt.run(&["--format", "junit"]).stdout).unwrap();
    let junit = quick_junit::Report::deserialize_from_str(&junit).expect("XML");
    let checks = JudgedChecks::of(&attempt.exercise, Extent::Quick).names().count();
    assert_eq!((junit.tests, junit.failures, junit.errors), (checks, 0, 0));

    let github = attempt.run(&["--format", "github"]);
    let result = github_result(&github);
    assert_eq!(
        (&result["version"], &result["status"], &result["max_score"]),
        (&1.into(), &"pass".into(), &points.into())
    );
    assert_eq!(result["tests"][0]["score"], points);
    assert!(String::from_utf8_lossy(&github.stderr).contains(&attempt.exercise.about.title));
}

#[test]
fn a_solution_whose_calls_are_put_in_every_order_gets_all_points() {
    if let Err(why) = explorer::possible() {
        eprintln!("skipped: {why}");
        return;
    }
    let traced = exercises()
        .find(|exercise| exercise.about.must_pass.iter().any(|proof| proof.check.starts_with("interleaving::")));
    let attempt = Attempt::of(traced.expect("some need the explorer"), "traced", |solution| solution.to_owned());
    let grade = attempt.grade(&[]);
    let points = f64::from(attempt.exercise.about.points);
    assert_eq!((&grade["state"], &grade["score"]), (&"passed".into(), &points.into()), "{grade}");
}

/// What GitHub's reporter would decode.
fn github_result(output: &Output) -> Value {
    use base64::Engine;
    let line = String::from_utf8(output.stdout.clone()).unwrap();
    let encoded = line.strip_prefix("result=").and_then(|line| line.strip_suffix('\n')).expect("one line");
    assert!(encoded.len() < 128 << 10, "it has to fit into an environment variable");
    serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64")).expect("JSON")
}

#[test]
fn nothing_the_starter_and_what_does_not_compile_get_nothing_and_a_line() {
    let attempt = Attempt::new("nothing", |_| String::new());
    let file = attempt.folder.join(format!("{}.rs", attempt.exercise.name));
    fs::remove_file(&file).unwrap();
    fs::write(attempt.folder.join("99_unheard_of.rs"), "").unwrap();
    let grade = attempt.grade(&[]);
    assert_eq!((&grade["state"], &grade["score"]), (&"missing".into(), &0.0.into()));
    assert!(has(&grade["note"], "no attempt"), "{grade}");

    let starter = fs::read_to_string(attempt.exercise.file("starter.rs")).unwrap();
    fs::write(&file, starter.replace('\n', "\r\n")).unwrap();
    let grade = attempt.grade(&[]);
    assert_eq!((&grade["state"], &grade["score"]), (&"untouched".into(), &0.0.into()));

    fs::write(&file, "fn main() { let server: u32 = \"none\"; }").unwrap();
    let grade = attempt.grade(&[]);
    assert_eq!((&grade["state"], &grade["score"]), (&"not-compiled".into(), &0.0.into()));
    assert!(has(&grade["note"], "mismatched types"), "{grade}");
    let output = attempt.run(&["--format", "junit"]);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(progress.contains("it does not compile: error[E0308]: mismatched types"), "{progress}");
    let junit = quick_junit::Report::deserialize_from_str(&String::from_utf8(output.stdout).unwrap()).expect("XML");
    assert_eq!((junit.tests, junit.failures), (1, 1));
    assert_eq!(github_result(&attempt.run(&["--format", "github"]))["status"], "fail");
}

#[test]
fn a_fix_that_breaks_something_else_gets_a_part() {
    // It hangs up on a message that is one byte long.
    let attempt = Attempt::new("part", |solution| {
        solution.replace(
            "Received::Bytes(n) =>",
            "Received::Bytes(1) => return Err(io::ErrorKind::Other.into()),\n            Received::Bytes(n) =>",
        )
    });
    let grade = attempt.grade(&[]);
    let (score, most) = (grade["score"].as_f64().unwrap(), grade["max_score"].as_f64().unwrap());
    assert!(grade["state"] == "failed" && score < most, "{grade}");
    assert!(has(&grade["reports"], "echo::one_byte_comes_back"), "{grade}");
}

#[test]
fn a_wrong_command_line_is_said_and_exits_with_2() {
    for args in
        [&["--only", "999"][..], &["--attempts", "/nonexistent"], &["--output", "/nonexistent/a"], &["--format", "pdf"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_lab")).arg("grade").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn one_that_hangs_before_it_listens_is_stopped() {
    let attempt = Attempt::that_first("hangs", "loop { std::thread::park(); }");
    let grade = attempt.grade(&["--timeout", "2"]);
    assert_eq!((&grade["state"], &grade["score"]), (&"stopped".into(), &0.0.into()));
    assert!(has(&grade["note"], "used up its 2 s"), "{grade}");
}

#[test]
fn one_that_hangs_in_a_check_is_stopped_and_each_check_is_accounted_for() {
    let code = r#"
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        println!("listening on {}", listener.local_addr().unwrap());
        loop { std::hint::spin_loop(); }
    "#;
    let grade = Attempt::that_first("hangs-later", code).grade(&["--timeout", "4"]);
    assert_eq!(grade["score"], 0.0, "{grade}");
    assert!(grade["state"] == "stopped" || grade["state"] == "failed", "{grade}");
    let exercise = exercise();
    let checks = JudgedChecks::of(&exercise, Extent::Quick).names().count();
    assert_eq!(grade["reports"].as_array().map(Vec::len), Some(checks), "{grade}");
}

#[test]
fn a_fork_bomb_is_bounded_and_ended() {
    let grade = Attempt::that_first("forks", "loop { unsafe { libc::fork(); } }").grade(&["--timeout", "2"]);
    assert_eq!(grade["score"], 0.0, "{grade}");
}

#[test]
fn one_that_detaches_itself_does_not_outlive_its_grading() {
    // The second time it has neither a mark in its environment nor a session, group or parent of the first.
    let code = r#"
        if std::env::args().nth(1).as_deref() == Some("stay") {
            loop { std::thread::park(); }
        }
        unsafe {
            if libc::fork() == 0 {
                libc::setsid();
                if libc::fork() == 0 {
                    let null = std::fs::File::open("/dev/null").unwrap();
                    use std::os::unix::process::CommandExt;
                    let mut again = std::process::Command::new("/proc/self/exe");
                    again.arg("stay").env_clear().stdout(null.try_clone().unwrap()).stderr(null).exec();
                }
                libc::_exit(0);
            }
        }
    "#;
    // `run` looks for what is left. The harness ends a detached process with its server, and the grader ends the rest.
    let attempt = Attempt::that_first("detaches", code);
    let grade = attempt.grade(&["--no-seccomp"]);
    assert_eq!(grade["state"], "passed", "{grade}");
    // The filter of calls keeps it in its process group, where a check sees what is left behind.
    let grade = attempt.grade(&[]);
    assert!(grade["state"] == "failed" && has(&grade["reports"], "left processes behind"), "{grade}");
}

#[test]
fn a_flood_of_output_is_bounded() {
    let code = r#"
        std::thread::spawn(|| loop {
            std::thread::sleep(std::time::Duration::from_micros(1));
            eprintln!("{}", "x".repeat(60_000));
        });
        std::thread::spawn(|| {
            std::thread::sleep(std::time::Duration::from_secs(1));
            loop { println!("{}", "y".repeat(60_000)); }
        });
    "#;
    let output = Attempt::that_first("floods", code).run(&["--format", "json", "--timeout", "3"]);
    assert!(output.stdout.len() < 500_000 && output.stderr.len() < 100_000, "{}", output.stdout.len());
}

#[test]
fn ten_gigabytes_are_not_to_be_had() {
    let code = r#"
        let mut kept = Vec::new();
        for _ in 0..10 * 64 { kept.push(vec![1u8; 16 << 20]); }
        std::hint::black_box(&kept);
    "#;
    let grade = Attempt::that_first("memory", code).grade(&["--timeout", "60"]);
    assert_eq!((&grade["state"], &grade["score"]), (&"not-started".into(), &0.0.into()), "{grade}");
    assert!(has(&grade["note"], "memory allocation"), "{grade}");
    // Memory that is shared, so that no limit of one process counts it.
    let code = r#"
        unsafe {
            for _ in 0..40 {
                if libc::fork() == 0 {
                    let (size, kind) = (256 << 20, libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE);
                    libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, kind, -1, 0);
                    loop { libc::pause(); }
                }
            }
            loop { libc::pause(); }
        }
    "#;
    let grade = Attempt::that_first("shared-memory", code).grade(&["--timeout", "60"]);
    assert_eq!((&grade["state"], &grade["score"]), (&"stopped".into(), &0.0.into()), "{grade}");
    assert!(has(&grade["note"], "of memory"), "{grade}");
}

#[test]
fn a_solution_that_is_included_is_refused_and_not_quoted() {
    let solution = exercise().file("solution.rs");
    let include = |rest: &str| format!("include!({:?});\n{rest}", solution.to_str().unwrap());
    for (case, rest) in [("includes", ""), ("quotes", "fn twice() -> u32 { main() }")] {
        for options in [&[][..], &["--no-landlock"]] {
            let grade = Attempt::new(case, |_| include(rest)).grade(options);
            assert_eq!(grade["score"], 0.0, "{grade}");
            assert!(grade["state"] == "refused" || grade["state"] == "not-compiled", "{grade}");
            assert!(!has(&grade, "ACCEPT_BATCH") && !has(&grade, "common_server::main"), "{grade}");
        }
    }
    let link = Attempt::new("link", |_| String::new());
    let file = link.folder.join(format!("{}.rs", link.exercise.name));
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(solution, file).unwrap();
    assert_eq!(link.grade(&[])["state"], "refused");
}

#[test]
fn what_is_not_its_business_is_out_of_reach_and_costs_an_honest_server_nothing() {
    let exercise = exercise();
    let code = format!(
        r#"
        let reached = |what: &str| {{ eprintln!("reached: {{what}}"); std::process::exit(9) }};
        if std::fs::read({solution:?}).is_ok() {{ reached("the solution") }}
        if std::fs::read_dir({root:?}).is_ok() {{ reached("the workspace") }}
        if std::fs::read("/etc/passwd").is_ok() {{ reached("a file of the system's") }}
        for folder in ["/tmp", "/var/tmp", "/dev/shm", ".", {root:?}] {{
            if std::fs::write(std::path::Path::new(folder).join("lab-was-here"), "x").is_ok() {{ reached(folder) }}
        }}
        if std::env::vars().any(|(name, _)| name == "SECRET_TOKEN") {{ reached("the environment") }}
        if option_env!("SECRET_TOKEN").is_some() {{ reached("the compiler's environment") }}
        if std::process::Command::new("/bin/sh").args(["-c", "true"]).status().is_ok() {{ reached("a shell") }}
        let parent = unsafe {{ libc::getppid() }};
        if std::fs::read(format!("/proc/{{parent}}/environ")).is_ok() {{ reached("its parent's environment") }}
        if unsafe {{ libc::kill(parent, libc::SIGKILL) }} == 0 {{ reached("its parent") }}
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        if std::net::TcpStream::connect(listener.local_addr().unwrap()).is_ok() {{ reached("the network") }}
        "#,
        solution = exercise.file("solution.rs").to_str().unwrap(),
        root = root().to_str().unwrap(),
    );
    let attempt = Attempt::that_first("curious", &code);
    let grades: Value = serde_json::from_slice(&attempt.run(&["--format", "json"]).stdout).unwrap();
    if grades["notes"].as_array().is_some_and(|notes| notes.is_empty()) {
        assert_eq!(grades["exercises"][0]["state"], "passed", "{grades}");
    } else {
        // This kernel, or this user, cannot confine it: the report says so, and that is all that can be asked for.
        assert!(has(&grades["notes"], "not confined"), "{grades}");
    }
}

#[test]
fn what_cannot_be_confined_is_said() {
    let attempt = Attempt::new("unconfined", |_| "fn main() {}".into());
    let output = attempt.run(&["--no-landlock", "--format", "gradescope"]);
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(has(&results["output"], "not confined: no Landlock on this kernel"), "{results}");
}

#[test]
fn an_exit_a_panic_and_a_fake_result_are_worth_nothing() {
    let grade = Attempt::that_first("exits", "if true { return ExitCode::SUCCESS }").grade(&[]);
    assert_eq!((&grade["state"], &grade["score"]), (&"not-started".into(), &0.0.into()));
    assert!(has(&grade["note"], "exit code 0"), "{grade}");
    let grade = Attempt::that_first("panics", "if true { panic!(\"\\u{1b}[31mno server today\") }").grade(&[]);
    assert_eq!((&grade["state"], &grade["score"]), (&"not-started".into(), &0.0.into()));
    assert!(has(&grade["note"], "no server today") && !has(&grade["note"], "\\u001b"), "{grade}");
    let code = r#"
        for fd in 1..20 {
            let line = "\n\"Done\"\n{\"Checked\":{\"check\":\"x\",\"clause\":1,\"seconds\":0.0,\"outcome\":\"pass\"}}\n";
            unsafe { libc::write(fd, line.as_ptr().cast(), line.len()); }
        }
        return ExitCode::SUCCESS;
        #[allow(unreachable_code)]
    "#;
    let grade = Attempt::that_first("fakes", code).grade(&[]);
    assert_eq!((&grade["state"], &grade["score"]), (&"not-started".into(), &0.0.into()), "{grade}");
}

#[test]
fn one_that_hides_from_proc_is_not_judged_by_nothing() {
    let code = "unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };";
    let attempt = Attempt::that_first("hides", code);
    // The filter of calls does not let it hide; without the filter it is seen that it hides.
    assert_eq!(attempt.grade(&[])["state"], "passed");
    let grade = attempt.grade(&["--no-seccomp"]);
    // Whoever may trace everybody sees it all the same, and then it is judged like any other.
    let sees_all = rustix::process::geteuid().is_root() && lab::grading::grade::own_user().is_none();
    assert!(sees_all || has(&grade["note"], "hides from /proc") && grade["score"] == 0.0, "{grade}");
}

#[test]
fn ctrl_c_ends_the_grader_and_the_attempt() {
    let attempt = Attempt::that_first("interrupted", "loop { std::thread::park(); }");
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(["grade", "--only", &attempt.exercise.name, "--attempts"]).arg(&attempt.folder);
    let mut lab = lab.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    // Another test's attempt may run before: the lab waits for it, so it is this lab's own that is looked for.
    let process = observe::Family::of(lab.id() as i32);
    let is_server = |pid: &i32| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.ends_with(&attempt.exercise.name)
    };
    let end = Instant::now() + Duration::from_secs(600);
    let wait_until = |what: &str, state: &dyn Fn() -> bool| {
        while !state() {
            assert!(Instant::now() < end, "not so: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let servers = || -> Vec<i32> {
        let family = process.processes().unwrap_or_default();
        family.into_iter().map(|process| process.pid).filter(is_server).collect()
    };
    wait_until("the attempt is started", &|| !servers().is_empty());
    let server = servers();
    let pid = rustix::process::Pid::from_child(&lab);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(lab.wait().unwrap().code(), Some(130));
    wait_until("the attempt has ended", &|| !server.iter().any(is_server));
}
