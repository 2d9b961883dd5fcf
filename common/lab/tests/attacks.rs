//! Attempts that want points for nothing, or the grader's end, and what each of them gets.
//!
//! Invariant: an attempt is made from a correct solution, so that what it does not get is for the attack alone. Means of
//! confinement are switched off where another one has to hold.
#![cfg(target_os = "linux")]

mod attempt;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use attempt::{Attempt, exercise, exercises, has};
use serde_json::Value;

/// Nothing but the limits and, if the test is root, a user of its own.
const BARE: &[&str] = &["--no-landlock", "--no-seccomp", "--no-namespaces"];

fn lab(attempt: &Attempt, options: &[&str]) -> Command {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(["grade", "--quick", "--format", "json", "--only", &attempt.exercise.name, "--attempts"]);
    lab.arg(&attempt.folder).args(options);
    lab
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_address_of_another_server_is_worth_nothing_and_a_file_name_is_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let code = format!("println!(\"listening on {address}\"); loop {{ std::thread::park(); }}");
    let attempt = Attempt::that_first("redirects", &code);
    fs::write(attempt.folder.join("x\nnot confined: anything.rs"), "").unwrap();
    for options in [&[][..], BARE] {
        let grade = attempt.grade(options);
        assert_eq!((&grade["state"], &grade["score"]), (&"not-started".into(), &0.0.into()), "{grade}");
        assert!(has(&grade["note"], &format!("says that it listens on {address}, and")), "{grade}");
    }
    let output = lab(&attempt, &["--only", "07"]).output().unwrap();
    let grades: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!has(&grades["notes"], "x\\nnot"), "{grades}");
    // Nobody has come to it from here.
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

#[test]
fn an_address_outside_is_not_gone_to() {
    let code = "println!(\"listening on 192.0.2.1:7\"); loop { std::thread::park(); }";
    let grade = Attempt::that_first("outside", code).grade(&[]);
    assert!(has(&grade["note"], "was told to listen on loopback"), "{grade}");
}

#[test]
fn results_are_the_workers_alone() {
    let code = r###"
        use std::io::Write;
        let parent = unsafe { libc::getppid() };
        for at in [format!("/proc/{parent}/fd/1"), "/proc/self/fd/1".into()] {
            if let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(&at) {
                let checked = r##"{"Checked":{"check":"echo::one_byte_comes_back","clause":2,"seconds":0.0,"outcome":"pass"}}"##;
                let _ = write!(file, "\n{checked}\n\"Done\"\n");
                if at.contains(&parent.to_string()) { eprintln!("it can be written to"); }
            }
        }
        std::process::exit(9);
        #[allow(unreachable_code)]
    "###;
    let grade = Attempt::that_first("forges", code).grade(BARE);
    assert_eq!((&grade["state"], &grade["score"]), (&"not-started".into(), &0.0.into()), "{grade}");
    assert!(!has(&grade["note"], "can be written to"), "{grade}");
}

#[test]
fn what_it_changes_of_the_worker_is_seen() {
    let code = r#"
        let lower = libc::rlimit { rlim_cur: 300, rlim_max: 300 };
        unsafe { libc::prlimit(libc::getppid(), libc::RLIMIT_NOFILE, &lower, std::ptr::null_mut()) };
        std::process::exit(9);
        #[allow(unreachable_code)]
    "#;
    let attempt = Attempt::that_first("limits", code);
    let grade = attempt.grade(BARE);
    assert_eq!((&grade["state"], &grade["score"]), (&"refused".into(), &0.0.into()), "{grade}");
    assert!(has(&grade["note"], "changed the number of descriptors of the process that checks it"), "{grade}");
    // By itself the filter of calls is enough.
    let grade = attempt.grade(&["--no-landlock", "--no-namespaces"]);
    assert_eq!(grade["state"], "not-started", "{grade}");
}

#[test]
fn an_assembler_that_reads_a_solution_is_refused() {
    let solution = exercise().file("solution.rs");
    let read = format!("stolen: .incbin \"{}\"", solution.display());
    let code = format!("core::arch::global_asm!(\".section .rodata\", \".globl stolen\", {read:?}, \".text\");");
    let attempt = Attempt::new("assembles", |solution| {
        let call = "pub fn main() -> ExitCode {\n    std::hint::black_box(unsafe { &raw const stolen });\n";
        let with = solution.replace("pub fn main() -> ExitCode {\n", call);
        format!("{with}\n{code}\nunsafe extern \"C\" {{ static stolen: u8; }}\n")
    });
    for options in [&[][..], BARE] {
        let grade = attempt.grade(options);
        assert_eq!(grade["score"], 0.0, "{grade}");
        let refused = grade["state"] == "refused"
            && has(&grade["note"], "lines of source text in it that stand in the solution of");
        let unread = grade["state"] == "not-compiled" && has(&grade["note"], "incbin");
        assert!(refused || unread, "{grade}");
    }
}

#[test]
fn a_folder_that_is_a_link_is_refused_wherever_the_link_stands() {
    let attempt = Attempt::new("linked", |_| "fn main() {}".into());
    let link = attempt.folder.join("link");
    symlink(&attempt.folder, &link).unwrap();
    fs::create_dir(attempt.folder.join("below")).unwrap();
    for folder in [link.clone(), link.join("below"), link.join("below/..")] {
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
        let output = lab.args(["grade", "--attempts"]).arg(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains("is a symbolic link"), "{output:?}");
    }
}

#[test]
fn a_compiler_that_writes_without_end_is_stopped() {
    let attempt = Attempt::new("errors", |_| "fn main() {}".into());
    let script = attempt.folder.join("cargo.sh");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let text = format!("#!/bin/sh\ncase \"$*\" in *nothing*) exec {cargo} \"$@\";; *) exec yes '{{}}';; esac\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let output = lab(&attempt, &[]).env("CARGO", &script).output().unwrap();
    let grades: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(has(&grades["exercises"][0]["note"], "refused: the compiler wrote errors without end"), "{grades}");
}

#[test]
fn where_the_machine_is_at_fault_nobody_gets_a_grade() {
    // The compiler fails from the second program on, and names nothing in the attempt.
    let attempt = Attempt::new("broken", |solution| solution.to_owned());
    let script = attempt.folder.join("cargo.sh");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let begun = attempt.folder.join("begun");
    let text = format!(
        "#!/bin/sh\nif [ -e {0} ]; then echo 'No space left on device' >&2; exit 101; fi\ntouch {0}\nexec {cargo} \"$@\"\n",
        begun.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let output = lab(&attempt, &[]).env("CARGO", &script).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    assert!(stderr(&output).contains("No space left on device"), "{output:?}");
}

#[test]
fn a_program_is_not_started_from_where_none_can_be() {
    let can = rustix::process::geteuid().is_root() && Path::new("/usr/bin/unshare").exists();
    let attempt = Attempt::that_first("noexec", "if true { std::process::exit(9) }");
    let place = attempt.folder.join("tmp");
    fs::create_dir(&place).unwrap();
    let mount = format!("mount -t tmpfs -o noexec tmpfs '{0}' && export TMPDIR='{0}' && exec \"$@\"", place.display());
    let grade = lab(&attempt, &[]);
    let mut unshared = Command::new("unshare");
    unshared.args(["-m", "sh", "-c", &mount, "sh"]).arg(grade.get_program()).args(grade.get_args());
    let output = unshared.output();
    let Some(output) = output.ok().filter(|output| can && !stderr(output).contains("mount")) else {
        eprintln!("skipped: this user mounts nothing");
        return;
    };
    let grades: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert!(has(&grades["exercises"][0]["note"], "exit code 9"), "{grades}");
}

#[test]
fn one_that_is_traced_by_its_own_child_is_judged_by_that() {
    if let Err(why) = explorer::possible() {
        eprintln!("skipped: {why}");
        return;
    }
    let gap = "start::a_signal_between_the_last_look_and_the_wait_is_not_lost";
    let traced = exercises().find(|exercise| exercise.about.must_pass.iter().any(|proof| proof.check == gap));
    let code = r#"
        unsafe {
            let parent = libc::getpid();
            libc::prctl(libc::PR_SET_PTRACER, usize::MAX);
            let (reads, writes) = { let mut ends = [0; 2]; libc::pipe(ends.as_mut_ptr()); (ends[0], ends[1]) };
            if libc::fork() == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0);
                libc::write(writes, [0u8].as_ptr().cast(), 1);
                loop {
                    let mut status = 0;
                    if libc::waitpid(parent, &mut status, libc::__WALL) < 0 || libc::WIFEXITED(status) { libc::_exit(0); }
                    let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
                    libc::ptrace(libc::PTRACE_CONT, parent, 0, signal as usize);
                }
            }
            libc::read(reads, [0u8].as_mut_ptr().cast(), 1);
            libc::close(reads);
            libc::close(writes);
        }
    "#;
    let attempt = Attempt::of(traced.expect("one has the gap"), "self-traced", |solution| {
        solution.replace("pub fn main() -> ExitCode {\n", &format!("pub fn main() -> ExitCode {{\n{code}\n"))
    });
    let grade = attempt.grade(&["--no-seccomp"]);
    assert_eq!((&grade["state"], &grade["score"]), (&"failed".into(), &0.0.into()), "{grade}");
    assert!(has(&grade["reports"], "traces the server, so that the harness cannot see its calls"), "{grade}");
}

#[test]
fn a_bug_in_some_of_its_starts_is_a_failure_that_shows_the_schedule() {
    if let Err(why) = explorer::possible() {
        eprintln!("skipped: {why}");
        return;
    }
    let flag = exercises().find(|exercise| exercise.name.ends_with("_ready_flag")).expect("an exercise has that bug");
    let starter = fs::read_to_string(flag.file("starter.rs")).unwrap();
    let attempt = Attempt::of(flag, "now-and-then", |_| {
        let (late, at_once) = ("for fd in drained {\n", "Ok(Received::WouldBlock) => return true,");
        assert!(starter.contains(late) && starter.contains(at_once), "the starter is another one now");
        let now = "Ok(Received::WouldBlock) => { connection.readable &= buggy(); return true; }";
        let text = starter.replace(late, &format!("{late}if !buggy() {{ break; }}\n")).replace(at_once, now);
        // Of eight starts one has no bug: a bug that is rarer may show in no run of a test.
        let buggy = "use std::hash::{BuildHasher, Hasher};\n\
             static BUGGY: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {\n\
             std::collections::hash_map::RandomState::new().build_hasher().finish() % 8 != 0\n});\n*BUGGY";
        format!("{text}\nfn buggy() -> bool {{\n{buggy}\n}}\n")
    });
    let grade = attempt.grade(&[]);
    assert_eq!((&grade["state"], &grade["score"]), (&"failed".into(), &0.0.into()), "{grade}");
    assert!(has(&grade["reports"], "the schedule that fails: "), "{grade}");
}
