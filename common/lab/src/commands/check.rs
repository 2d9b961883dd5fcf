//! `cargo lab check`: servers against the contract, as a matrix.
//!
//! Invariant: exit code 0 means that every check that was asked for was run on every server, and none failed.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use harness::checks::GROUPS;
use harness::{CHAPTERS, Chapter, Check, Launch, Outcome, Report, Subject, VARIANTS, Variant};
use serde::Serialize;

use super::check_attempt;
use crate::checking::bars::{self, RunProgress};
use crate::checking::jobs::{self, JobBatch, RunEvent};
use crate::checking::results::Results;
use crate::checking::servers::{self, TestedServer};
use crate::checking::table;
use crate::course::Course;
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::selection::{self, Selection, UnknownWord};
use crate::terminal::{self, Palette};

const EXAMPLES: &str = "\
Examples:
  cargo lab check                              every chapter, every check
  cargo lab check 09                           your attempt at an exercise
  cargo lab check 04-epoll-et drain            one chapter, one group
  cargo lab check 03 04 half_close             two chapters, checks by a part of their name
  cargo lab check ev_clear                     a variant: an example of a chapter
  cargo lab check --all                        every chapter and every variant
  cargo lab check --cmd 'python3 echo.py {port}'
  cargo lab check --cmd './a.out {port}' 03    your server beside a chapter
  cargo lab check --addr 127.0.0.1:9000        a server that runs already

Exit code: 0 no check failed; 1 one did, or a server did not build or start; 2 wrong command line.";

const JSON: &str = "\
With --json, stdout gets an array with an object for each server:
  name, folder (null for your own), passed, failed, skipped, not_run (numbers), and reports, an object for each check:
    check (\"group::name\"), clause, seconds, outcome (\"pass\", \"fail\" or \"skip\");
    reason, of a skip; of a failure symptom (read-lost, say), what, steps, kernel (lists of lines) and cause.
With --json --list: an array with group, name, check (\"group::name\"), clause, about and alone for each check.";

/// Check servers against the contract (common/harness/CONTRACT.md), or your attempts at exercises
///
/// Builds the chapters, runs every check on each, and shows the results as a matrix, with an explanation for each
/// failure. Your own server, in any language, is checked by the command that starts it or by its address; it is not held
/// to what is only this repository's choice.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON}"))]
pub struct CheckArgs {
    /// A server (04, 04-epoll-et, epoll-et, ev_clear), a group (drain), a check or a part of its name; or exercises (09);
    /// all chapters if none is given
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// The variants too: of the chapters that were named, or of all
    #[arg(long)]
    all: bool,
    /// List the servers and the checks, and run none
    #[arg(long)]
    list: bool,
    /// Results as JSON on stdout
    #[arg(long)]
    json: bool,
    /// How many checks to run at once [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Begin no more checks after the first failure
    #[arg(long)]
    fail_fast: bool,
    #[command(flatten)]
    own: OwnServerArgs,
}

/// Somebody's own server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Your own server")]
struct OwnServerArgs {
    /// The command that starts it; {port} stands for the port it has to listen on (127.0.0.1)
    #[arg(long, value_name = "COMMAND", conflicts_with = "addr", group = "yours")]
    cmd: Option<String>,
    /// Where it runs already; checks that have to start it themselves are skipped
    #[arg(long, value_name = "HOST:PORT", value_parser = servers::parse_addr, group = "yours")]
    addr: Option<SocketAddr>,
    /// What to call it
    #[arg(long, requires = "yours")]
    name: Option<String>,
    /// It serves only descriptors below N and refuses the others, as select does
    #[arg(long, value_name = "N", requires = "yours")]
    fd_limit: Option<u64>,
    /// How it waits, for the checks that need to know
    #[arg(long, value_enum, requires = "yours")]
    model: Option<ModelArg>,
}

/// How a server waits.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModelArg {
    /// For readiness: select, poll, epoll, kqueue
    Readiness,
    /// For completions: io_uring
    Completion,
}

/// One check in `--list --json`.
#[derive(Serialize)]
struct CheckJson {
    group: &'static str,
    name: &'static str,
    check: String,
    clause: u8,
    about: &'static str,
    alone: bool,
}

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<ExitCode, LabError> {
    if !args.words.is_empty() {
        let course = Course::load()?;
        if let Some(places) = course.places(&args.words)? {
            return check_attempt::run(course, &places, args.json);
        }
    }
    let all: Vec<&'static Check> = harness::checks().collect();
    let selection = selection::select(&args.words, &all).map_err(|word| unknown(&word))?;
    if args.list {
        let checks = &selection.checks;
        let (width, palette) = (terminal::width(), Palette::stdout());
        // Words that narrow ask for checks.
        let servers = if args.words.is_empty() { list_servers(width, palette) } else { String::new() };
        terminal::print(&if args.json { list_json(checks) } else { servers + &list(checks, width, palette) });
        return Ok(ExitCode::SUCCESS);
    }
    let own = args.own.server()?;
    let (chapters, variants) = wanted(&selection, args.all, own.is_some());
    let mut notes = Vec::new();
    let chapters = here(chapters, |it| (it.folder, it.here), &mut notes);
    let variants = here(variants, |it| (it.name, it.here), &mut notes);
    if chapters.is_empty() && variants.is_empty() && own.is_none() {
        return Err(LabError::usage(format!("there is no server to check\n  {}", notes.join("\n  "))));
    }
    let checks = selection.checks;
    let interrupt = Interrupt::watch()?;
    let servers = match ready(own, &chapters, &variants) {
        Ok(servers) => servers,
        // After a Ctrl-C, that is why it failed.
        Err(error) => return Err(interrupt.check().err().unwrap_or(error)),
    };
    let results = check(args, &servers, &checks, &interrupt, &mut notes)?;
    if args.json {
        terminal::print(&results.json());
        notes.iter().for_each(|note| terminal::complain(note));
    } else {
        terminal::print(&report(&results, &notes));
    }
    let complete = results.counts().failed == 0 && results.not_run() == 0;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The servers to check: those that were named, or all chapters; but none beside a server of one's own unless it was
/// named. `all` adds the variants of the chapters.
fn wanted(selection: &Selection, all: bool, own: bool) -> (Vec<&'static Chapter>, Vec<&'static Variant>) {
    let named = !selection.chapters.is_empty() || !selection.variants.is_empty();
    if !named && !own {
        return (CHAPTERS.iter().collect(), VARIANTS.iter().filter(|_| all).collect());
    }
    let belongs = |variant: &&Variant| {
        let of_a_chapter = selection.chapters.iter().any(|chapter| chapter.folder == variant.folder);
        selection.variants.iter().any(|it| it.name == variant.name) || all && (of_a_chapter || !named)
    };
    (selection.chapters.clone(), VARIANTS.iter().filter(belongs).collect())
}

/// What this platform cannot run is left out, with a note.
fn here<T>(
    wanted: Vec<&'static T>,
    is_here: impl Fn(&T) -> (&'static str, bool),
    notes: &mut Vec<String>,
) -> Vec<&'static T> {
    let (here, elsewhere): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|it| is_here(it).1);
    let without = |it: &&T| format!("{} is left out: its API is not on {}", is_here(it).0, std::env::consts::OS);
    notes.extend(elsewhere.iter().map(without));
    here
}

/// Gets all servers to where they can be started.
fn ready(
    own: Option<TestedServer>,
    chapters: &[&'static Chapter],
    variants: &[&'static Variant],
) -> Result<Vec<TestedServer>, LabError> {
    let mut servers = Vec::new();
    if let Some(own) = own {
        bars::waiting(format!("waiting until {} listens", own.subject.name), || servers::preflight(&own.subject))?;
        servers.push(own);
    }
    servers.extend(servers::ours(chapters, variants)?);
    Ok(servers)
}

fn check<'a>(
    args: &CheckArgs,
    servers: &'a [TestedServer],
    checks: &'a [&'static Check],
    interrupt: &Interrupt,
    notes: &mut Vec<String>,
) -> Result<Results<'a>, LabError> {
    let subjects: Vec<&Subject> = servers.iter().map(|server| &server.subject).collect();
    let workers = args.jobs.map_or_else(harness::workers, usize::from);
    let mut progress = RunProgress::new(servers, checks);
    let start = Instant::now();
    let reports = jobs::run(&subjects, checks, &batches(&subjects, checks, workers), interrupt.flag(), |event| {
        if interrupt.check().is_err() {
            return ControlFlow::Break(());
        }
        progress.show(&event);
        match event {
            RunEvent::Finished(job, report) if matches!(report.outcome, Outcome::Fail(_)) => {
                let gone = gone(subjects[job.server], &report.check);
                let go_on = gone.is_none() && !args.fail_fast;
                notes.extend(gone);
                if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            _ => ControlFlow::Continue(()),
        }
    });
    progress.clear();
    interrupt.check()?;
    notes.extend(servers.iter().zip(&reports).filter_map(|(server, reports)| not_started_here(server, reports)));
    Ok(Results { checks, servers, reports, seconds: start.elapsed().as_secs_f64() })
}

/// A server that was started for the check has a machine's worth of company and is none the worse for it; one that all
/// checks share gets them one at a time.
fn batches(subjects: &[&Subject], checks: &[&'static Check], workers: usize) -> Vec<JobBatch> {
    let shared = |server: &usize| matches!(subjects[*server].launch, Launch::Served(_));
    let (shared, started): (Vec<usize>, Vec<usize>) = (0..subjects.len()).partition(shared);
    vec![jobs::batch(shared, checks, 1), jobs::batch(started, checks, workers)]
}

/// What else could be checked of a server that was only reached.
fn not_started_here(server: &TestedServer, reports: &[Option<Report>]) -> Option<String> {
    let Launch::Served(_) = server.subject.launch else { return None };
    let skipped = |report: &Report| matches!(report.outcome, Outcome::Skip { .. });
    reports.iter().flatten().any(skipped).then(|| {
        format!(
            "{} runs already, so no check could start, stop or look into it; most of those skipped do run if the lab \
             starts it: --cmd './server {{port}}'",
            server.subject.name
        )
    })
}

/// A server that was not started here and has ended fails every further check; one note says more.
fn gone(subject: &Subject, check: &str) -> Option<String> {
    let Launch::Served(addr) = subject.launch else { return None };
    let error = servers::reach(addr).err()?;
    Some(format!(
        "stopped: nothing accepts connections at {addr} any more ({error}), so no check was begun after {check}; \
         start the server again"
    ))
}

/// What a person reads: the matrix, or the list of a single server, and what has to be said about it.
fn report(results: &Results<'_>, notes: &[String]) -> String {
    let (width, palette) = (terminal::width(), Palette::stdout());
    let columns = results.columns();
    let table = match columns[..] {
        [column] => table::list(results.checks, column, width, palette),
        _ => table::matrix(results.checks, &columns, width, palette),
    };
    // In a file, a line that is one line can be searched for.
    let failures = results.failures(terminal::stdout_is_terminal().then_some(width), palette);
    let notes: String = notes.iter().map(|note| terminal::wrap_lines(note, width)).collect();
    let parts = [table, results.skips(width, palette), failures, notes, results.summary(palette)];
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

/// Servers, by the words that choose them.
fn list_servers(width: usize, palette: Palette) -> String {
    let mut out = format!("{}\n", palette.heading("servers"));
    for chapter in CHAPTERS {
        out.push_str(&format!("  {}\n", chapter.folder));
    }
    out.push_str(&format!("{}\n", palette.heading("variants (run by name, and all of them with --all)")));
    for variant in VARIANTS {
        let program = [&[variant.example][..], variant.args].concat().join(" ");
        out.push_str(&format!("  {}  {}\n", variant.name, palette.faint(&format!("{}: {program}", variant.folder))));
        for (what, reason) in variant.differs {
            out.push_str(&terminal::wrap_lines(&format!("      differs in {what}: {reason}"), width));
        }
    }
    out
}

fn list(checks: &[&Check], width: usize, palette: Palette) -> String {
    let mut out = String::new();
    for (row, check) in checks.iter().enumerate() {
        if row == 0 || checks[row - 1].group != check.group {
            out.push_str(&format!("{}\n", palette.heading(check.group)));
        }
        out.push_str(&format!("  {}  {}\n", check.name, palette.faint(&format!("clause {}", check.clause))));
        out.push_str(&terminal::wrap_lines(&format!("      {}", check.about), width));
    }
    out + &format!("{}\n", terminal::count(checks.len(), "check"))
}

fn list_json(checks: &[&Check]) -> String {
    let listed = checks.iter().map(|check| CheckJson {
        group: check.group,
        name: check.name,
        check: check.full_name(),
        clause: check.clause,
        about: check.about,
        alone: check.alone,
    });
    serde_json::to_string_pretty(&listed.collect::<Vec<_>>()).expect("strings and numbers only") + "\n"
}

fn unknown(unknown: &UnknownWord) -> LabError {
    let folders: Vec<&str> = CHAPTERS.iter().map(|chapter| chapter.folder).collect();
    let variants: Vec<&str> = VARIANTS.iter().map(|variant| variant.name).collect();
    let nearest = if unknown.nearest.is_empty() {
        String::new()
    } else {
        format!("\n  Did you mean {}?", unknown.nearest.join(", or "))
    };
    let exercises = Course::load().map_or_else(|_| String::new(), |course| format!("\n  {}", course.numbers()));
    LabError::usage(format!(
        "'{}' is no server, no group, no part of a check's name and no exercise.{nearest}\n  servers: {}\n  variants: {}\n  \
         groups: {}\n  checks: cargo lab check --list{exercises}",
        unknown.word,
        folders.join(" "),
        variants.join(" "),
        GROUPS.join(" ")
    ))
}

impl OwnServerArgs {
    fn server(&self) -> Result<Option<TestedServer>, LabError> {
        let server = match (&self.cmd, self.addr) {
            (Some(line), _) => servers::command(line)?,
            (None, Some(addr)) => servers::served(addr),
            (None, None) => return Ok(None),
        };
        let given = server.subject;
        let subject = Subject {
            name: self.name.clone().unwrap_or_else(|| given.name.clone()),
            fd_limit: self.fd_limit,
            model: self.model.map_or(given.model, ModelArg::of_the_harness),
            ..given
        };
        Ok(Some(TestedServer { subject, ..server }))
    }
}

impl ModelArg {
    fn of_the_harness(self) -> harness::Model {
        match self {
            Self::Readiness => harness::Model::Readiness,
            Self::Completion => harness::Model::Completion,
        }
    }
}
