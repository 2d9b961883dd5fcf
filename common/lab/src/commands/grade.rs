//! `cargo lab grade`: all attempts, as points.
//!
//! Invariant: exit code 0 means that every attempt has its grade, whatever it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::checking::results::duration;
use crate::course::{self, Exercise};
use crate::error::LabError;
use crate::grading::compile::AttemptCompiler;
use crate::grading::formats::Grades;
use crate::grading::grade::{self, Grader};
use crate::grading::{AttemptState, Grade, confine, supervise};
use crate::interrupt::Interrupt;
use crate::terminal::{self, Palette};
use crate::workspace;

const EXAMPLES: &str = "\
Examples:
  cargo lab grade                                   all attempts, for people
  cargo lab grade --only 13 14                      two of them
  cargo lab grade --format gradescope --attempts /autograder/submission --output /autograder/results/results.json
  cargo lab grade --format github >> \"$GITHUB_OUTPUT\"

A missing attempt, one that does not compile and the untouched starter get 0 points. Of the others, an exercise's own
checks share its points; the checks that every server has to pass, and that it fails, cut them.

Exit code: 0 graded, whatever the points; 1 grading could not be carried out; 2 wrong command line.";

/// Grade attempts: points for each exercise, with the reasons
///
/// Each attempt is compiled from a copy and checked in a process of its own. Its server is confined: a user of its own
/// (if the grader is root), limits of time, memory, files and processes, and Landlock, where the kernel has it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct GradeArgs {
    /// These exercises only, by number or name
    #[arg(long, value_name = "NN", num_args = 1..)]
    only: Vec<String>,
    /// How to write the grades
    #[arg(long, value_enum, default_value_t = GradeFormat::Text)]
    format: GradeFormat,
    /// The folder with the attempts [default: exercises/attempts]
    #[arg(long, value_name = "DIR")]
    attempts: Option<PathBuf>,
    /// Where to write the grades [default: stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The most that one attempt's checks may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// As on a kernel without Landlock
    #[arg(long, hide = true)]
    no_landlock: bool,
}

/// A format of the grades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GradeFormat {
    /// For people
    Text,
    /// All there is, for programs
    Json,
    /// JUnit XML, for CI systems
    Junit,
    /// Gradescope's results.json
    Gradescope,
    /// The step output that GitHub Classroom's reporter takes; the text goes to stderr
    Github,
}

/// Runs the command.
pub fn run(args: &GradeArgs) -> Result<ExitCode, LabError> {
    let root = workspace::root()?;
    let exercises = course::exercise::chosen(course::load(&root.join("exercises"))?, &args.only)?;
    let folder = args.attempts.clone().unwrap_or_else(|| root.join("exercises/attempts"));
    if !folder.is_dir() {
        return Err(LabError::usage(format!("--attempts {}: there is no such folder", folder.display())));
    }
    if let Some(output) = &args.output {
        // Now, and not after everything was graded.
        if output.is_dir() {
            return Err(LabError::usage(format!("--output {}: it is a folder; give a file in it", output.display())));
        }
        let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() {
            return Err(LabError::usage(format!("--output {}: there is no folder for it", output.display())));
        }
    }
    let interrupt = Interrupt::watch()?;
    supervise::adopt_orphans()?;
    let start = Instant::now();
    let confined = confined(args.no_landlock)?;
    confined.missing.iter().for_each(|what| terminal::complain(&format!("not confined: {what}")));
    let builder = AttemptCompiler::prepare(&interrupt, !args.no_landlock)?;
    let time = Duration::from_secs(args.timeout);
    let grader =
        Grader { builder: &builder, time, confined: &confined, no_landlock: args.no_landlock, interrupt: &interrupt };
    let mut grades = Vec::new();
    for exercise in &exercises {
        let grade = grader.grade(exercise, &folder.join(format!("{}.rs", exercise.name)))?;
        terminal::complain(&progress(&grade, Palette::stderr()));
        grades.push(grade);
    }
    let ignored = if args.only.is_empty() { ignored(&folder, &exercises) } else { Vec::new() };
    let grades = Grades::new(grades, &confined, ignored, start.elapsed().as_secs_f64());
    let written = match args.format {
        GradeFormat::Text => grades.text(if args.output.is_some() { Palette::plain() } else { Palette::stdout() }),
        GradeFormat::Json => grades.json(),
        GradeFormat::Junit => grades.junit(),
        GradeFormat::Gradescope => grades.gradescope(),
        GradeFormat::Github => {
            terminal::complain(grades.log().trim_end());
            grades.github()
        }
    };
    match &args.output {
        Some(path) => fs::write(path, written).map_err(|error| {
            LabError::failed(format!("the grades cannot be written to {}: {error}", path.display()))
        })?,
        None => terminal::print(&written),
    }
    Ok(ExitCode::SUCCESS)
}

/// What holds of a server's confinement here; a process finds out that goes the same way as the servers.
fn confined(no_landlock: bool) -> Result<confine::Confinement, LabError> {
    if !cfg!(target_os = "linux") {
        let missing = vec!["servers are confined on Linux only: an attempt can do what its grader can".into()];
        return Ok(confine::Confinement { missing, ..confine::Confinement::default() });
    }
    let mut lab: Command = supervise::lab();
    lab.args(["confine", "--report"]).args(grade::confinement(grade::own_user(), no_landlock));
    let output = lab.output().map_err(|error| LabError::failed(format!("cannot start the lab once more: {error}")))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        LabError::failed(format!("servers cannot be confined here, so none is run: {}", said.trim_end()))
    })
}

fn progress(grade: &Grade, palette: Palette) -> String {
    let points = format!("{:.2}/{}", grade.score, grade.max_score);
    let points = if grade.state == AttemptState::Passed { palette.good(&points) } else { points };
    let (passed, tried) = grade.passed();
    let checks = if tried > 0 { format!("{passed} of {tried} checks") } else { String::new() };
    let note = grade.note.lines().next().unwrap_or_default();
    let why = [checks.as_str(), note].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("; ");
    format!("{}  {points}  {why}  {}", grade.name, palette.faint(&duration(grade.seconds)))
}

/// Files that look like attempts and are no exercise's: a student may have misnamed one.
fn ignored(folder: &Path, exercises: &[Exercise]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let known = |name: &str| exercises.iter().any(|exercise| name == exercise.name);
    let mut strange: Vec<String> =
        names.filter(|name| name.strip_suffix(".rs").is_some_and(|name| !known(name))).collect();
    strange.sort();
    strange.iter().map(|name| format!("ignored: {} is named like no exercise", terminal::clean(name, 80))).collect()
}
