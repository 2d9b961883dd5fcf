//! The tests: what the harness says of each server, and what is left of it.
//!
//! Invariant: a verdict is asked of `harness::run`, as the lab asks it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use explorer::{Faults, Schedule, Script, Verdict};
use harness::server::{Options, Server};
use harness::{Outcome, Stop, Subject, Symptom};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Nothing, or why it was not tried.
type Seen = Result<Option<String>, Failed>;
/// Its name and what it does.
type Test = (&'static str, fn() -> Seen);

const ECHO: &str = "echo::one_byte_comes_back";
const FREEZE: &str = "drain::a_burst_of_bytes_in_one_wakeup_is_all_read";
const HELD: &str = "close::a_connection_that_has_ended_is_held_by_nobody";
const IDLE: &str = "idle::a_server_without_clients_sleeps";

/// Each in a process of its own, so that they can run at the same time: an orphan of a server that kept nothing of it is
/// only told from another server's when this program runs no other.
const TESTS: &[Test] = &[
    ("what_a_front_has_detached_is_the_server_and_ends_with_it", || {
        passes("front", &[ECHO, FREEZE, IDLE])?;
        fails("front-spins", IDLE, Symptom::Spinning, "its own code loops")
    }),
    ("a_daemon_is_followed_and_ends_with_the_check", || passes("daemon", &[ECHO, FREEZE, IDLE])),
    ("a_main_that_ends_before_its_threads_is_no_end", || passes("headless", &[ECHO, FREEZE, IDLE])),
    ("the_explorer_follows_the_threads_of_a_main_that_has_ended", || explored("headless", "close", false, Verdict::Ok)),
    ("a_server_for_ipv6_only_is_reached_there", || passes("v6", &[ECHO, FREEZE])),
    ("a_wrong_port_is_named", || does_not_start("wrong-port", &["listens on port", "--addr 127.0.0.1:"])),
    ("a_server_that_says_late_where_it_listens_is_heard", || {
        let mut words = argv(&own_program(), "says-late", &tag("says-late"));
        // It is told no port, and so has to say where it listens.
        *words.last_mut().expect("the port") = "0".into();
        match outcome(&Subject::command("says-late", words), ECHO) {
            Outcome::Pass => nothing_left(&tag("says-late")),
            other => Err(format!("{other:?}").into()),
        }
    }),
    ("last_words_are_escaped_and_cut", last_words),
    ("a_stopped_server_is_said_to_be_stopped", || {
        fails("stops-later", ECHO, Symptom::Blocked, "is stopped")?;
        does_not_start("stops-at-start", &["it is stopped"])
    }),
    ("a_tick_from_the_start_is_no_spin_and_a_later_one_is", || {
        passes("ticks", &[IDLE])?;
        fails("ticks-later", IDLE, Symptom::Spinning, "before its first client: ")
    }),
    ("a_client_may_be_turned_away_for_lack_of_descriptors", || {
        passes("reserve", &["faults::queued_clients_are_served_as_soon_as_others_leave"])?;
        passes("reserve-grows", &["faults::queued_clients_are_served_as_soon_as_others_leave"])
    }),
    ("a_timerfd_ends_a_wait_as_a_timeout_does", || {
        passes("timer", &["faults::queued_clients_are_served_as_soon_as_others_leave"])
    }),
    ("the_explorer_has_the_same_rule_for_that", || {
        explored("reserve", "emfile", false, Verdict::Ok)?;
        explored("reserve", "emfile", true, Verdict::Truncated)
    }),
    ("a_client_that_was_accepted_may_be_turned_away_for_lack_of_another_descriptor", || {
        if let Err(why) = explorer::possible() {
            return Ok(Some(why));
        }
        passes("opens-each", &["interleaving::a_client_queued_without_descriptors_is_served_once_one_is_free"])
    }),
    ("a_start_that_fails_under_a_tracer_alone_is_no_failure", under_the_tracer_alone),
    ("a_connection_that_nobody_holds_is_no_slot_of_a_ring", || {
        skips("served-elsewhere", HELD, "nobody was found to hold its connection")
    }),
    ("who_listens_on_its_behalf_is_named_and_left_alone", behind),
    ("another_users_server_is_refused_and_named", another_user),
];

/// The exit code of a test that was not tried; its reason is on stdout.
const IGNORED: u8 = 3;

pub fn tests() -> ExitCode {
    let trial = |(name, _): &Test| {
        let name = *name;
        Trial::ignorable_test(name, move || in_a_process_of_its_own(name))
    };
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert_with(harness::workers);
    libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect()).exit_code()
}

fn in_a_process_of_its_own(name: &str) -> Result<Completion, Failed> {
    let output = Command::new(own_program()).args(["--one", name]).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => Ok(Completion::Completed),
        Some(code) if code == i32::from(IGNORED) => Ok(Completion::ignored_with(said.trim_end())),
        _ => Err(format!("{said}{}{}", String::from_utf8_lossy(&output.stderr), output.status).into()),
    }
}

/// One test, in this process.
pub fn one(name: &str) -> ExitCode {
    let (_, test) = TESTS.iter().find(|(known, _)| *known == name).expect("the parent knows its tests");
    match test() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(reason)) => {
            println!("{reason}");
            ExitCode::from(IGNORED)
        }
        Err(failed) => {
            println!("{}", failed.message().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn argv(program: &Path, kind: &str, tag: &str) -> Vec<String> {
    let words = ["--serve", kind, tag, "{port}"].map(str::to_owned);
    std::iter::once(program.display().to_string()).chain(words).collect()
}

fn own_program() -> PathBuf {
    std::env::current_exe().expect("a running program has a path")
}

/// A word that no other process has on its command line.
fn tag(kind: &str) -> String {
    format!("tag-{}-{kind}", std::process::id())
}

fn subject(kind: &str) -> Subject {
    Subject::command(kind, argv(&own_program(), kind, &tag(kind)))
}

fn outcome(subject: &Subject, name: &str) -> Outcome {
    let check = harness::checks().find(|check| check.full_name() == name).expect("the check is there");
    harness::run(check, subject).outcome
}

fn passes(kind: &str, checks: &[&str]) -> Seen {
    for check in checks {
        match outcome(&subject(kind), check) {
            Outcome::Pass => {}
            other => return Err(format!("{kind}, {check}: {other:?}").into()),
        }
        nothing_left(&tag(kind))?;
    }
    Ok(None)
}

fn fails(kind: &str, check: &str, symptom: Symptom, words: &str) -> Seen {
    match outcome(&subject(kind), check) {
        Outcome::Fail(failure)
            if failure.symptom == symptom && format!("{} {}", failure.what, failure.cause).contains(words) => {}
        other => return Err(format!("{kind}, {check}: {other:?}").into()),
    }
    nothing_left(&tag(kind))
}

fn does_not_start(kind: &str, words: &[&str]) -> Seen {
    let said = match Server::start(&subject(kind), &Options::default()) {
        Err(Stop::Fail(failure)) => format!("{} {} {}", failure.what, failure.said.join(" "), failure.cause),
        other => return Err(format!("{kind}: {other:?}").into()),
    };
    match words.iter().all(|word| said.contains(word)) {
        true => nothing_left(&tag(kind)),
        false => Err(format!("{kind}: {said}").into()),
    }
}

fn last_words() -> Seen {
    does_not_start("chatty", &["exit code 3", "\\u{1b}]0;title\\u{7}the end", "yyy... (cut; "])?;
    match Server::start(&subject("chatty"), &Options::default()) {
        Err(Stop::Fail(failure)) if !format!("{failure}").contains('\u{1b}') && format!("{failure}").len() < 1500 => {
            Ok(None)
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// Processes with this word on their command line.
fn with_tag(tag: &str) -> BTreeSet<String> {
    let has_tag = |entry: &fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == tag.as_bytes())
    };
    let processes = fs::read_dir("/proc").expect("Linux").flatten().filter(has_tag);
    processes.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn nothing_left(tag: &str) -> Seen {
    let left = with_tag(tag);
    if left.is_empty() { Ok(None) } else { Err(format!("{tag}: left running: {left:?}").into()) }
}

fn explored(kind: &str, script: &str, own: bool, verdict: Verdict) -> Seen {
    if let Err(why) = explorer::possible() {
        return Ok(Some(why));
    }
    let explored = explorer::Subject { name: kind.into(), argv: argv(&own_program(), kind, &tag(kind)), own };
    let script = Script::standard(script).expect("it ships");
    let never = AtomicBool::new(false);
    let run = explorer::replay(&explored, &script, Faults::default(), &Schedule::default(), &never);
    let run = run.map_err(|error| error.to_string())?;
    match run.verdict == verdict {
        true => nothing_left(&tag(kind)),
        false => Err(format!("{kind}, own {own}: {}: {}", run.verdict, run.what).into()),
    }
}

/// The explorer needs a tracer; the server ends when it has one.
fn under_the_tracer_alone() -> Seen {
    if let Err(why) = explorer::possible() {
        return Ok(Some(why));
    }
    skips("shy", "interleaving::bytes_and_fin_between_any_two_calls_are_answered", "without a tracer it listens")
}

fn skips(kind: &str, check: &str, words: &str) -> Seen {
    match outcome(&subject(kind), check) {
        Outcome::Skip { reason } if reason.contains(words) => Ok(None),
        other => Err(format!("{kind}: {other:?}").into()),
    }
}

/// The server that was started sleeps, and this process listens where it was told, as a container's proxy does.
fn behind() -> Seen {
    let folder = Folder::new("behind")?;
    let at = folder.0.clone();
    std::thread::spawn(move || {
        let mut known = BTreeSet::new();
        loop {
            let Ok(entries) = fs::read_dir(&at) else { return };
            for port in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u16>().ok()) {
                if known.insert(port) {
                    proxy(port);
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let subject = Subject::command("behind", argv(&own_program(), "behind", &folder.0.display().to_string()));
    match outcome(&subject, ECHO) {
        Outcome::Pass => {}
        other => return Err(format!("{other:?}").into()),
    }
    match outcome(&subject, IDLE) {
        Outcome::Skip { reason } if reason.contains("listens on its behalf") => Ok(None),
        other => Err(format!("{other:?}").into()),
    }
}

fn proxy(port: u16) {
    let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) else { return };
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = client.read(&mut buffer) {
                let _ = client.write_all(&buffer[..n]);
            }
        }
    });
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self, Failed> {
        let folder = std::env::temp_dir().join(format!("odd-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Run as root, this starts the harness as nobody, and the harness a server that becomes root again.
fn another_user() -> Seen {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return Ok(Some("needs root, to make a program with the set-uid bit".into()));
    }
    let folder = Folder::new("user")?;
    let program = folder.0.join("odd");
    fs::copy(own_program(), &program).map_err(|error| error.to_string())?;
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).map_err(|error| error.to_string())?;
    let start = Instant::now();
    // Through a program that is not set-uid itself, in a folder that anybody may enter.
    let plain = folder.0.join("plain");
    fs::copy(own_program(), &plain).map_err(|error| error.to_string())?;
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
    let output = Command::new(&plain)
        .args(["--as-another-user", &program.display().to_string()])
        .current_dir(&folder.0)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .map_err(|error| error.to_string())?;
    for process in with_tag("tag-other-user").into_iter().filter_map(|pid| pid.parse().ok()) {
        // SAFETY: kill takes numbers; this test has started the process.
        unsafe { libc::kill(process, libc::SIGKILL) };
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if said.contains("no set-uid bit") {
        return Ok(Some("the folder of temporary files is mounted nosuid".into()));
    }
    let words = ["left running: process ", "refuses SIGKILL", "runs as another user", "--addr"];
    match words.iter().all(|word| said.contains(word)) && start.elapsed() < Duration::from_secs(30) {
        true => Ok(None),
        false => Err(format!("after {:?}: {said}", start.elapsed()).into()),
    }
}

/// The harness as an ordinary user.
pub fn as_another_user(program: &str) -> ExitCode {
    let argv = argv(Path::new(program), "other-user", "tag-other-user");
    match Server::start(&Subject::command("other-user", argv), &Options::default()) {
        Err(Stop::Fail(failure)) => println!("{} {}", failure.what, failure.cause),
        other => println!("{other:?}"),
    }
    ExitCode::SUCCESS
}
