//! What an attempt is worth, and why.
//!
//! Invariant: every check of an exercise counts once: by its report, or as failed if it has no report. Points are
//! withheld only where this machine cannot check anybody's attempt.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Failure, Model, Outcome, Report, Symptom};
use serde::Serialize;

use super::compile::{AttemptCompiler, Compilation};
use super::confine;
use super::supervise::{self, EndCause, ProcessLimits};
use super::worker::WorkerMessage;
use crate::course::{Exercise, Extent, JudgedChecks, Judgement};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::terminal;

/// For all processes of an attempt together.
const MEMORY: u64 = 1 << 30;
/// Characters of each text of a report; a server's last words may be long.
const SAID: usize = 2000;
/// Ranges of user ids that nobody else has: the first is far above what systems assign, the second is for containers
/// with only 65536 ids.
const USERS: [(u32, u32); 2] = [(0x7000_0000, 0x0100_0000), (40_000, 20_000)];

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
    /// Its server did not come to accept connections.
    NotStarted,
    /// It used up its time or memory, or ended the process that checks it.
    Stopped,
    /// This machine cannot check any attempt at this exercise.
    Withheld,
}

/// A grade.
#[derive(Debug, Clone, Serialize)]
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
    /// Do as on a kernel without Landlock.
    pub no_landlock: bool,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
}

impl Grader<'_> {
    /// Grades one attempt.
    pub fn grade(&self, exercise: &Exercise, attempt: &Path) -> Result<Grade, LabError> {
        let start = Instant::now();
        let mut grade = self.grade_unmeasured(exercise, attempt)?;
        grade.seconds = (start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        Ok(grade)
    }

    fn grade_unmeasured(&self, exercise: &Exercise, attempt: &Path) -> Result<Grade, LabError> {
        let nothing = |state, note: String| Ok(Grade::of(exercise, state, note, Vec::new(), 0.0));
        if let (Model::Completion, Some(why)) = (exercise.about.model, &self.confined.no_io_uring) {
            return nothing(AttemptState::Withheld, format!("points withheld: servers get no io_uring here ({why})"));
        }
        if untouched(exercise, attempt) {
            return nothing(AttemptState::Untouched, "it is the starter, unchanged".into());
        }
        let program = match self.compiler.compile(&exercise.name, attempt, self.interrupt)? {
            Compilation::Program(program) => program,
            Compilation::Missing => {
                let how =
                    format!("no attempt: there is no {}.rs (cargo lab start {:02})", exercise.name, exercise.number);
                return nothing(AttemptState::Missing, how);
            }
            Compilation::Refused(why) => return nothing(AttemptState::Refused, format!("refused: {why}")),
            // On one line with the compiler's first line: the progress on stderr shows only one.
            Compilation::Wrong(said) => {
                return nothing(AttemptState::NotCompiled, format!("it does not compile: {}", said.trim_start()));
            }
        };
        self.check(exercise, &program)
    }

    fn check(&self, exercise: &Exercise, program: &Path) -> Result<Grade, LabError> {
        let uid = own_user();
        // The attempt's user must be able to start it, and may not enter the folder of the workspace.
        let public = std::env::temp_dir().join(format!("lab-grade-{}", std::process::id()));
        let cannot = |error| LabError::failed(format!("copy the attempt's program to {}: {error}", public.display()));
        let _ = std::fs::remove_dir_all(&public);
        std::fs::create_dir(&public).map_err(cannot)?;
        let copy = public.join(&exercise.name);
        std::fs::copy(program, &copy).map_err(cannot)?;
        for path in [&public, &copy] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(cannot)?;
        }
        let grade = self.check_copy(exercise, &copy, uid);
        let _ = std::fs::remove_dir_all(&public);
        grade
    }

    fn check_copy(&self, exercise: &Exercise, program: &Path, uid: Option<u32>) -> Result<Grade, LabError> {
        let mut worker = supervise::lab();
        worker.args(["grade-worker", "--exercise", &exercise.name, "--server"]).arg(program);
        if self.extent == Extent::Quick {
            worker.arg("--quick");
        }
        if cfg!(target_os = "linux") {
            if let Some(uid) = uid {
                worker.args(["--uid", &uid.to_string()]);
            }
            worker.arg("--").args(self.confine(uid));
        }
        worker.stderr(std::process::Stdio::null());
        let limits = ProcessLimits { time: self.time, memory: MEMORY, uid };
        let (mut reports, mut not_started, mut done) = (Vec::new(), None, false);
        let outcome = supervise::run(&mut worker, limits, self.interrupt, |line| {
            match serde_json::from_str(&line) {
                Ok(WorkerMessage::Checked(report)) => reports.push(cleaned(*report)),
                Ok(WorkerMessage::NotStarted(why)) => not_started = Some(terminal::clean(&why, SAID)),
                Ok(WorkerMessage::Done) => done = true,
                // The writer was killed in the middle of a line: that check has no report.
                Err(_) => {}
            }
        })?;
        let mut note = match outcome.end {
            _ if done => String::new(),
            EndCause::Exited(_) if not_started.is_some() => {
                format!("nothing was checked: {}", not_started.unwrap_or_default())
            }
            EndCause::Exited(status) => {
                format!("the process that checks it ended with {}", observe::errno::end_of_process(status))
            }
            EndCause::TimeUp => format!("stopped: it used up its {} s", self.time.as_secs()),
            EndCause::OutOfMemory => format!("stopped: it used more than {} MiB of memory", MEMORY >> 20),
        };
        let state = match outcome.end {
            _ if done => AttemptState::Passed,
            EndCause::Exited(_) if note.starts_with("nothing") => AttemptState::NotStarted,
            _ => AttemptState::Stopped,
        };
        if matches!(outcome.end, EndCause::Exited(_)) && outcome.strays > 0 {
            let processes = if outcome.strays == 1 { "process" } else { "processes" };
            note += &format!(
                "{}it left {} {processes} behind, which were ended",
                if note.is_empty() { "" } else { "; " },
                outcome.strays
            );
        }
        Ok(verdict(exercise, self.extent, state, note, reports))
    }

    /// The words before a program's path that confine it.
    fn confine(&self, uid: Option<u32>) -> Vec<String> {
        let mut words = vec![supervise::lab_path().to_string_lossy().into_owned(), "confine".into()];
        // The worker is that user already.
        words.extend(
            confinement(uid, self.no_landlock)
                .into_iter()
                .filter(|it| uid.is_none_or(|uid| it != "--uid" && *it != uid.to_string())),
        );
        words.push("--".into());
        words
    }
}

/// The options of `confine` for a server.
pub fn confinement(uid: Option<u32>, no_landlock: bool) -> Vec<String> {
    let mut words = Vec::new();
    match uid {
        Some(uid) => words.extend(["--uid".into(), uid.to_string()]),
        // The limit counts all processes of the user, so those that run already are added.
        None => words.extend(["--processes".into(), (confine::PROCESSES + running()).to_string()]),
    }
    if no_landlock {
        words.push("--no-landlock".into());
    }
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
    if state == AttemptState::NotStarted {
        return Grade::of(exercise, state, note, Vec::new(), 0.0);
    }
    let of = |name: &str| reports.iter().find(|report| report.check == name).cloned().unwrap_or_else(|| not_run(name));
    let judged = JudgedChecks::of(exercise, extent);
    let verdict = judged.judgement(judged.names().map(|name| Some(of(&name))));
    let skipped = |report: &Report| matches!(report.outcome, Outcome::Skip { .. });
    let (share, state, note) = match state {
        _ if verdict.untried() => (
            0.0,
            AttemptState::Withheld,
            join("points withheld: none of its own checks can be run on this machine", &note),
        ),
        AttemptState::Passed if !verdict.passed() => (verdict.share(), AttemptState::Failed, note),
        state => (verdict.share(), state, note),
    };
    let skips = verdict.all().filter(|report| skipped(report)).count();
    let note = match skips {
        0 => note,
        _ if state == AttemptState::Withheld => note,
        skips => {
            join(&format!("{} skipped here; the others have their points", terminal::count(skips, "check")), &note)
        }
    };
    let note = if state == AttemptState::Failed { join(&why_not_all(&verdict), &note) } else { note };
    let reports = verdict.all().cloned().collect();
    Grade::of(exercise, state, note, reports, share)
}

/// The rule that an attempt breaks whose own checks say nothing of it.
fn why_not_all(verdict: &Judgement) -> String {
    let failed = |report: &&Report| matches!(report.outcome, Outcome::Fail(_));
    if let Some(report) = verdict.starter_failed.iter().find(failed) {
        return format!("the bug is still there: the starter fails {} too", report.check);
    }
    let broken = verdict.starter_passed.iter().find(failed);
    if let (true, Some(report)) = (verdict.is_mended(), broken) {
        return format!("the fix breaks clause {}, which the starter keeps: {}", report.clause, report.check);
    }
    String::new()
}

fn join(a: &str, b: &str) -> String {
    if b.is_empty() { a.to_owned() } else { format!("{a}; {b}") }
}

/// A report for a check that was not run.
fn not_run(name: &str) -> Report {
    let clause = harness::all_checks().find(|check| check.full_name() == name).map_or(1, |check| check.clause);
    let failure = Failure::new(Symptom::Slow, "not run: the attempt was stopped before this check", "");
    Report { check: name.to_owned(), clause, seconds: 0.0, outcome: Outcome::Fail(failure) }
}

/// A report whose texts may be shown in any terminal.
fn cleaned(mut report: Report) -> Report {
    if let Outcome::Fail(failure) = &mut report.outcome {
        let Failure { what, steps, kernel, calls, said, cause, .. } = failure;
        [what, cause]
            .into_iter()
            .chain(steps)
            .chain(kernel)
            .chain(calls)
            .chain(said)
            .for_each(|text| *text = terminal::clean(text, SAID));
    }
    report
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

    /// What the student is told: a line for each of the exercise's own checks, each failure's story, and how many others
    /// pass.
    pub fn explain(&self) -> String {
        let mut out = if self.note.is_empty() { String::new() } else { format!("{}\n", self.note) };
        let mut others = 0;
        for (place, report) in self.reports.iter().enumerate() {
            match &report.outcome {
                Outcome::Pass if place >= self.own_checks => others += 1,
                Outcome::Pass => out += &format!("pass  {}\n", report.check),
                Outcome::Skip { reason } => out += &format!("skip  {} ({reason})\n", report.check),
                Outcome::Fail(_) => out += &format!("FAIL  {}", report.explain().unwrap_or_default()),
            }
        }
        if others > 0 {
            out += &format!("pass  {} of the rest of the suite\n", terminal::count(others, "check"));
        }
        out
    }
}
