//! A child process with limits from outside, and the end of all that it started.
//!
//! Invariant: when `run` returns, no process that the child started is left, however it was detached. Orphans become
//! children of this process (a subreaper), and this process has no other children.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use observe::Family;
use rustix::process::{Pid, Signal, WaitOptions, kill_process};

use super::clock::Clock;
use crate::error::LabError;
use crate::interrupt::Interrupt;

/// A longer line is cut; no report is that long.
const LINE: u64 = 1 << 20;
/// Lines that are read ahead.
const LINES: usize = 16;
/// A child that writes more is ended. A report of a failure has some KiB, and so has an error of the compiler.
const OUTPUT: usize = 16 << 20;
/// So much of its stderr is kept.
const SAID: u64 = 64 << 10;
const LOOK: Duration = Duration::from_millis(50);
/// Killed processes are gone within milliseconds; this limit is for the case that something is wrong.
const ENDED: Duration = Duration::from_secs(30);

/// What the child and all its descendants may use together.
#[derive(Debug, Clone, Copy)]
pub struct ProcessLimits {
    /// The time from start to end, as `Clock` counts it.
    pub time: Duration,
    /// The resident bytes of its descendants.
    pub memory: u64,
    /// The user that its servers run as, if they have a user of their own.
    pub uid: Option<u32>,
}

/// How a child ended.
#[derive(Debug)]
pub enum EndCause {
    /// By itself, or by a signal.
    Exited(ExitStatus),
    /// Its time was used up.
    TimeUp,
    /// Its memory was used up.
    OutOfMemory,
    /// It wrote without end.
    Flooded,
}

/// How a child ended, and what it left behind.
#[derive(Debug)]
pub struct ProcessEnd {
    /// How the child ended.
    pub end: EndCause,
    /// How many processes it left behind.
    pub strays: usize,
    /// The beginning of its stderr, if that is a pipe.
    pub said: String,
}

/// The path of this very program, even if the file was built anew since.
pub fn lab_path() -> PathBuf {
    match cfg!(target_os = "linux") {
        true => "/proc/self/exe".into(),
        false => std::env::current_exe().unwrap_or_else(|_| "lab".into()),
    }
}

/// A command that starts this very program.
pub fn lab() -> Command {
    Command::new(lab_path())
}

/// From now on, descendants that lose their parent become children of this process.
pub fn adopt_orphans() -> Result<(), LabError> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| {
        LabError::failed(format!("cannot adopt orphaned processes (PR_SET_CHILD_SUBREAPER): {error}"))
    })?;
    Ok(())
}

/// Runs a command in a process group of its own with this text on stdin, and passes on each line of its stdout as it
/// comes.
pub fn run(
    command: &mut Command,
    input: &str,
    limits: ProcessLimits,
    interrupt: &Interrupt,
    mut line: impl FnMut(String),
) -> Result<ProcessEnd, LabError> {
    let what = command.get_program().to_string_lossy().into_owned();
    let spawned = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| LabError::failed(format!("cannot start '{what}': {error}")))?;
    // A line fits into the pipe. Who has ended already needs none.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let lines = lines(child.stdout.take().expect("piped"));
    let said = child.stderr.take().map(first_words);
    let (mut written, mut looked) = (0, Instant::now());
    let clock = Clock::start();
    let mut open = true;
    let end = loop {
        let news = if open { lines.recv_timeout(LOOK) } else { Err(RecvTimeoutError::Timeout) };
        match news {
            Ok(text) => {
                // With its end of line, because a flood of empty lines is one too.
                written += text.len() + 1;
                line(text);
            }
            Err(RecvTimeoutError::Disconnected) => open = false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if interrupt.check().is_err() || clock.has_passed(limits.time) {
            break EndCause::TimeUp;
        }
        if written > OUTPUT {
            break EndCause::Flooded;
        }
        if looked.elapsed() > LOOK {
            looked = Instant::now();
            if resident(child.id() as i32) > limits.memory {
                break EndCause::OutOfMemory;
            }
        }
        if !open {
            match child.try_wait() {
                Ok(Some(status)) => break EndCause::Exited(status),
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => return Err(LabError::failed(format!("wait for '{what}': {error}"))),
            }
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    // Lines that were written before the end count.
    while written <= OUTPUT
        && let Ok(text) = lines.recv_timeout(LOOK)
    {
        written += text.len() + 1;
        line(text);
    }
    let strays = descendants(std::process::id() as i32).len();
    if let Some(uid) = limits.uid {
        // All processes of the user in one call, because a loop over processes would race with a fork bomb.
        let ended = lab().args(["confine", "--end-all", "--uid", &uid.to_string()]).stdin(Stdio::null()).status();
        ended.map_err(|error| LabError::failed(format!("cannot end the processes of user {uid}: {error}")))?;
    }
    end_descendants()?;
    interrupt.check()?;
    let said = said.and_then(|said| said.recv().ok()).unwrap_or_default();
    Ok(ProcessEnd { end, strays, said })
}

/// The beginning of a stream, once that has ended. The rest is read too, and dropped.
fn first_words(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stream.by_ref().take(SAID).read_to_end(&mut said);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        let _ = sender.send(String::from_utf8_lossy(&said).into_owned());
    });
    receiver
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    // Bounded: a child that writes faster than its lines are looked at waits.
    let (sender, receiver) = mpsc::sync_channel(LINES);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.by_ref().take(LINE).read_until(b'\n', &mut line), Ok(n) if n > 0) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}

/// The descendants of a process, without itself; none where /proc is missing.
fn descendants(pid: i32) -> Vec<i32> {
    let family = Family::of(pid).processes().unwrap_or_default();
    family.into_iter().map(|process| process.pid).filter(|it| *it != pid).collect()
}

/// The resident bytes of all descendants of a process. Shared pages count for each process: the limit may be strict.
fn resident(pid: i32) -> u64 {
    let pages = |pid: i32| -> Option<u64> {
        std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse().ok()
    };
    descendants(pid).into_iter().filter_map(pages).sum::<u64>() * rustix::param::page_size() as u64
}

/// Ends all descendants of this process.
fn end_descendants() -> Result<(), LabError> {
    let end = Instant::now() + ENDED;
    loop {
        let left = descendants(std::process::id() as i32);
        for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // An error means that it is gone already.
            let _ = kill_process(pid, Signal::KILL);
        }
        while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            let left: Vec<String> = left.iter().map(i32::to_string).collect();
            return Err(LabError::failed(format!(
                "{} s after SIGKILL these processes of an attempt still run: {}; end them before you grade again",
                ENDED.as_secs(),
                left.join(" ")
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
