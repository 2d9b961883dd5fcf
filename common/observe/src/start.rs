//! How a server is started: with a mark by which it is found again, with its limits, on a port that is free.
//!
//! Invariant: nothing that was started can get lost. A server leads a process group of its own, dies with the thread
//! that started it (Linux), and hands its mark on to whatever it starts itself. It inherits what `inherit` gives it, and
//! nothing of the terminal.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use crate::detached;
use crate::inherit;
use crate::port;

/// The variable in the environment of every server that was started here, and of all that it starts.
pub const MARK: &str = "ECHO_HARNESS_SUBJECT";

/// The value of `MARK`: the program that started the server, and which of its servers this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    starter: u32,
    number: u64,
}

impl Mark {
    /// A mark that no other server has.
    #[expect(clippy::new_without_default, reason = "two of them are never equal")]
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self { starter: std::process::id(), number: COUNT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.starter, self.number)
    }
}

/// Every process that carries this mark of this program: also a descendant that left the process group or lost its
/// parent.
#[cfg(target_os = "linux")]
pub fn marked_with(mark: &Mark) -> Vec<i32> {
    crate::younger::all().map(|it| it.process.pid).filter(|pid| is_marked_with(*pid, mark)).collect()
}

/// None: without /proc no mark can be seen.
#[cfg(not(target_os = "linux"))]
pub fn marked_with(_mark: &Mark) -> Vec<i32> {
    Vec::new()
}

/// Whether a process carries this mark.
#[cfg(target_os = "linux")]
pub(crate) fn is_marked_with(pid: i32, mark: &Mark) -> bool {
    let wanted = format!("{MARK}={mark}");
    has_variable(pid, |variable| variable == wanted.as_bytes())
}

/// Whether a process carries the mark of another server.
pub fn has_other_mark(pid: i32, mark: &Mark) -> bool {
    let (own, any) = (format!("{MARK}={mark}"), format!("{MARK}="));
    has_variable(pid, |it| it.starts_with(any.as_bytes()) && it != own.as_bytes())
}

fn has_variable(pid: i32, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|byte| *byte == 0).any(wanted)
}

/// Every process that carries a mark of the program with this process id.
///
/// # Errors
/// If the processes cannot be listed.
#[cfg(target_os = "linux")]
pub fn started_by(starter: u32) -> io::Result<Vec<i32>> {
    let wanted = format!("{MARK}={starter}-");
    let pids = std::fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let marked = |pid: &i32| has_variable(*pid, |variable| variable.starts_with(wanted.as_bytes()));
    Ok(pids.filter(marked).collect())
}

/// The children of the program with this process id that lead a process group, and whatever is in those groups: without
/// /proc no mark can be seen.
///
/// # Errors
/// If the processes cannot be listed.
#[cfg(not(target_os = "linux"))]
pub fn started_by(starter: u32) -> io::Result<Vec<i32>> {
    let listing = Command::new("ps").args(["-A", "-o", "pid=,ppid=,pgid="]).output()?.stdout;
    let listing = String::from_utf8_lossy(&listing);
    let processes: Vec<Vec<i32>> = listing
        .lines()
        .map(|line| line.split_whitespace().filter_map(|number| number.parse().ok()).collect())
        .collect();
    let leads = |group: i32| processes.iter().any(|it| it[..] == [group, starter as i32, group]);
    Ok(processes.iter().filter(|it| it.len() == 3 && leads(it[2])).map(|it| it[0]).collect())
}

/// What a server gets at its start, besides its command.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// RLIMIT_NOFILE; the hard limit, and at most `inherit::DESCRIPTORS`, if not given.
    pub nofile: Option<u64>,
    /// `nofile` is only the soft limit, and may be raised later.
    pub raisable: bool,
    /// How many file descriptors of /dev/null it inherits, from 3 on, so that its own start at high numbers.
    pub inherit: usize,
    /// Single descriptors of /dev/null, below 256, that it inherits, so that its own have gaps between them.
    pub gaps: &'static [i32],
}

/// The command of a server that can be found again, and ended with all that it has started.
pub fn command(argv: &[String], limits: Limits, mark: &Mark) -> Command {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]);
    command.env_clear().envs(inherit::environment()).env(MARK, mark.to_string());
    // A group of its own, so that what it starts can be ended with it.
    command.process_group(0);
    // SAFETY: between fork and exec only async-signal-safe calls are made: those of `inherit::set_up`, and prctl. None of
    // them allocates or takes a lock that another thread of this program might have held at the fork.
    unsafe {
        command.pre_exec(move || {
            inherit::set_up(&limits)?;
            #[cfg(target_os = "linux")]
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command
}

static STARTS: RwLock<()> = RwLock::new(());

/// Starts a command that was made with these limits. `detached::has_ended` has to be told of its end.
///
/// # Errors
/// As `Command::spawn`.
pub fn spawn(command: &mut Command, limits: Limits) -> io::Result<Child> {
    // A start that is under way in another thread has a descriptor that `inherit::set_up` must leave alone if it is its
    // own, and the copy of which would be a gap: the listener that was to come behind 1,023 would fit into it.
    let started = |child: io::Result<Child>| child.inspect(|child| detached::has_started(child.id() as i32));
    if limits.inherit > 0 || !limits.gaps.is_empty() {
        let _alone = hold_starts();
        let _occupied = inherit::occupy(limits.gaps)?;
        return started(command.spawn());
    }
    let _among_others = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    started(command.spawn())
}

/// Waits until no server is being started, and holds starts up. A process has copies of all file descriptors of this
/// program until its exec, and a connection that is closed meanwhile stays open in that copy: neither FIN nor reset is
/// sent.
pub fn hold_starts() -> RwLockWriteGuard<'static, ()> {
    STARTS.write().unwrap_or_else(PoisonError::into_inner)
}

/// A start that takes longer is a fault, even on a machine with a load of 20 and under ptrace(2).
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Stands in a command for the port.
pub const PORT: &str = "{port}";
/// Ports that are tried before it counts as the server's own fault that it finds none free.
const PORTS: u32 = 5;

/// How a start went wrong.
#[derive(Debug)]
pub enum NoStart<E> {
    /// Somebody else took the port between its choice and the server's bind.
    PortTaken(E),
    /// For another reason.
    Other(E),
}

impl<E> NoStart<E> {
    fn into_inner(self) -> E {
        match self {
            Self::PortTaken(error) | Self::Other(error) => error,
        }
    }
}

impl<E> From<E> for NoStart<E> {
    fn from(error: E) -> Self {
        Self::Other(error)
    }
}

/// Starts a command on a free port: `start` gets the command with its `{port}` filled in, and the port. Nothing keeps a
/// port free until the server binds it; where another program was faster, the start is made again on another port.
/// A command without `{port}` is started once, as it is.
///
/// # Errors
/// Of the last attempt.
pub fn on_a_free_port<T, E: From<io::Error>>(
    argv: &[String],
    mut start: impl FnMut(&[String], Option<u16>) -> Result<T, NoStart<E>>,
) -> Result<T, E> {
    if !argv.iter().any(|arg| arg.contains(PORT)) {
        return start(argv, None).map_err(NoStart::into_inner);
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = port::free()?;
        let filled: Vec<String> = argv.iter().map(|arg| arg.replace(PORT, &port.to_string())).collect();
        match start(&filled, Some(port)) {
            Err(NoStart::PortTaken(_)) if attempts < PORTS => {}
            result => return result.map_err(NoStart::into_inner),
        }
    }
}

/// Whether a server that has ended before it listened has lost its port to somebody else: the port is not free, or the
/// server's own words say so. (The other one may be gone by now.)
pub fn lost_its_port(port: u16, output: &str) -> bool {
    let output = output.to_ascii_lowercase();
    let says_so = ["address already in use", "address in use", "eaddrinuse"].iter().any(|words| output.contains(words));
    says_so || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_start_that_loses_its_port_is_made_again_on_another() {
        let mut tried = Vec::new();
        let started: Result<u16, io::Error> = on_a_free_port(&argv(&["serve", "--port={port}"]), |filled, port| {
            let port = port.expect("the command has {port}");
            assert_eq!(filled, argv(&["serve", &format!("--port={port}")]));
            // Taken until the end of the test.
            tried.push(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free"));
            match tried.len() {
                1 | 2 => Err(NoStart::PortTaken(io::ErrorKind::AddrInUse.into())),
                _ => Ok(port),
            }
        });
        let started = started.expect("the third port is not taken");
        assert_eq!(tried.len(), 3);
        assert!(tried[..2].iter().all(|taken| taken.local_addr().expect("bound").port() != started));
        assert!(lost_its_port(started, "") && lost_its_port(0, "bind: Address already in use (os error 98)"));
    }

    #[test]
    fn another_failure_and_a_command_without_a_port_are_tried_once() {
        let mut starts = 0;
        for command in [&["serve", "{port}"][..], &["serve"]] {
            let result: Result<(), io::Error> = on_a_free_port(&argv(command), |_, _| {
                starts += 1;
                Err(NoStart::Other(io::ErrorKind::NotFound.into()))
            });
            assert_eq!(result.expect_err("it fails").kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(starts, 2);
    }
}
