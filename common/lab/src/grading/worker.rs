//! `lab grade-worker`, hidden: one attempt's checks, in a process that an attempt may ruin.
//!
//! Invariant: stdout has one piece of [`WorkerMessage`] a line and nothing else, and no server inherits it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use harness::Report;
use serde::{Deserialize, Serialize};

use super::supervise;
use crate::checking::servers::{StartFailure, start_once};
use crate::course::{self, Exercise};
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
    /// Become this user, which the servers then have too: what looks at them has to be of their user, or more than a
    /// container's root
    #[arg(long)]
    uid: Option<u32>,
    /// What comes before the program's path to confine it
    #[arg(last = true)]
    confine: Vec<OsString>,
}

/// What a worker has to say.
#[derive(Debug, Serialize, Deserialize)]
pub enum WorkerMessage {
    /// The server does not come to accept connections, so nothing was checked.
    NotStarted(String),
    /// A check has ended.
    Checked(Box<Report>),
    /// All have.
    Done,
}

/// Runs the command.
pub fn run(args: &WorkerArgs) -> Result<ExitCode, LabError> {
    let exercise = find(&args.exercise)?;
    #[cfg(target_os = "linux")]
    args.uid.map(super::confine::become_user).transpose()?;
    // Afterwards: the kernel forgets it when the user changes.
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
            course::judge(&exercise, &subject, |report| tell(&WorkerMessage::Checked(Box::new(report.clone()))));
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
