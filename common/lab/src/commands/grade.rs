//! `cargo lab grade`: all attempts, as points.
//!
//! Invariant: exit code 0 means that every attempt has a grade, however good or bad.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::checking::results::duration;
use crate::class::shard::Shard;
use crate::course::{self, Extent};
use crate::error::LabError;
use crate::grading::apart::Apart;
use crate::grading::compile::AttemptCompiler;
use crate::grading::formats::{Grades, Show, Visibility};
use crate::grading::grade::{self, Grader, Without};
use crate::grading::{AttemptState, Grade, confine, supervise};
use crate::interrupt::Interrupt;
use crate::report;
use crate::terminal::{self, Palette};
use crate::workspace;

const EXAMPLES: &str = "\
Examples:
  cargo lab grade                                   all attempts, as text
  cargo lab grade --only 13 14                      two exercises
  cargo lab grade --format gradescope --attempts DIR --output results.json
  cargo lab grade --format github >> \"$GITHUB_OUTPUT\"
  cargo lab grade --format html --output grades.html
  cargo lab grade --class submissions --format html --output grades
  cargo lab grade --class submissions --format csv --output grades.csv
  cargo lab grade --class submissions --shard 2/6 --format json --output part-2.json

The attempt at an exercise is the file of its name in the folder: 12_slots.rs (cargo lab list shows the names). A folder is \
one student's. A .rs file of another name is ignored, and this is said. --class grades a folder of such folders. What is \
graded is kept in the folder of the results. So the same command goes on where an earlier run was ended.

A missing attempt, an attempt that does not compile, and the untouched starter get 0 points. An attempt gets all points \
if it mends every check that the starter fails, and breaks no other. If one of the starter's failures is left, the attempt \
gets at most half of the points. If it only breaks something else, it gets at most three quarters.

Exit code: 0 all attempts were graded; 1 grading failed; 2 wrong command line.";

/// Grade attempts: points for each exercise, with the reasons
///
/// Each attempt is compiled from a copy and checked in its own process. Its server is confined: it has limits on time,
/// memory, files and processes. If the grader is root, it runs as its own user. If the kernel has Landlock, Landlock
/// confines it too.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct GradeArgs {
    /// Grade only these exercises, by number or name
    #[arg(long, value_name = "NN", num_args = 1..)]
    pub(super) only: Vec<String>,
    /// The format of the grades
    #[arg(long, value_enum, default_value_t = GradeFormat::Text)]
    pub(super) format: GradeFormat,
    /// The folder with the attempts [default: exercises/attempts]
    #[arg(long, value_name = "DIR")]
    attempts: Option<PathBuf>,
    /// Grade a class: a folder that has a folder for each student
    #[arg(long, value_name = "DIR", conflicts_with = "attempts")]
    class: Option<PathBuf>,
    /// Where a class's results are kept [default: beside the class, with -results behind its name]
    #[arg(long, value_name = "DIR", requires = "class")]
    pub(super) results: Option<PathBuf>,
    /// How many attempts of a class are graded at once
    #[arg(long, value_name = "N", requires = "class", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(super) jobs: u64,
    /// Grade one part of a class: 1/4 is the first of four. Put the JSON of all parts together with cargo lab merge
    #[arg(long, value_name = "m/n", requires = "class")]
    pub(super) shard: Option<Shard>,
    /// Only say what is found in a class, and grade nothing
    #[arg(long, requires = "class")]
    pub(super) dry_run: bool,
    /// How much of a failure is shown
    #[arg(long, value_enum, default_value_t)]
    pub(super) show: Show,
    /// Who sees the tests on Gradescope
    #[arg(long, value_enum, default_value_t)]
    pub(super) visibility: Visibility,
    /// Where to write the grades [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Stop an attempt whose checks take longer; time in which tasks wait for a processor counts a quarter
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) timeout: u64,
    /// Run only the exercise's own checks and quick ones: no grade, but a fast answer for the lab's own tests
    #[arg(long, hide = true)]
    pub(super) quick: bool,
    /// Do as on a kernel without Landlock
    #[arg(long, hide = true)]
    pub(super) no_landlock: bool,
    /// Do as on a kernel without seccomp
    #[arg(long, hide = true)]
    pub(super) no_seccomp: bool,
    /// Do as where no namespaces may be made
    #[arg(long, hide = true)]
    pub(super) no_namespaces: bool,
}

/// A format of the grades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GradeFormat {
    /// Text, for people
    Text,
    /// A row for each student, for spreadsheets
    Csv,
    /// JSON with all there is, for programs
    Json,
    /// HTML: a page for the student; of a class, a table for the teacher and a page for each student
    Html,
    /// JUnit XML, for CI systems
    Junit,
    /// Gradescope's results.json
    Gradescope,
    /// Autolab: feedback, and in the last line the scores
    Autolab,
    /// PrairieLearn's results.json
    Prairielearn,
    /// The step output that GitHub Classroom's reporter reads; the text goes to stderr
    Github,
}

impl GradeFormat {
    /// One student's grades. The folder is the student's.
    pub(super) fn written(self, grades: &Grades, visibility: Visibility, folder: &Path, palette: Palette) -> String {
        match self {
            Self::Text => grades.text(palette),
            Self::Csv => grades.csv(&folder.file_name().unwrap_or_default().to_string_lossy()),
            Self::Json => grades.json(),
            Self::Html => report::student(grades, &folder.file_name().unwrap_or_default().to_string_lossy()),
            Self::Junit => grades.junit(),
            Self::Gradescope => grades.gradescope(visibility),
            Self::Autolab => grades.autolab(),
            Self::Prairielearn => grades.prairielearn(),
            Self::Github => grades.github(),
        }
    }
}

impl GradeArgs {
    /// What is switched off.
    pub(super) fn without(&self) -> Without {
        Without { landlock: self.no_landlock, seccomp: self.no_seccomp, namespaces: self.no_namespaces }
    }
}

/// Grades each attempt, and writes the grades.
pub fn run(args: &GradeArgs) -> Result<ExitCode, LabError> {
    let root = workspace::root()?;
    let all = course::of_teacher(&root)?;
    let names: Vec<String> = all.iter().map(|exercise| exercise.name.clone()).collect();
    let exercises = course::exercise::chosen(all, &args.only)?;
    if let Some(class) = &args.class {
        return super::grade_class::run(args, class, &names, &exercises);
    }
    let folder = args.attempts.clone().unwrap_or_else(|| root.join("exercises/attempts"));
    if !folder.is_dir() {
        let why = if folder.exists() {
            "it is not a folder; give the folder that has the files of one student"
        } else {
            "there is no such folder"
        };
        return Err(LabError::usage(format!("--attempts {}: {why}", folder.display())));
    }
    refuse_links(&folder)?;
    // Now, and not after everything was graded.
    args.output.as_deref().map_or(Ok(()), require_writable)?;
    let interrupt = Interrupt::watch()?;
    supervise::adopt_orphans()?;
    let start = Instant::now();
    let without = args.without();
    let confined = confined(without)?;
    confined.missing.iter().for_each(|what| terminal::complain(&format!("not confined: {what}")));
    let compiler = AttemptCompiler::prepare(&interrupt, !args.no_landlock)?;
    let time = Duration::from_secs(args.timeout);
    let extent = if args.quick { Extent::Quick } else { Extent::Whole };
    let grader = Grader {
        compiler: &compiler,
        time,
        confined: &confined,
        extent,
        without,
        starts: false.into(),
        interrupt: &interrupt,
    };
    let wanted: Vec<&str> = exercises.iter().map(|exercise| exercise.name.as_str()).collect();
    let ignored = ignored(&folder, &names, &wanted);
    ignored.iter().for_each(|file| terminal::complain(file));
    let mut grades = Vec::new();
    for exercise in &exercises {
        let grade = grader.grade(exercise, Some(&folder.join(format!("{}.rs", exercise.name))))?;
        terminal::complain(&progress(&grade, Palette::stderr()));
        grades.push(grade);
    }
    let mut grades = Grades::new(grades, &confined, ignored, start.elapsed().as_secs_f64());
    grades.show = args.show;
    if args.format == GradeFormat::Github {
        terminal::complain(grades.log().trim_end());
    }
    let palette = if args.output.is_some() { Palette::plain() } else { Palette::stdout() };
    let written = args.format.written(&grades, args.visibility, &folder, palette);
    match &args.output {
        Some(path) => fs::write(path, written).map_err(|error| {
            LabError::failed(format!("the grades cannot be written to {}: {error}", path.display()))
        })?,
        None => terminal::print(&written),
    }
    Ok(ExitCode::SUCCESS)
}

/// An error if any part of the path is a symbolic link: a student may have put it there, and it may lead to the solutions.
fn refuse_links(folder: &Path) -> Result<(), LabError> {
    let absolute = std::path::absolute(folder)
        .map_err(|error| LabError::usage(format!("--attempts {}: {error}", folder.display())))?;
    let is_link = |path: &&Path| fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink());
    match absolute.ancestors().find(is_link) {
        None => Ok(()),
        Some(link) => {
            let real = absolute.canonicalize().unwrap_or_else(|_| absolute.clone());
            Err(LabError::usage(format!(
                "--attempts {}: {} is a symbolic link, which could lead anywhere; if you have made it, give {}",
                folder.display(),
                link.display(),
                real.display()
            )))
        }
    }
}

/// An error unless the path can be a file's.
pub(super) fn require_writable(output: &Path) -> Result<(), LabError> {
    if output.is_dir() {
        return Err(LabError::usage(format!("--output {}: it is a folder; give a file in it", output.display())));
    }
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(LabError::usage(format!("--output {}: there is no folder for it", output.display())));
    }
    Ok(())
}

/// How far a server can be confined here. A process that is confined in the same way finds out.
pub(super) fn confined(without: Without) -> Result<confine::Confinement, LabError> {
    if !cfg!(target_os = "linux") {
        let missing = vec!["servers are confined on Linux only: an attempt can do what its grader can".into()];
        return Ok(confine::Confinement { missing, ..confine::Confinement::default() });
    }
    // The most first. Why there is no more is what the first attempt said.
    let all = [Some(Apart::Everything), Some(Apart::Network), None];
    let (tried, mut why) = match without.namespaces {
        true => (&all[2..], Some("they are switched off".to_owned())),
        false => (&all[..], None),
    };
    for &apart in tried {
        match confined_in(apart, without)? {
            Ok(mut confined) => {
                confined.missing.extend(why.map(|why| lacks(apart, &why)));
                return Ok(confined);
            }
            Err(said) if apart.is_none() => {
                return Err(LabError::failed(format!("servers cannot be confined here, so none is run: {said}")));
            }
            Err(said) => why = why.or(Some(said)),
        }
    }
    unreachable!("the last one ends the loop")
}

/// What a server can do that is not apart in everything.
fn lacks(apart: Option<Apart>, why: &str) -> String {
    match apart {
        Some(_) => format!(
            "no process ids and mounts of its own ({why}): a server sees the processes of this machine, and writes files \
             unless Landlock forbids it"
        ),
        None => format!(
            "no namespaces ({why}): a server shares this machine's network and sees its processes, and reaches them \
             unless Landlock or the filter of system calls forbids it"
        ),
    }
}

/// As `confined`, in these namespaces; why that is not possible, if it is not.
fn confined_in(apart: Option<Apart>, without: Without) -> Result<Result<confine::Confinement, String>, LabError> {
    let mut lab: Command = supervise::lab();
    if let Some(from) = apart {
        lab.args(["apart", "--from", from.word(), "--"]).arg(supervise::lab_path());
    }
    let uid = grade::own_user();
    lab.args(["confine", "--report", "--io-uring"]).args(grade::confinement(uid, without, apart));
    if let Some(uid) = uid {
        lab.args(["--uid", &uid.to_string()]);
    }
    let output = lab.output().map_err(|error| LabError::failed(format!("cannot start the lab once more: {error}")))?;
    let confined = serde_json::from_slice::<confine::Confinement>(&output.stdout);
    Ok(match confined {
        Ok(confined) => Ok(confine::Confinement { apart, ..confined }),
        Err(_) => Err(terminal::clean(String::from_utf8_lossy(&output.stderr).trim_start_matches("error: "), 300)
            .trim_end()
            .to_owned()),
    })
}

/// One attempt in a line, as it is graded.
fn progress(grade: &Grade, palette: Palette) -> String {
    let points = format!("{:.2}/{}", grade.score, grade.max_score);
    let points = if grade.state == AttemptState::Passed { palette.good(&points) } else { points };
    let (passed, tried) = grade.passed();
    let checks = if tried > 0 { format!("{passed} of {tried} checks") } else { String::new() };
    let note = grade.note.lines().next().unwrap_or_default();
    let why = [checks.as_str(), note].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("; ");
    format!("{}  {points}  {why}  {}", grade.name, palette.faint(&duration(grade.seconds)))
}

/// Files that look like attempts and belong to no exercise: a student may have misnamed an attempt. If it looks like one
/// of another exercise than is wanted, it is of no interest.
fn ignored(folder: &Path, names: &[String], wanted: &[&str]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    let mut strange = Vec::new();
    for file in files {
        let Some(name) = attempts_name(&file).filter(|name| !names.iter().any(|known| known == name)) else { continue };
        let meant = meant(name, names);
        if meant.is_some_and(|meant| !wanted.contains(&meant)) {
            continue;
        }
        let guess = meant.map_or_else(String::new, |meant| format!(": is it {meant}.rs?"));
        let shown = terminal::clean(&file.escape_debug().to_string(), 80);
        strange.push(format!("ignored: {shown} belongs to no exercise{guess}"));
    }
    strange
}

/// The name without `.rs`, or without `.rs.txt`, which a browser may make of that.
fn attempts_name(file: &str) -> Option<&str> {
    let lower = file.to_ascii_lowercase();
    [".rs", ".rs.txt"].iter().find(|end| lower.ends_with(**end)).map(|end| &file[..file.len() - end.len()])
}

/// The exercise that a misnamed file may belong to: the one of its number, or else the one that is called nearly so.
fn meant<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let number =
        |name: &str| name[..name.find(|it: char| !it.is_ascii_digit()).unwrap_or(name.len())].parse::<u32>().ok();
    let of_number = number(name).and_then(|wanted| names.iter().find(|it| number(it) == Some(wanted)));
    let called = |it: &'a String| it.split_once('_').map_or(it.as_str(), |(_, name)| name);
    of_number.map(String::as_str).or_else(|| {
        let nearest = cargo_lab::names::nearest(&name.to_ascii_lowercase(), names.iter().map(called))?;
        names.iter().find(|it| called(it) == nearest).map(String::as_str)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misnamed_file_is_told_with_the_exercise_that_it_may_belong_to() {
        let names = ["08_nfds", "12_slots"].map(String::from);
        let meant = |file: &str| attempts_name(file).map(|name| meant(name, &names).unwrap_or("none"));
        assert_eq!(meant("12_slot.rs"), Some("12_slots"));
        assert_eq!(meant("08_nfds (1).rs"), Some("08_nfds"));
        assert_eq!(meant("8.rs"), Some("08_nfds"));
        assert_eq!(meant("slots.rs"), Some("12_slots"));
        assert_eq!(meant("12_slots.RS.txt"), Some("12_slots"));
        assert_eq!(meant("99_else.rs"), Some("none"));
        assert_eq!(meant("12_slots.rs.1"), None);
        assert_eq!(meant("Cargo.toml"), None);
    }
}
