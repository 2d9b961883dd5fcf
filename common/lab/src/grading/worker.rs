//! `lab grade-worker`, hidden: one attempt's checks, in a process that the attempt may ruin.
//!
//! Invariant: stdout has one [`WorkerMessage`] a line and nothing else, and no server inherits it. Each line begins with
//! a secret that the worker gets on stdin, and no server of its user can look into the worker. So a line with the secret
//! is the worker's.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use harness::Report;
use serde::{Deserialize, Serialize};

use super::supervise;
use crate::checking::servers::{StartFailure, start_once};
use crate::course::{self, Exercise, Extent};
use crate::error::LabError;
use crate::{terminal, workspace};

/// The command line, as the lab itself writes it.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// The exercise's name
    #[arg(long)]
    exercise: String,
    /// The attempt's program
    #[arg(long)]
    server: PathBuf,
    /// Leave out the checks that are not quick
    #[arg(long)]
    quick: bool,
    /// Run these checks, and no others
    #[arg(long)]
    check: Vec<String>,
    /// Become this user, as which the servers run too: only their own user can look into their processes, where root is
    /// a container's root
    #[arg(long)]
    uid: Option<u32>,
    /// The words before the program's path that confine it
    #[arg(last = true)]
    confine: Vec<OsString>,
}

/// What begins each line of a worker: an attempt that finds a way to write to the worker's stdout does not know it.
#[derive(Debug)]
pub struct Secret(String);

impl Secret {
    /// A new one.
    pub fn new() -> Result<Self, LabError> {
        let mut bytes = [0; 16];
        let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
        read.map_err(|error| LabError::failed(format!("read /dev/urandom: {error}; grading needs a secret number")))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// For the worker's stdin.
    pub fn line(&self) -> String {
        format!("{}\n", self.0)
    }

    /// From the worker's stdin.
    fn read() -> Result<Self, LabError> {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        read.map_err(|error| LabError::failed(format!("read the grader's secret: {error}")))?;
        Ok(Self(line.trim_end().to_owned()))
    }

    /// The message in a line, if the line begins with the secret.
    pub fn opens<'a>(&self, line: &'a str) -> Option<&'a str> {
        line.strip_prefix(&self.0)?.strip_prefix(' ')
    }

    fn tell(&self, news: &WorkerMessage) {
        terminal::print(&format!("{} {}\n", self.0, serde_json::to_string(news).expect("strings and numbers only")));
    }
}

/// What a worker tells the grader.
#[derive(Debug, Serialize, Deserialize)]
pub enum WorkerMessage {
    /// The server does not come to accept connections, so nothing was checked.
    NotStarted {
        /// What happened instead.
        why: String,
        /// It still ran when its time was over.
        hangs: bool,
    },
    /// A check has ended.
    Checked(Box<Report>),
    /// All checks have ended.
    Done,
    /// The attempt changed this of the worker.
    Tampered(String),
}

/// What a process of the same user can change of the worker without a trace: its limits, its priority, its processors.
#[derive(Debug)]
struct Rights {
    limits: Vec<(&'static str, Option<u64>)>,
    priority: Option<i32>,
    processors: usize,
}

impl Rights {
    fn now() -> Self {
        use rustix::process::{Resource, getpriority_process, getrlimit};
        let resources = [
            ("processor time", Resource::Cpu),
            ("size of files", Resource::Fsize),
            ("memory", Resource::Data),
            ("number of descriptors", Resource::Nofile),
            ("number of processes", Resource::Nproc),
            #[cfg(not(target_os = "openbsd"))]
            ("address space", Resource::As),
        ];
        Self {
            // The hard limits: a check raises the soft ones.
            limits: resources.map(|(name, resource)| (name, getrlimit(resource).maximum)).to_vec(),
            priority: getpriority_process(None).ok(),
            processors: std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
        }
    }

    /// What differs now.
    fn changed(&self) -> Option<&'static str> {
        let now = Self::now();
        let differs = self.limits.iter().zip(&now.limits).find(|(before, now)| before != now);
        match differs {
            Some(((name, _), _)) => Some(name),
            None if self.priority != now.priority => Some("priority"),
            None if self.processors != now.processors => Some("processors"),
            None => None,
        }
    }
}

/// Checks the attempt, and tells of each check.
pub fn run(args: &WorkerArgs) -> Result<ExitCode, LabError> {
    // Its time is short, and what it says of a cause is no part of the points.
    harness::rerun::forbid();
    harness::server::shorten_starts_after_a_hang();
    let secret = Secret::read()?;
    let exercise = find(&args.exercise)?;
    #[cfg(target_os = "linux")]
    args.uid.map(super::confine::become_user).transpose()?;
    // Not before: the kernel forgets it when the user changes.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| LabError::failed(format!("cannot end with the grader: {error}")))?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|error| LabError::failed(format!("cannot hide from the attempt: {error}")))?;
    supervise::adopt_orphans()?;
    let before = Rights::now();
    let mut argv: Vec<String> = args.confine.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    argv.push(args.server.to_string_lossy().into_owned());
    let subject = exercise.subject(argv);
    match start_once(&subject) {
        // A server that does not start would fail every check after the same long wait; one try is enough.
        Err(why) => {
            let hangs = matches!(why, StartFailure::NotListening { hangs: true, .. });
            secret.tell(&WorkerMessage::NotStarted { why: not_started(why), hangs });
        }
        Ok(()) if !args.check.is_empty() => {
            for check in harness::checks().filter(|check| args.check.contains(&check.full_name())) {
                secret.tell(&WorkerMessage::Checked(Box::new(harness::run(check, &subject))));
            }
            secret.tell(&WorkerMessage::Done);
        }
        Ok(()) => {
            let extent = if args.quick { Extent::Quick } else { Extent::Whole };
            course::judge(&exercise, &subject, extent, |report, _| {
                secret.tell(&WorkerMessage::Checked(Box::new(report.clone())))
            });
            secret.tell(&WorkerMessage::Done);
        }
    }
    if let Some(what) = before.changed() {
        secret.tell(&WorkerMessage::Tampered(what.into()));
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<Exercise, LabError> {
    let all = course::of_teacher(&workspace::root()?)?;
    let found = all.into_iter().find(|exercise| exercise.name == name);
    found.ok_or_else(|| LabError::usage(format!("there is no exercise '{name}'")))
}

fn not_started(why: StartFailure) -> String {
    match why {
        StartFailure::NoProcess(what) | StartFailure::NotHere(what) => what,
        // What ends with a sentence has its full stop.
        StartFailure::NotListening { what, cause, .. } => match what.strip_suffix('.').unwrap_or(&what) {
            what if cause.is_empty() => what.to_owned(),
            what => format!("{what}. {cause}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_one_full_stop_between_its_sentences() {
        let not_listening = |what: &str, cause: &str| {
            not_started(StartFailure::NotListening { what: what.into(), cause: cause.into(), hangs: false })
        };
        assert_eq!(not_listening("it did not listen", "It said: x"), "it did not listen. It said: x");
        assert_eq!(
            not_listening("It listened. It is stopped.", "It said: x"),
            "It listened. It is stopped. It said: x"
        );
        assert_eq!(not_listening("it did not listen.", ""), "it did not listen");
    }
}
