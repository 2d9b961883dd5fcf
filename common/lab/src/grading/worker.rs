//! `lab grade-worker`, hidden: one attempt's checks, in a process that the attempt may ruin.
//!
//! Invariant: stdout has one [`WorkerMessage`] a line and nothing else, and no server inherits it.

use std::ffi::OsString;
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
    /// Become this user, as which the servers run too: only their own user can look into their processes, where root is
    /// a container's root
    #[arg(long)]
    uid: Option<u32>,
    /// The words before the program's path that confine it
    #[arg(last = true)]
    confine: Vec<OsString>,
}

/// What a worker tells the grader.
#[derive(Debug, Serialize, Deserialize)]
pub enum WorkerMessage {
    /// The server does not come to accept connections, so nothing was checked.
    NotStarted(String),
    /// A check has ended.
    Checked(Box<Report>),
    /// All checks have ended.
    Done,
}

/// Checks the attempt, and tells of each check.
pub fn run(args: &WorkerArgs) -> Result<ExitCode, LabError> {
    // Its time is short, and what it says of a cause is no part of the points.
    harness::rerun::forbid();
    let exercise = find(&args.exercise)?;
    #[cfg(target_os = "linux")]
    args.uid.map(super::confine::become_user).transpose()?;
    // Not before: the kernel forgets it when the user changes.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| LabError::failed(format!("cannot end with the grader: {error}")))?;
    supervise::adopt_orphans()?;
    let mut argv: Vec<String> = args.confine.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    argv.push(args.server.to_string_lossy().into_owned());
    let subject = exercise.subject(argv);
    match start_once(&subject) {
        // A server that does not start would fail every check after the same long wait; one try is enough.
        Err(why) => tell(&WorkerMessage::NotStarted(not_started(why))),
        Ok(()) => {
            let extent = if args.quick { Extent::Quick } else { Extent::Whole };
            course::judge(&exercise, &subject, extent, |report, _| {
                tell(&WorkerMessage::Checked(Box::new(report.clone())))
            });
            tell(&WorkerMessage::Done);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<Exercise, LabError> {
    let all = course::load(&workspace::root()?.join("exercises"))?;
    let found = all.into_iter().find(|exercise| exercise.name == name);
    found.ok_or_else(|| LabError::usage(format!("there is no exercise '{name}'")))
}

fn not_started(why: StartFailure) -> String {
    match why {
        StartFailure::NoProcess(what) | StartFailure::NotHere(what) => what,
        StartFailure::NotListening { what, cause } => format!("{what}. {cause}"),
    }
}

fn tell(news: &WorkerMessage) {
    terminal::print(&(serde_json::to_string(news).expect("strings and numbers only") + "\n"));
}
