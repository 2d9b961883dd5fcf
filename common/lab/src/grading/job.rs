//! `lab grade-job`, hidden: grades attempts that it is told on stdin, in a process of its own. A grader ends whatever its
//! attempts leave behind, so two attempts that are graded at once need two processes.
//!
//! Invariant: stdout has one `Grade` a line, in the order of the tasks. It ends with its parent.

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::compile::AttemptCompiler;
use super::confine::Confinement;
use super::grade::{Grader, Without};
use super::supervise;
use crate::course::{self, Extent};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::{terminal, workspace};

/// The command line, as the lab itself writes it.
#[derive(Debug, clap::Args)]
pub struct JobArgs {}

/// The first line: how attempts are graded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobOrder {
    /// How long the checks of an attempt may take, in seconds.
    pub timeout: u64,
    /// Not the whole suite is run.
    pub quick: bool,
    /// What is switched off.
    pub without: Without,
    /// How far servers can be confined here.
    pub confined: Confinement,
}

/// Each line after it: an attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobTask {
    /// The exercise's name.
    pub exercise: String,
    /// The file; none if there is no attempt.
    pub file: Option<PathBuf>,
}

/// Grades until stdin ends.
pub fn run(_: &JobArgs) -> Result<ExitCode, LabError> {
    // Its handler ends the servers first.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| LabError::failed(format!("cannot end with the grader: {error}")))?;
    let interrupt = Interrupt::watch()?;
    supervise::adopt_orphans()?;
    let mut lines = std::io::stdin().lock().lines();
    let mut next = || lines.next().transpose().map_err(|error| LabError::failed(format!("read the tasks: {error}")));
    let wrong = |error: serde_json::Error| LabError::failed(format!("grade-job: {error}"));
    let Some(order) = next()? else { return Ok(ExitCode::SUCCESS) };
    let JobOrder { timeout, quick, without, confined } = serde_json::from_str(&order).map_err(wrong)?;
    let exercises = course::of_teacher(&workspace::root()?)?;
    let compiler = AttemptCompiler::prepare(&interrupt, !without.landlock)?;
    let grader = Grader {
        compiler: &compiler,
        time: Duration::from_secs(timeout),
        confined: &confined,
        extent: if quick { Extent::Quick } else { Extent::Whole },
        without,
        starts: false.into(),
        interrupt: &interrupt,
    };
    while let Some(line) = next()? {
        let task: JobTask = serde_json::from_str(&line).map_err(wrong)?;
        let exercise = exercises.iter().find(|it| it.name == task.exercise);
        let exercise = exercise.ok_or_else(|| LabError::failed(format!("there is no exercise '{}'", task.exercise)))?;
        let grade = grader.grade(exercise, task.file.as_deref())?;
        terminal::print(&(serde_json::to_string(&grade).expect("strings and numbers only") + "\n"));
    }
    Ok(ExitCode::SUCCESS)
}
