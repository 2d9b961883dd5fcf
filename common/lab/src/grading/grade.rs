//! What an attempt is worth, and why.
//!
//! Invariant: every check of an exercise counts once: by its report, or as failed if it has no report. Points are
//! withheld only where this machine cannot check anybody's attempt: not even the solution.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::{Failure, Model, Outcome, Report, Symptom};
use serde::{Deserialize, Serialize};

use super::apart::Apart;
use super::compile::{AttemptCompiler, Compilation};
use super::confine;
use super::formats::Show;
use super::scrub::Scrubber;
use super::supervise::{self, EndCause, ProcessEnd, ProcessLimits};
use super::worker::{Secret, WorkerMessage};
use crate::checking::results;
use crate::course::{Exercise, Extent, JudgedChecks, Judgement};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::{terminal, workspace};

/// For all processes of an attempt together.
const MEMORY: u64 = 1 << 30;
/// Characters of each text of a report; a server's last words may be long.
const SAID: usize = 2000;
/// No check is given up for its time so soon; one that is skipped sooner is skipped for what it has seen.
const GIVEN_UP: f64 = 5.0;
/// How many times the solution's time is a time that the attempt alone explains.
const FAR_SOONER: f64 = 3.0;
/// What a check without a report is said to have found.
pub const NOT_RUN: &str = "not run: the attempt was stopped before this check";
/// Ranges of user ids that nobody else has: the first is far above what systems assign, the second is for containers
/// with only 65536 ids.
const USERS: [(u32, u32); 2] = [(0x7000_0000, 0x0100_0000), (40_000, 20_000)];

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptState {
    /// It passes everything.
    Passed,
    /// It fails something.
    Failed,
    /// There is no attempt.
    Missing,
    /// It is the starter.
    Untouched,
    /// It does not compile.
    NotCompiled,
    /// The grader refused to compile it or to run it.
    Refused,
    /// Its server ended, or did something else, instead of accepting connections.
    NotStarted,
    /// Its server was started, and still ran when its time to accept connections was over.
    Hung,
    /// It used up its time or memory, or ended the process that checks it.
    Stopped,
    /// This machine cannot check any attempt at this exercise.
    Withheld,
}

impl AttemptState {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Passed,
        Self::Failed,
        Self::Missing,
        Self::Untouched,
        Self::NotCompiled,
        Self::Refused,
        Self::NotStarted,
        Self::Hung,
        Self::Stopped,
        Self::Withheld,
    ];

    /// The state in words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Untouched => "untouched",
            Self::NotCompiled => "not compiled",
            Self::Refused => "refused",
            Self::NotStarted => "not started",
            Self::Hung => "hung",
            Self::Stopped => "stopped",
            Self::Withheld => "withheld",
        }
    }
}

/// A grade.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grade {
    /// The exercise's number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What became of the attempt.
    pub state: AttemptState,
    /// Points won, to the hundredth.
    pub score: f64,
    /// Points to win: the exercise's, or 0 if they are withheld.
    pub max_score: f64,
    /// How long it took, with compiling.
    pub seconds: f64,
    /// What there is to say beside the reports.
    pub note: String,
    /// How many of the reports are of the exercise's own checks.
    pub own_checks: usize,
    /// A report for each check, the exercise's own checks first; empty if no check was run.
    pub reports: Vec<Report>,
}

/// What a kernel may lack, and does in a test.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Without {
    /// Landlock.
    pub landlock: bool,
    /// Filters of system calls.
    pub seccomp: bool,
    /// Namespaces.
    pub namespaces: bool,
}

/// What the process that checks a program has told, and how it ended.
#[derive(Debug)]
struct Checked {
    reports: Vec<Report>,
    not_started: Option<String>,
    /// It did not start because it hung.
    hung: bool,
    done: bool,
    tampered: Option<String>,
    ended: ProcessEnd,
}

impl Checked {
    fn state(&self) -> AttemptState {
        match self.ended.end {
            _ if self.done => AttemptState::Passed,
            EndCause::Exited(_) if self.hung => AttemptState::Hung,
            EndCause::Exited(_) if self.not_started.is_some() => AttemptState::NotStarted,
            _ => AttemptState::Stopped,
        }
    }

    fn note(&self, time: Duration) -> String {
        let mut note = match (&self.ended.end, &self.not_started) {
            _ if self.done => String::new(),
            (EndCause::Exited(_), Some(why)) => format!("nothing was checked: {why}"),
            (EndCause::Exited(status), None) => {
                format!("the process that checks it ended with {}", observe::errno::end_of_process(*status))
            }
            (EndCause::TimeUp, _) => format!("stopped: it used up its {} s", time.as_secs()),
            (EndCause::Flooded, _) => "stopped: the process that checks it wrote without end".into(),
            (EndCause::OutOfMemory, _) => format!("stopped: it used more than {} MiB of memory", MEMORY >> 20),
        };
        if matches!(self.ended.end, EndCause::Exited(_)) && self.ended.strays > 0 {
            let processes = if self.ended.strays == 1 { "process" } else { "processes" };
            let left = format!("it left {} {processes} behind, which were ended", self.ended.strays);
            note = if note.is_empty() { left } else { format!("{note}; {left}") };
        }
        note
    }
}

/// A copy of a program that every user can start: the attempt's own user may not enter the folder of the workspace.
#[derive(Debug)]
struct PublicCopy {
    folder: PathBuf,
    path: PathBuf,
}

impl PublicCopy {
    fn of(program: &Path, name: &str) -> Result<Self, LabError> {
        // Programs cannot be started from some folders of temporary files.
        let places = [std::env::temp_dir(), "/var/tmp".into(), "/dev/shm".into()];
        let place = places.iter().find(|place| starts_programs(place)).ok_or_else(|| {
            LabError::failed(format!(
                "no program can be started from {}, because it is mounted noexec, nor from /var/tmp or /dev/shm; set \
                 TMPDIR to a folder where programs can be started",
                places[0].display()
            ))
        })?;
        let folder = place.join(format!("lab-grade-{}", std::process::id()));
        let copy = Self { path: folder.join(name), folder };
        let cannot = |error: std::io::Error| {
            LabError::failed(format!("copy the attempt's program to {}: {error}", copy.folder.display()))
        };
        let _ = std::fs::remove_dir_all(&copy.folder);
        std::fs::create_dir(&copy.folder).map_err(cannot)?;
        std::fs::copy(program, &copy.path).map_err(cannot)?;
        for path in [&copy.folder, &copy.path] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(cannot)?;
        }
        Ok(copy)
    }
}

/// Whether a program in this folder can be started, as far as that can be asked.
fn starts_programs(folder: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        let noexec = rustix::fs::StatVfsMountFlags::NOEXEC;
        rustix::fs::statvfs(folder).is_ok_and(|it| !it.f_flag.contains(noexec))
    }
    #[cfg(not(target_os = "linux"))]
    folder.is_dir()
}

impl Drop for PublicCopy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// How attempts are graded.
#[derive(Debug)]
pub struct Grader<'a> {
    /// Compiles them.
    pub compiler: &'a AttemptCompiler,
    /// How long the checks of one attempt may take.
    pub time: Duration,
    /// How far servers can be confined here.
    pub confined: &'a confine::Confinement,
    /// How much of the suite an attempt has to pass.
    pub extent: Extent,
    /// What is switched off.
    pub without: Without,
    /// Whether a server has been started on this machine.
    pub starts: Cell<bool>,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
}

impl Grader<'_> {
    /// Grades one attempt.
    pub fn grade(&self, exercise: &Exercise, attempt: Option<&Path>) -> Result<Grade, LabError> {
        let start = Instant::now();
        let mut grade = self.grade_unmeasured(exercise, attempt)?;
        grade.seconds = (start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        Ok(grade)
    }

    fn grade_unmeasured(&self, exercise: &Exercise, attempt: Option<&Path>) -> Result<Grade, LabError> {
        let nothing = |state, note: String| Ok(Grade::of(exercise, state, note, Vec::new(), 0.0));
        if let (Model::Completion, Some(why)) = (exercise.about.model, &self.confined.no_io_uring) {
            return nothing(AttemptState::Withheld, format!("points withheld: servers get no io_uring here ({why})"));
        }
        let missing = || {
            let how = format!("no attempt: there is no {}.rs (cargo lab start {:02})", exercise.name, exercise.number);
            nothing(AttemptState::Missing, how)
        };
        let Some(attempt) = attempt else { return missing() };
        if untouched(exercise, attempt) {
            return nothing(AttemptState::Untouched, "it is the starter, unchanged".into());
        }
        let program = match self.compiler.compile(&exercise.name, attempt, self.interrupt)? {
            Compilation::Program(program) => program,
            Compilation::Missing => return missing(),
            Compilation::Refused(why) => {
                return nothing(
                    AttemptState::Refused,
                    format!("refused: {}", self.scrubber(exercise, None).scrub(&why)),
                );
            }
            // On one line with the compiler's first line: the progress on stderr shows only one.
            Compilation::Wrong(said) => {
                let said = self.scrubber(exercise, None).scrub(said.trim_start());
                return nothing(AttemptState::NotCompiled, format!("it does not compile: {said}"));
            }
        };
        self.check(exercise, &program)
    }

    fn check(&self, exercise: &Exercise, program: &Path) -> Result<Grade, LabError> {
        let copy = PublicCopy::of(program, &exercise.name)?;
        let mut checked = self.work(exercise, &copy, &[])?;
        if let Some(what) = checked.tampered {
            let note = format!("refused: the attempt changed the {what} of the process that checks it");
            return Ok(Grade::of(exercise, AttemptState::Refused, note, Vec::new(), 0.0));
        }
        match checked.state() {
            AttemptState::NotStarted | AttemptState::Hung if !self.starts.get() => {
                self.require_a_server_that_starts(exercise)?;
            }
            AttemptState::NotStarted | AttemptState::Hung => {}
            _ => self.starts.set(true),
        }
        self.try_skipped_again(exercise, &copy, &mut checked)?;
        let (state, note) = (checked.state(), checked.note(self.time));
        Ok(verdict(exercise, self.extent, state, note, checked.reports))
    }

    /// A check of the exercise's own that was skipped is run once more. If it is skipped again, the solution shows
    /// whether this machine or the attempt prevents it.
    fn try_skipped_again(&self, exercise: &Exercise, copy: &PublicCopy, checked: &mut Checked) -> Result<(), LabError> {
        let own = |name: &str| exercise.about.must_pass.iter().any(|proof| proof.check == name);
        let skipped = |report: &Report| own(&report.check) && matches!(report.outcome, Outcome::Skip { .. });
        let names = |reports: &[Report]| -> Vec<String> {
            reports.iter().filter(|it| skipped(it)).map(|it| it.check.clone()).collect()
        };
        let first = names(&checked.reports);
        if first.is_empty() || !checked.done {
            return Ok(());
        }
        let again = self.work(exercise, copy, &first)?.reports;
        for report in &mut checked.reports {
            if let Some(again) = again.iter().find(|again| again.check == report.check) {
                *report = again.clone();
            }
        }
        let second = names(&checked.reports);
        if second.is_empty() {
            return Ok(());
        }
        let runs_here = self.solution(exercise, &second)?.reports;
        let is_tried = |skipped: &Report| {
            let tried = |it: &&Report| it.check == skipped.check && !matches!(it.outcome, Outcome::Skip { .. });
            // A check that took long was given up for its time: a busy machine may have taken that.
            let far_sooner = |it: &Report| skipped.seconds < GIVEN_UP || FAR_SOONER * it.seconds < skipped.seconds;
            runs_here.iter().find(tried).is_some_and(far_sooner)
        };
        for report in checked.reports.iter_mut().filter(|report| second.contains(&report.check)) {
            let Outcome::Skip { reason } = &report.outcome else { continue };
            if is_tried(report) {
                let what = format!("this check was run twice and could not be carried out: {reason}");
                let cause =
                    "On this machine the same check can be carried out on another server: the attempt prevents it.";
                report.outcome = Outcome::Fail(Failure::new(Symptom::Contract, what, cause));
            }
        }
        Ok(())
    }

    /// An error if no server can be started on this machine: then no attempt is to blame.
    fn require_a_server_that_starts(&self, exercise: &Exercise) -> Result<(), LabError> {
        let solution = self.solution(exercise, &[String::from("none")])?;
        match solution.state() {
            AttemptState::Passed => {
                self.starts.set(true);
                Ok(())
            }
            _ => Err(LabError::failed(format!(
                "no server can be checked on this machine, so nobody gets a grade; the solution of {} too: {}",
                exercise.name,
                solution.note(self.time)
            ))),
        }
    }

    /// What the exercise's solution shows, in the place of the attempt.
    fn solution(&self, exercise: &Exercise, checks: &[String]) -> Result<Checked, LabError> {
        let compilation = self.compiler.compile(&exercise.name, &exercise.file("solution.rs"), self.interrupt)?;
        let Compilation::Program(program) = compilation else {
            return Err(LabError::failed(format!(
                "the solution of {} does not compile: {compilation:?}",
                exercise.name
            )));
        };
        self.work(exercise, &PublicCopy::of(&program, &exercise.name)?, checks)
    }

    /// Checks a program in a process of its own: these checks, or all.
    fn work(&self, exercise: &Exercise, program: &PublicCopy, checks: &[String]) -> Result<Checked, LabError> {
        let uid = own_user();
        let mut worker = supervise::lab();
        if let Some(from) = self.confined.apart {
            worker.args(["apart", "--from", from.word(), "--"]).arg(supervise::lab_path());
        }
        worker.args(["grade-worker", "--exercise", &exercise.name, "--server"]).arg(&program.path);
        if self.extent == Extent::Quick {
            worker.arg("--quick");
        }
        worker.args(checks.iter().flat_map(|check| ["--check", check]));
        if cfg!(target_os = "linux") {
            if let Some(uid) = uid {
                worker.args(["--uid", &uid.to_string()]);
            }
            worker.arg("--").args(self.confine(exercise, uid));
        }
        worker.stderr(std::process::Stdio::null());
        let secret = Secret::new()?;
        let limits = ProcessLimits { time: self.time, memory: MEMORY, uid };
        let (mut reports, mut not_started, mut done, mut tampered) = (Vec::new(), None, false, None);
        let mut hung = false;
        let scrubber = self.scrubber(exercise, Some(&program.folder));
        let ended = supervise::run(&mut worker, &secret.line(), limits, self.interrupt, |line| {
            let Some(news) = secret.opens(&line) else { return };
            match serde_json::from_str(news) {
                Ok(WorkerMessage::Checked(report)) => reports.push(cleaned(*report, &scrubber)),
                Ok(WorkerMessage::NotStarted { why, hangs }) => {
                    not_started = Some(terminal::clean(&scrubber.scrub(&why), SAID));
                    hung = hangs;
                }
                Ok(WorkerMessage::Done) => done = true,
                Ok(WorkerMessage::Tampered(what)) => tampered = Some(what),
                // The writer was killed in the middle of a line: that check has no report.
                Err(_) => {}
            }
        })?;
        Ok(Checked { reports, not_started, hung, done, tampered, ended })
    }

    /// Takes the grader's paths out of a text. An attempt's own file is known by its name.
    fn scrubber(&self, exercise: &Exercise, program: Option<&Path>) -> Scrubber {
        let place = self.compiler.place(&exercise.name);
        let root = workspace::root().unwrap_or_default();
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        let rustup = std::env::var_os("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), PathBuf::from);
        let folders =
            [(place.as_path(), ""), (&root, ""), (&cargo, "~/.cargo/"), (&rustup, "~/.rustup/"), (&home, "~/")];
        Scrubber::new(folders.into_iter().chain(program.map(|it| (it, ""))))
    }

    /// The words before a program's path that confine it.
    fn confine(&self, exercise: &Exercise, uid: Option<u32>) -> Vec<String> {
        let mut words = vec![supervise::lab_path().to_string_lossy().into_owned(), "confine".into()];
        words.extend(confinement(uid, self.without, self.confined.apart));
        if exercise.about.model == Model::Completion {
            words.push("--io-uring".into());
        }
        words.push("--".into());
        words
    }
}

/// The options of `confine` for a server, but for its user.
pub fn confinement(uid: Option<u32>, without: Without, apart: Option<Apart>) -> Vec<String> {
    let mut words = Vec::new();
    if uid.is_none() {
        // The limit counts all processes of the user, so those that run already are added.
        words.extend(["--processes".into(), (confine::PROCESSES + running()).to_string()]);
    }
    let options = [
        ("--no-landlock", without.landlock),
        ("--no-seccomp", without.seccomp),
        ("--apart", apart == Some(Apart::Everything)),
    ];
    words.extend(options.into_iter().filter(|(_, on)| *on).map(|(option, _)| option.to_owned()));
    words
}

/// A user id for one attempt; nothing if this process may not change its user, or has no such id.
pub fn own_user() -> Option<u32> {
    if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
        return None;
    }
    let users: Vec<Vec<u64>> = ["/proc/self/uid_map", "/proc/self/gid_map"]
        .map(|map| std::fs::read_to_string(map).unwrap_or_default())
        .iter()
        .flat_map(|map| map.lines().map(|line| line.split_whitespace().filter_map(|it| it.parse().ok()).collect()))
        .collect();
    let in_reach =
        |uid: u64| users.iter().filter(|it| it.len() == 3 && it[0] <= uid && uid < it[0] + it[2]).count() == 2;
    USERS.into_iter().map(|(first, count)| first + std::process::id() % count).find(|uid| in_reach((*uid).into()))
}

/// The processes and threads of this user.
fn running() -> u64 {
    let own = rustix::process::getuid().as_raw();
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let threads = |entry: std::fs::DirEntry| {
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next();
        (field("Uid:")?.parse() == Ok(own)).then(|| field("Threads:")?.parse::<u64>().ok())?
    };
    entries.flatten().filter_map(threads).sum()
}

/// Whether an attempt is the starter, whatever happened to its line ends.
fn untouched(exercise: &Exercise, attempt: &Path) -> bool {
    let is_file = std::fs::symlink_metadata(attempt).is_ok_and(|it| it.is_file() && it.len() < 1 << 20);
    let lines = |path: &Path| {
        std::fs::read_to_string(path)
            .ok()
            .map(|text| text.lines().map(|it| it.trim_end().to_owned()).collect::<Vec<_>>())
    };
    is_file && lines(attempt).is_some_and(|text| Some(text) == lines(&exercise.file("starter.rs")))
}

/// The grade for these reports. It has this `state` if no report is a failure.
fn verdict(exercise: &Exercise, extent: Extent, state: AttemptState, note: String, reports: Vec<Report>) -> Grade {
    if matches!(state, AttemptState::NotStarted | AttemptState::Hung) {
        return Grade::of(exercise, state, note, Vec::new(), 0.0);
    }
    let is_there = |name: &String| reports.iter().any(|report| report.check == *name);
    let judged = JudgedChecks::of(exercise, extent);
    let not_run = judged.names().filter(|name| !is_there(name)).count();
    let of =
        |name: &str| reports.iter().find(|report| report.check == name).cloned().unwrap_or_else(|| unreported(name));
    let verdict = judged.judgement(judged.names().map(|name| Some(of(&name))));
    let (share, state, note) = match state {
        _ if verdict.untried() => (
            0.0,
            AttemptState::Withheld,
            join("points withheld: none of its own checks can be run on this machine", &note),
        ),
        AttemptState::Passed if !verdict.passed() => (verdict.share(), AttemptState::Failed, note),
        state => (verdict.share(), state, note),
    };
    let note = match results::skipped_here(verdict.all()) {
        Some(skipped) if state != AttemptState::Withheld => join(&format!("{skipped}; this costs no points"), &note),
        _ => note,
    };
    let note = match not_run {
        0 => note,
        _ => join(&note, &format!("{} not run, and count as failed", terminal::count(not_run, "check"))),
    };
    let note = if state == AttemptState::Failed { join(&why_not_all(&verdict), &note) } else { note };
    let reports = verdict.all().cloned().collect();
    Grade::of(exercise, state, note, reports, share)
}

/// The rule that an attempt breaks whose own checks say nothing of it.
fn why_not_all(verdict: &Judgement) -> String {
    let failed = |report: &&Report| matches!(report.outcome, Outcome::Fail(_));
    if let Some(report) = results::first_told(verdict.starter_failed.iter().filter(failed)) {
        return format!("the bug is still there: it fails {}, as the starter does", report.check);
    }
    let broken = results::first_told(verdict.starter_passed.iter().filter(failed));
    if let (true, Some(report)) = (verdict.is_mended(), broken) {
        return format!("the fix breaks clause {}, which the starter keeps: {}", report.clause, report.check);
    }
    String::new()
}

fn join(a: &str, b: &str) -> String {
    [a, b].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A report for a check that was not run.
fn unreported(name: &str) -> Report {
    let clause = harness::all_checks().find(|check| check.full_name() == name).map_or(1, |check| check.clause);
    let failure = Failure::new(Symptom::Slow, NOT_RUN, "");
    Report { check: name.to_owned(), clause, seconds: 0.0, outcome: Outcome::Fail(failure) }
}

/// A report whose texts may be shown in any terminal.
fn cleaned(mut report: Report, scrubber: &Scrubber) -> Report {
    if let Outcome::Skip { reason } = &mut report.outcome {
        *reason = terminal::clean(&scrubber.scrub(reason), SAID);
    }
    if let Outcome::Fail(failure) = &mut report.outcome {
        let Failure { what, steps, kernel, calls, said, cause, .. } = failure;
        [what, cause]
            .into_iter()
            .chain(steps)
            .chain(kernel)
            .chain(calls)
            .chain(said)
            .for_each(|text| *text = terminal::clean(&scrubber.scrub(text), SAID));
    }
    report
}

/// As much of a failure as is to be shown; it ends with an end of line.
pub fn shown(report: &Report, show: Show) -> String {
    match (&report.outcome, show) {
        (Outcome::Fail(_), Show::All) => report.explain().unwrap_or_default(),
        (Outcome::Fail(failure), Show::Causes) => {
            let cause = failure.cause.lines().map(|line| format!("  {line}\n")).collect::<String>();
            format!("{}\n  {}\n{cause}", report.check, failure.what)
        }
        _ => format!("{}\n", report.check),
    }
}

impl Grade {
    fn of(exercise: &Exercise, state: AttemptState, note: String, reports: Vec<Report>, share: f64) -> Self {
        let points = f64::from(exercise.about.points);
        let max_score = if state == AttemptState::Withheld { 0.0 } else { points };
        Self {
            number: exercise.number,
            name: exercise.name.clone(),
            title: exercise.about.title.clone(),
            state,
            score: (share * max_score * 100.0).round() / 100.0,
            max_score,
            seconds: 0.0,
            note,
            own_checks: exercise.about.must_pass.len(),
            reports,
        }
    }

    /// How many checks passed, and how many were tried.
    pub fn passed(&self) -> (usize, usize) {
        let tried = self.reports.iter().filter(|report| !matches!(report.outcome, Outcome::Skip { .. }));
        (self.reports.iter().filter(|report| matches!(report.outcome, Outcome::Pass)).count(), tried.count())
    }

    /// What the student is told: a line for each of the exercise's own checks, as much as `show` has of each failure, and how
    /// many others pass. What explains the others comes first: a failure in which the server ended or panicked.
    pub fn explain(&self, show: Show) -> String {
        let mut out = if self.note.is_empty() { String::new() } else { format!("{}\n", self.note) };
        let mut others = 0;
        let mut reports: Vec<(usize, &Report)> = self.reports.iter().enumerate().collect();
        reports.sort_by_key(|(_, report)| !results::is_an_end(report));
        for (place, report) in reports {
            match &report.outcome {
                Outcome::Pass if place >= self.own_checks => others += 1,
                Outcome::Pass => out += &format!("pass  {}\n", report.check),
                Outcome::Skip { reason } => out += &format!("skip  {} ({reason})\n", report.check),
                Outcome::Fail(failure) if failure.what == NOT_RUN => out += &format!("not run  {}\n", report.check),
                Outcome::Fail(_) => out += &format!("FAIL  {}", shown(report, show)),
            }
        }
        if others > 0 {
            out += &format!("pass  {} of the rest of the suite\n", terminal::count(others, "check"));
        }
        out
    }
}
