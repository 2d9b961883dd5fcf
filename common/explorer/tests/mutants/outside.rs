//! Tests that look at the explorer or a mutant from outside: an ordinary client, a killed explorer, its memory.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use explorer::{Coverage, Plan, Script};

use super::proof::{ALL, NONE, explore, server};

/// The explorer finds the bug of this server in a dozen runs. 300 ordinary connections, one after the other, do not
/// meet the bug.
pub fn plain_connections() -> Result<(), String> {
    let subject = server("et_flag_cleared_late");
    let mut running =
        Running(Command::new(&subject.argv[0]).args(&subject.argv[1..]).spawn().map_err(|it| it.to_string())?);
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

/// The address on which a process listens: the inode of its socket, looked up in the table of listening sockets.
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

/// `--explore NAME`: explores until it is killed.
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

/// An explorer that is killed in the middle of a run has no chance to clean up, and yet leaves no server. One of the
/// servers has children.
pub fn killed() -> Result<(), String> {
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

/// `--memory`: prints the resident memory in KiB after 60 and after 360 runs.
pub fn memory() -> ExitCode {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().unwrap_or("0").to_owned()
    };
    let script = Script::standard("close").expect("it ships");
    let subject = server("et");
    for max_runs in [60, 300] {
        let plan = Plan {
            subject: &subject,
            script: &script,
            faults: ALL,
            max_placements: 3,
            always: 0,
            max_runs: Some(max_runs),
            max_time: None,
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

pub fn memory_is_flat() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).arg("--memory").output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    match numbers[..] {
        [early, late] if late < early + 512 => Ok(()),
        _ => Err(format!("KiB after 60 runs and after 360: {numbers:?}; {}", String::from_utf8_lossy(&output.stderr))),
    }
}
