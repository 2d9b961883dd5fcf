//! What has to be found, and what must not be.
//!
//! Invariant: a mutant counts as found only with its own verdict; on a machine that forbids ptrace every test is skipped
//! and says so.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use explorer::{Coverage, Exploration, Faults, Plan, Schedule, Script, Target, Verdict, report};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::catalogue::{CORRECT, MUTANTS};
use super::mutant::Mutant;
use super::serve::Base;
use super::{reduction, table};

const EINTR: Faults = Faults { eintr: true, econnaborted: false };
const ALL: Faults = Faults { eintr: true, econnaborted: true };
const NONE: Faults = Faults { eintr: false, econnaborted: false };
const TIMES: usize = 10;

/// An echo server as its manual would have it: readiness by `selectors`, and what a short write leaves is kept.
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
        return measure();
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
    test("an_ordinary_client_does_not_meet_the_late_flag".into(), Box::new(plain_connections));
    test("a_hundred_replays_give_one_trace".into(), Box::new(|| replays("et_flag_cleared_late", 100)));
    test("replays_of_two_threads_give_one_trace".into(), Box::new(|| replays("oneshot_rearmed_early", 30)));
    for base in [Base::EpollEt, Base::Select, Base::Uring] {
        test(format!("recordings_are_byte_identical::{}", base.name()), Box::new(move || records(base.name(), 10)));
    }
    test("a_killed_explorer_leaves_no_server".into(), Box::new(killed));
    test("memory_does_not_grow_with_the_runs".into(), Box::new(memory_is_flat));
    test("an_exploration_ends_in_its_time_and_says_what_it_left_out".into(), Box::new(ends_in_time));
    test("a_recorded_run_has_what_a_player_needs".into(), Box::new(recorded));
    test("a_server_that_does_not_start_is_said_with_its_last_words".into(), Box::new(no_start));
    if all {
        test("a_server_that_computes_for_ever_is_ended".into(), Box::new(spins));
    }
    tests.push(Trial::ignorable_test("correct::python_selectors", move || match (explorer::possible(), python()) {
        (Err(why), _) => Ok(Completion::ignored_with(why)),
        (_, None) => Ok(Completion::ignored_with("there is no python3 on this machine")),
        (_, Some(target)) => python_passes(&target, all).map(|()| Completion::Completed).map_err(Failed::from),
    }));
    let mut arguments = Arguments::from_args();
    let processors = || std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    arguments.test_threads.get_or_insert_with(|| 2 * processors());
    libtest_mimic::run(&arguments, tests).exit_code()
}

pub fn server(name: &str) -> Target {
    let program = std::env::current_exe().expect("this program has a path").to_string_lossy().into_owned();
    Target { name: name.to_owned(), argv: vec![program, "--serve".into(), name.to_owned()] }
}

/// The program itself: what stands on the path may be a script that looks for it.
fn python() -> Option<Target> {
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    let program = String::from_utf8(found.stdout).ok()?.trim().to_owned();
    let argv = vec![program, "-S".into(), "-E".into(), "-c".into(), PYTHON.into(), "{port}".into()];
    found.status.success().then_some(Target { name: "python selectors".into(), argv })
}

fn explore(
    target: &Target,
    script: &str,
    faults: Faults,
    max_placements: usize,
    max_time: Option<Duration>,
) -> Result<Exploration, String> {
    let script = Script::standard(script).expect("it ships");
    let plan =
        Plan { target, script: &script, faults, max_placements, always: 0, max_runs: None, max_time, patience: None };
    explorer::explore(&plan, &AtomicBool::new(false), &|_| {}).map_err(|error| error.to_string())
}

/// Whatever it was told to try in any case: between runs, and inside the first.
fn ends_in_time() -> Result<(), String> {
    let script = Script::standard("back-pressure").expect("it ships");
    let target = server("et");
    for (patience, complete) in [(Duration::from_millis(400), Some(0)), (Duration::from_millis(1), None)] {
        let plan = Plan {
            target: &target,
            script: &script,
            faults: EINTR,
            max_placements: 2,
            always: 2,
            max_runs: None,
            max_time: None,
            patience: Some(patience),
        };
        let explored = explorer::explore(&plan, &AtomicBool::new(false), &|_| {}).map_err(|error| error.to_string())?;
        let Coverage::Cut(why) = &explored.coverage else { return Err(format!("all was tried: {explored:?}")) };
        // On a busy machine not even the first run has its time, and on a quick one all with one placement have.
        if explored.complete > complete.map(|_| 1) || !why.contains("schedule") {
            return Err(format!("complete at {:?} placements, cut {why}", explored.complete));
        }
        if explored.seconds > 20.0 {
            return Err(format!("it took {:.1} s", explored.seconds));
        }
    }
    Ok(())
}

fn found(mutant: &Mutant, all: bool) -> Result<(), String> {
    for _ in 0..if all { TIMES } else { 1 } {
        let exploration = explore(&server(&mutant.name()), mutant.script, EINTR, 2, None)?;
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
        for part in ["the kernel at the end", "replay: --script", "sleeps"] {
            if !text.contains(part) {
                return Err(format!("the report does not say '{part}':\n{text}"));
            }
        }
    }
    Ok(())
}

fn nothing_found(target: &Target, stops: bool, all: bool) -> Result<(), String> {
    let (placements, time) = if all { (2, Some(Duration::from_secs(20))) } else { (1, Some(Duration::from_secs(2))) };
    for script in ["close", "two", "reset", "half-close", "emfile", "stop", "back-pressure"] {
        if script != "stop" || stops {
            let faults = if script == "close" { ALL } else { NONE };
            let script = Script::standard(script).expect("it ships");
            no_finding(target, &script, &explore(target, &script.name, faults, placements, time)?)?;
        }
    }
    Ok(())
}

fn python_passes(target: &Target, all: bool) -> Result<(), String> {
    let (placements, time) = if all { (2, None) } else { (1, Some(Duration::from_secs(4))) };
    for script in ["close", "two", "half-close"] {
        let script = Script::standard(script).expect("it ships");
        no_finding(target, &script, &explore(target, &script.name, NONE, placements, time)?)?;
    }
    Ok(())
}

fn no_finding(target: &Target, script: &Script, exploration: &Exploration) -> Result<(), String> {
    match &exploration.finding {
        Some(finding) => Err(format!("a false alarm:\n{}", report::finding(&target.name, script, finding, 100))),
        None => Ok(()),
    }
}

/// 300 connections, one after the other, each with a message and its answer, find nothing in the server whose bug the
/// explorer finds in a dozen runs.
fn plain_connections() -> Result<(), String> {
    let target = server("et_flag_cleared_late");
    let mut running =
        Running(Command::new(&target.argv[0]).args(&target.argv[1..]).spawn().map_err(|it| it.to_string())?);
    let addr = address_of(running.0.id())?;
    for _ in 0..300 {
        let served = || -> std::io::Result<Vec<u8>> {
            let mut client = TcpStream::connect(addr)?;
            client.set_read_timeout(Some(Duration::from_secs(20)))?;
            let mut back = vec![0; 5000];
            for len in [3, 5000] {
                client.write_all(&vec![7; len])?;
                client.read_exact(&mut back[..len])?;
            }
            client.shutdown(Shutdown::Write)?;
            let mut rest = Vec::new();
            client.read_to_end(&mut rest)?;
            Ok(rest)
        };
        match served() {
            Ok(rest) if rest.is_empty() => {}
            other => return Err(format!("an ordinary client met the bug: {other:?}")),
        }
    }
    running.0.kill().map_err(|error| error.to_string())
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a process listens: its socket's inode, looked up among the listening ones.
fn address_of(pid: u32) -> Result<SocketAddr, String> {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let links: Vec<String> =
            fds.filter_map(|fd| Some(std::fs::read_link(fd.path()).ok()?.to_string_lossy().into_owned())).collect();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.len() > 9 && fields[3] == "0A" && links.contains(&format!("socket:[{}]", fields[9])) {
                let port = u16::from_str_radix(fields[1].rsplit(':').next().unwrap_or(""), 16).unwrap_or(0);
                return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err("the server does not listen".into())
}

fn replays(name: &str, times: usize) -> Result<(), String> {
    let target = server(name);
    let exploration = explore(&target, "close", NONE, 2, None)?;
    let finding = exploration.finding.ok_or("nothing was found")?;
    let script = Script::standard("close").expect("it ships");
    let first = report::trace(name, "close", &finding.run, 100);
    for round in 0..times {
        let run = explorer::replay(&target, &script, NONE, &finding.schedule, &AtomicBool::new(false))
            .map_err(|error| error.to_string())?;
        let trace = report::trace(name, "close", &run, 100);
        if run.verdict != finding.verdict || trace != first || run.end != finding.run.end {
            return Err(format!("replay {round}: {}\n{trace}\nfirst it was {}\n{first}", run.verdict, finding.verdict));
        }
    }
    Ok(())
}

fn records(name: &str, times: usize) -> Result<(), String> {
    let script = Script::standard("close").expect("it ships");
    let record = || -> Result<String, String> {
        let run = explorer::replay(&server(name), &script, NONE, &Schedule::default(), &AtomicBool::new(false));
        Ok(explorer::record::record(name, &script, &run.map_err(|error| error.to_string())?))
    };
    let first = record()?;
    for round in 1..times {
        let other = record()?;
        let differ = first.lines().zip(other.lines()).find(|(one, other)| one != other);
        if let Some((one, other)) = differ {
            return Err(format!("recording {round} has '{other}' where the first has '{one}'"));
        }
    }
    Ok(())
}

/// `--explore NAME`: until it is killed.
pub fn explore_for_ever(name: &str) -> ExitCode {
    loop {
        if explore(&server(name), "close", NONE, 2, None).is_err() {
            return ExitCode::FAILURE;
        }
    }
}

fn marked(explorer: u32) -> usize {
    observe::start::started_by(explorer).expect("Linux").len()
}

/// Killed without a chance to tidy up, in the middle of runs, some of them of a server with children.
fn killed() -> Result<(), String> {
    for name in ["et", "forks", "oneshot"] {
        for _ in 0..3 {
            let program = std::env::current_exe().map_err(|error| error.to_string())?;
            let child = Command::new(program).args(["--explore", name]).stdout(Stdio::null()).spawn();
            let mut explorer = Running(child.map_err(|error| error.to_string())?);
            let id = explorer.0.id();
            wait_for("a server runs", || marked(id) > 0)?;
            explorer.0.kill().map_err(|error| error.to_string())?;
            explorer.0.wait().map_err(|error| error.to_string())?;
            wait_for("no server is left", || marked(id) == 0)?;
        }
    }
    Ok(())
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(30);
    while !reached() {
        if Instant::now() > end {
            return Err(format!("not reached: {what}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// `--memory`: resident memory after 60 runs and after 360, in KiB.
pub fn memory() -> ExitCode {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().unwrap_or("0").to_owned()
    };
    let script = Script::standard("close").expect("it ships");
    let target = server("et");
    for max_runs in [60, 300] {
        let plan = Plan {
            target: &target,
            script: &script,
            faults: ALL,
            max_placements: 3,
            always: 0,
            max_runs: Some(max_runs),
            max_time: None,
            patience: None,
        };
        match explorer::explore(&plan, &AtomicBool::new(false), &|_| {}) {
            Ok(exploration) if matches!(exploration.coverage, Coverage::Cut(_)) => println!("{}", resident()),
            other => {
                eprintln!("{other:?}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn memory_is_flat() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).arg("--memory").output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    match numbers[..] {
        [early, late] if late < early + 512 => Ok(()),
        _ => Err(format!("KiB after 60 runs and after 360: {numbers:?}; {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn recorded() -> Result<(), String> {
    let script = Script::standard("close").expect("it ships");
    let run = explorer::replay(&server("et"), &script, NONE, &Schedule::default(), &AtomicBool::new(false))
        .map_err(|error| error.to_string())?;
    let text = explorer::record::record("et", &script, &run);
    let record: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let events = record["events"].as_array().ok_or("no events")?;
    let call = |name: &'static str| events.iter().filter(move |event| event["name"] == name);
    let facts = [
        ("format", record["format"] == "event-loop-run" && record["version"] == 1),
        ("verdict", record["verdict"] == "ok"),
        ("a wait with what it returned", call("epoll_wait").any(|it| it["out"] == "5 c0 IN|OUT" && it["value"] == 1)),
        ("bytes moved", call("recvfrom").any(|it| it["value"] == 4096 && it["client"] == 0)),
        ("what stayed in the socket", call("recvfrom").any(|it| it["state"]["connections"][0]["unread"] == 904)),
        ("interest masks", call("epoll_ctl").any(|it| it["arguments"] == "4, ADD, 5 c0, IN|OUT|RDHUP|ET")),
        (
            "registrations",
            events.iter().any(|it| it["state"]["epolls"][0]["interests"][1]["mask"] == "IN|OUT|RDHUP|ET"),
        ),
        ("the accept queue", events.iter().any(|it| it["step"] == "c0 connect" && it["state"]["accept_queue"] == 1)),
        ("the client's steps", events.iter().filter(|it| it["event"] == "step" && it["implied"] == false).count() == 5),
        ("where it rests", events.iter().any(|it| it["event"] == "rest" && it["sleeps"][0] == "epoll_wait(4)")),
    ];
    match facts.iter().find(|(_, holds)| !holds) {
        Some((what, _)) => Err(format!("the record lacks {what}:\n{text}")),
        None => Ok(()),
    }
}

fn no_start() -> Result<(), String> {
    let argv = ["sh", "-c", "echo no such option >&2; exit 3"].map(str::to_owned).to_vec();
    let said = explore(&Target { name: "sh".into(), argv }, "close", NONE, 0, None).map(|_| ()).unwrap_err();
    let missing = explore(&Target { name: "x".into(), argv: vec!["/nonexistent/x".into()] }, "close", NONE, 0, None);
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

/// The table of README.md: every script that ships, in order, until one finds something; ten times.
fn measure() -> ExitCode {
    println!("| mutant | what it does | found | verdict | script | placements | runs | seconds |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut complete = true;
    for mutant in MUTANTS {
        let (mut found, mut runs, mut seconds) = (0, 0, 0.0);
        let (mut found_by, mut placements) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            // `stop` is for those that handle SIGTERM at all.
            let scripts = explorer::script::STANDARD.iter().map(|(script, _)| *script);
            for script in scripts.filter(|script| *script != "stop" || mutant.base == Base::Select) {
                let exploration =
                    match explore(&server(&mutant.name()), script, EINTR, 2, Some(Duration::from_secs(60))) {
                        Ok(exploration) => exploration,
                        Err(error) => {
                            eprintln!("{}: {error}", &mutant.name());
                            return ExitCode::FAILURE;
                        }
                    };
                runs += exploration.runs;
                seconds += exploration.seconds;
                if let Some(finding) = exploration.finding {
                    found += u32::from(finding.verdict == mutant.verdict);
                    found_by.push(script);
                    placements.push(finding.run.placements().to_string());
                    break;
                }
            }
        }
        found_by.dedup();
        placements.dedup();
        complete &= found == TIMES as u32;
        println!(
            "| `{}` | {} | {found} of {TIMES} | {} | {} | {} | {:.0} | {:.1} |",
            mutant.name(),
            mutant.what,
            mutant.verdict,
            found_by.join(", "),
            placements.join(", "),
            runs as f64 / TIMES as f64,
            seconds / TIMES as f64
        );
    }
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
