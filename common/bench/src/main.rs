//! Measures and compares echo servers.
//!
//! Invariant: only figures of one run are compared, because its servers take turns under the same load. Absolute
//! figures depend on the machine and its other work. Ratios of medians and counts are valid elsewhere too.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bench::load::Load;
use bench::server::{cpu, story};
use clap::Parser;
use harness::Subject;
use harness::server::{Options, Server};
use observe::Family;

/// Measures echo servers in turns: CPU time and system calls per round trip, memory per idle connection
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct BenchArgs {
    /// The servers: paths of this workspace's programs, or commands with {port} in them
    #[arg(required = true)]
    servers: Vec<String>,
    /// Number of connections that are always busy
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Number of idle connections
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Bytes per round trip
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// Seconds per turn
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Turns of each server; the median is reported
    #[arg(long, default_value_t = 7)]
    turns: usize,
    /// Count system calls with strace; this slows the servers, so ignore the times then
    #[arg(long)]
    syscalls: bool,
}

struct Turn {
    round_trips: u64,
    wall: Duration,
    cpu: Duration,
    syscalls: Option<u64>,
    resident_per_idle: Option<f64>,
}

fn main() -> ExitCode {
    let args = BenchArgs::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &BenchArgs) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "this program needs Linux: it reads the servers' CPU time from /proc");
    let limit = harness::trial::raise_fd_limit();
    let needed = (args.connections + args.idle + 100) as u64;
    ensure!(limit >= needed, "{needed} file descriptors are needed, but the hard limit is {limit} (ulimit -Hn)");
    let subjects: Vec<Subject> = args.servers.iter().map(|server| subject(server)).collect();
    let mut turns: Vec<Vec<Turn>> = subjects.iter().map(|_| Vec::new()).collect();
    for number in 1..=args.turns {
        for (subject, turns) in subjects.iter().zip(&mut turns) {
            progress(&format!("turn {number} of {}: {}", args.turns, subject.name));
            turns.push(turn(subject, args).with_context(|| subject.name.clone())?);
        }
    }
    progress("");
    report(args, &subjects, &turns);
    Ok(())
}

/// Shows a line that the next line overwrites, if stderr is a terminal.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{line:60}\r");
    }
}

fn subject(server: &str) -> Subject {
    let words: Vec<String> = server.split_whitespace().map(str::to_owned).collect();
    let name = server.rsplit('/').next().unwrap_or(server).to_owned();
    let own = !server.contains("{port}");
    Subject { own, ..Subject::command(name, words) }
}

fn turn(subject: &Subject, args: &BenchArgs) -> Result<Turn> {
    let server = Server::start(subject, &Options::default()).map_err(|stop| anyhow::anyhow!("{}", story(stop)))?;
    let process = server.process.context("no process")?;
    let resident = process.resident();
    let idle = Load::connect(server.addr, args.idle, args.bytes)?;
    idle.once()?;
    let resident_per_idle = resident
        .zip(process.resident())
        .filter(|_| args.idle > 0)
        .map(|(before, after)| (after as f64 - before as f64) / args.idle as f64);
    let busy = Load::connect(server.addr, args.connections, args.bytes)?;
    let strace = args.syscalls.then(|| Strace::attach(process)).transpose()?;
    let before = cpu(process)?;
    let (round_trips, wall) = busy.run(Duration::from_secs_f64(args.seconds))?;
    let cpu = cpu(process)? - before;
    let syscalls = strace.map(Strace::total).transpose()?;
    Ok(Turn { round_trips, wall, cpu, syscalls, resident_per_idle })
}

/// `strace -c -f`, attached to a running server.
struct Strace {
    child: std::process::Child,
    summary: std::path::PathBuf,
}

impl Strace {
    fn attach(process: Family) -> Result<Self> {
        let summary = std::env::temp_dir().join(format!("bench-strace-{}", process.pid));
        let child = std::process::Command::new("strace")
            .args(["-c", "-f", "-q", "-o"])
            .arg(&summary)
            .args(["-p", &process.pid.to_string()])
            .stderr(std::process::Stdio::null())
            .spawn()
            .context("start strace (is it installed?)")?;
        let mut strace = Self { child, summary };
        loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
            if status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")) {
                return Ok(strace);
            }
            if let Some(status) = strace.child.try_wait()? {
                bail!("strace could not attach ({status}): does this system allow ptrace?");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Detaches and returns the number of calls.
    fn total(mut self) -> Result<u64> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        self.child.wait()?;
        let summary = std::fs::read_to_string(&self.summary)?;
        std::fs::remove_file(&self.summary)?;
        let total = summary.lines().find(|line| line.ends_with(" total")).context("no total in strace's summary")?;
        // % time, seconds, usecs/call, calls, [errors,] "total"
        Ok(total.split_whitespace().nth(3).context("no calls in strace's summary")?.parse()?)
    }
}

fn report(args: &BenchArgs, subjects: &[Subject], turns: &[Vec<Turn>]) {
    println!(
        "{} busy and {} idle connections, {} bytes, median of {} turns of {} s",
        args.connections, args.idle, args.bytes, args.turns, args.seconds
    );
    let per_trip = |turns: &[Turn]| median(turns.iter().map(|t| t.cpu.as_secs_f64() * 1e6 / t.round_trips as f64));
    let base = per_trip(&turns[0]);
    println!(
        "{:24} {:>14} {:>14} {:>8} {:>14} {:>12}",
        "server", "round trips/s", "CPU us/trip", "ratio", "syscalls/trip", "bytes/idle"
    );
    for (subject, turns) in subjects.iter().zip(turns) {
        let cpu = per_trip(turns);
        let rate = median(turns.iter().map(|turn| turn.round_trips as f64 / turn.wall.as_secs_f64()));
        let column = |values: Vec<f64>, digits: usize| {
            if values.is_empty() { "-".to_owned() } else { format!("{:.digits$}", median(values.into_iter())) }
        };
        let calls = turns.iter().filter_map(|turn| Some(turn.syscalls? as f64 / turn.round_trips as f64)).collect();
        let resident = turns.iter().filter_map(|turn| turn.resident_per_idle).collect();
        println!(
            "{:24} {rate:>14.0} {cpu:>14.2} {:>8.2} {:>14} {:>12}",
            subject.name,
            cpu / base,
            column(calls, 3),
            column(resident, 0)
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
