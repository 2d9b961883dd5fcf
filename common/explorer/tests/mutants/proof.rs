//! The list of tests, and those that explore: the bug of each mutant is found, and nothing in a correct server.
//!
//! Invariant: a mutant counts as found only with its own verdict. On a machine that forbids ptrace every test is
//! skipped, with the reason.

use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use explorer::{Exploration, Faults, Plan, Schedule, Script, Subject, Verdict, report};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::catalogue::{CORRECT, MUTANTS};
use super::mutant::Mutant;
use super::{measure, outside, recordings, reduction, replays, table};

pub const EINTR: Faults = Faults { eintr: true, econnaborted: false };
pub const ALL: Faults = Faults { eintr: true, econnaborted: true };
pub const NONE: Faults = Faults { eintr: false, econnaborted: false };
pub const TIMES: usize = 10;

/// An echo server as Python's manual shows it: readiness from `selectors`. It keeps the bytes that a short write
/// leaves.
const PYTHON: &str = r#"
import selectors, socket, sys
sel = selectors.DefaultSelector()
lsock = socket.socket()
lsock.bind(("127.0.0.1", int(sys.argv[1])))
lsock.listen()
lsock.setblocking(False)
sel.register(lsock, selectors.EVENT_READ, None)
while True:
    for key, mask in sel.select():
        if key.data is None:
            conn, _ = lsock.accept()
            conn.setblocking(False)
            sel.register(conn, selectors.EVENT_READ, bytearray())
            continue
        conn, owed = key.fileobj, key.data
        try:
            if mask & selectors.EVENT_READ:
                data = conn.recv(4096)
                owed += data
                if not data and not owed:
                    sel.unregister(conn)
                    conn.close()
                    continue
            if owed:
                try:
                    del owed[:conn.send(owed)]
                except BlockingIOError:
                    pass
            sel.modify(conn, selectors.EVENT_WRITE if owed else selectors.EVENT_READ, owed)
        except ConnectionError:
            sel.unregister(conn)
            conn.close()
"#;

pub fn main() -> ExitCode {
    let mode = std::env::var("EXPLORER").unwrap_or_default();
    if mode == "table" {
        return measure::measure();
    }
    let all = mode == "all";
    let mut tests = Vec::new();
    let mut test = |name: String, body: Box<dyn FnOnce() -> Result<(), String> + Send>| {
        tests.push(Trial::ignorable_test(name, move || match explorer::possible() {
            Err(why) => Ok(Completion::ignored_with(why)),
            Ok(()) => body().map(|()| Completion::Completed).map_err(Failed::from),
        }));
    };
    for mutant in MUTANTS {
        test(format!("found::{}", mutant.name()), Box::new(move || found(mutant, all)));
    }
    for (base, stops) in CORRECT {
        let name = base.name();
        test(format!("correct::{name}"), Box::new(move || nothing_found(&server(name), *stops, all)));
    }
    for (server, script) in reduction::CASES {
        let name = format!("reduction::{server}_in_{}_steps", script.split(';').count());
        test(name, Box::new(move || reduction::same_as_brute_force(server, script)));
    }
    for wrong in reduction::WRONG {
        test(format!("wrong_relation_is_caught::{}", wrong.name), Box::new(move || reduction::is_caught(wrong)));
    }
    test("the_table_in_the_readme_is_the_catalogue".into(), Box::new(table::is_in_the_readme));
    test("an_ordinary_client_does_not_meet_the_late_flag".into(), Box::new(outside::plain_connections));
    test("a_hundred_replays_give_one_trace".into(), Box::new(|| replays::replays("et_flag_cleared_late", 100)));
    test("replays_of_two_threads_give_one_trace".into(), Box::new(|| replays::replays("oneshot_rearmed_early", 30)));
    for (base, stops) in CORRECT {
        let times = if all { TIMES } else { 3 };
        test(
            format!("recordings_are_the_same_and_valid_and_conserve_bytes::{}", base.name()),
            Box::new(move || recordings::of_each_script(base.name(), *stops, times)),
        );
    }
    for name in ["et_eagain_drops", "et_short_write_drops"] {
        test(format!("dropped_bytes_break_the_law_and_are_named::{name}"), Box::new(move || recordings::dropped(name)));
    }
    test("every_gap_is_recorded".into(), Box::new(recordings::every_gap_is_there));
    test("a_cut_is_recorded".into(), Box::new(recordings::a_cut_is_recorded));
    test(
        "a_recording_that_does_not_fit_the_schema_is_refused".into(),
        Box::new(recordings::a_recording_that_does_not_fit_is_refused),
    );
    test("a_killed_explorer_leaves_no_server".into(), Box::new(outside::killed));
    test("memory_does_not_grow_with_the_runs".into(), Box::new(outside::memory_is_flat));
    test("a_recorded_run_has_what_a_player_needs".into(), Box::new(recordings::has_what_a_player_needs));
    test("a_server_that_does_not_start_is_reported_with_its_output".into(), Box::new(no_start));
    test("a_pause_in_any_wait_ends_by_itself".into(), Box::new(pauses_end));
    if all {
        test("a_server_that_computes_for_ever_is_ended".into(), Box::new(spins));
    }
    tests.push(Trial::ignorable_test("correct::python_selectors", move || match (explorer::possible(), python()) {
        (Err(why), _) => Ok(Completion::ignored_with(why)),
        (_, None) => Ok(Completion::ignored_with("this machine has no python3")),
        (_, Some(subject)) => python_passes(&subject, all).map(|()| Completion::Completed).map_err(Failed::from),
    }));
    let mut arguments = Arguments::from_args();
    let processors = || std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    arguments.test_threads.get_or_insert_with(|| 2 * processors());
    libtest_mimic::run(&arguments, tests).exit_code()
}

pub fn server(name: &str) -> Subject {
    let program = std::env::current_exe().expect("this program has a path").to_string_lossy().into_owned();
    Subject { name: name.to_owned(), argv: vec![program, "--serve".into(), name.to_owned()], own: true }
}

/// The program itself, because the command on the path may be a script that looks for the program.
fn python() -> Option<Subject> {
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    let program = String::from_utf8(found.stdout).ok()?.trim().to_owned();
    let argv = vec![program, "-S".into(), "-E".into(), "-c".into(), PYTHON.into(), "{port}".into()];
    found.status.success().then_some(Subject { name: "python selectors".into(), argv, own: false })
}

pub fn explore(
    subject: &Subject,
    script: &str,
    faults: Faults,
    max_placements: usize,
    max_time: Option<Duration>,
) -> Result<Exploration, String> {
    explore_script(subject, &Script::standard(script).expect("it ships"), faults, max_placements, max_time)
}

fn explore_script(
    subject: &Subject,
    script: &Script,
    faults: Faults,
    max_placements: usize,
    max_time: Option<Duration>,
) -> Result<Exploration, String> {
    let plan = Plan { subject, script, faults, max_placements, always: 0, max_runs: None, max_time };
    explorer::explore(&plan, &AtomicBool::new(false), &|_| {}).map_err(|error| error.to_string())
}

fn found(mutant: &Mutant, all: bool) -> Result<(), String> {
    for _ in 0..if all { TIMES } else { 1 } {
        let exploration = explore(&server(&mutant.name()), mutant.script, faults_of(mutant.script), 2, None)?;
        let Some(finding) = &exploration.finding else {
            return Err(format!("not found in {} runs, {:?}", exploration.runs, exploration.coverage));
        };
        let script = Script::standard(mutant.script).expect("it ships");
        let text = report::finding(&mutant.name(), &script, finding, 100);
        if finding.run.placements() != mutant.placements {
            return Err(format!("it was to take {} placements:\n{text}", mutant.placements));
        }
        if finding.verdict != mutant.verdict {
            return Err(format!("it was to be {}:\n{text}", mutant.verdict));
        }
        for part in ["the kernel at the end", "sleeps"] {
            if !text.contains(part) {
                return Err(format!("the report does not say '{part}':\n{text}"));
            }
        }
    }
    Ok(())
}

/// Where several clients wait at once, one of them may be gone before its accept.
pub fn faults_of(script: &str) -> Faults {
    if script == "queue" { ALL } else { EINTR }
}

fn nothing_found(subject: &Subject, stops: bool, all: bool) -> Result<(), String> {
    let (placements, time) = if all { (2, Some(Duration::from_secs(20))) } else { (1, Some(Duration::from_secs(2))) };
    for script in Script::all_standard() {
        if script.name != "stop" || stops {
            let faults = if script.name == "close" || script.name == "queue" { ALL } else { NONE };
            no_finding(subject, &script, &explore(subject, &script.name, faults, placements, time)?)?;
        }
    }
    Ok(())
}

/// Nothing but a timeout ends the pause after a failed accept, in whichever wait.
fn pauses_end() -> Result<(), String> {
    let script = Script::parse("pause", "fds none; c0 connect; c0 send 1; fds free").expect("it is one");
    for (base, _) in CORRECT {
        let subject = server(base.name());
        no_finding(&subject, &script, &explore_script(&subject, &script, NONE, 1, None)?)?;
    }
    Ok(())
}

fn python_passes(subject: &Subject, all: bool) -> Result<(), String> {
    let (placements, time) = if all { (2, None) } else { (1, Some(Duration::from_secs(4))) };
    for script in ["close", "two", "half-close"] {
        let script = Script::standard(script).expect("it ships");
        no_finding(subject, &script, &explore(subject, &script.name, NONE, placements, time)?)?;
    }
    Ok(())
}

fn no_finding(subject: &Subject, script: &Script, exploration: &Exploration) -> Result<(), String> {
    match &exploration.finding {
        Some(finding) => Err(format!("a false alarm:\n{}", report::finding(&subject.name, script, finding, 100))),
        None => Ok(()),
    }
}

fn no_start() -> Result<(), String> {
    let argv = ["sh", "-c", "echo no such option >&2; exit 3"].map(str::to_owned).to_vec();
    let said =
        explore(&Subject { name: "sh".into(), argv, own: false }, "close", NONE, 0, None).map(|_| ()).unwrap_err();
    let missing =
        explore(&Subject { name: "x".into(), argv: vec!["/nonexistent/x".into()], own: false }, "close", NONE, 0, None);
    let missing = missing.map(|_| ()).unwrap_err();
    match said.contains("exit code 3")
        && said.contains("no such option")
        && missing.contains("cannot start '/nonexistent/x'")
    {
        true => Ok(()),
        false => Err(format!("{said}\n{missing}")),
    }
}

fn spins() -> Result<(), String> {
    let script = Script::standard("close").expect("it ships");
    let run = explorer::replay(&server("spins"), &script, NONE, &Schedule::default(), &AtomicBool::new(false))
        .map_err(|error| error.to_string())?;
    if run.verdict == Verdict::Spinning { Ok(()) } else { Err(format!("{}: {}", run.verdict, run.what)) }
}
