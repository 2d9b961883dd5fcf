//! `cargo lab check`: servers against the contract, as a matrix.
//!
//! Invariant: exit code 0 means that every selected check was run on every selected server, and that none failed. Of a
//! server that is broken on purpose it means that those failed that are declared, and no others.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use harness::checks::GROUPS;
use harness::{BROKEN, CHAPTERS, Chapter, Check, Launch, Outcome, Report, Subject, VARIANTS, Variant, all_variants};

use super::check_attempt;
use super::fuzz::{self, FuzzArgs};
use super::narrow::{self, NarrowArgs};
use crate::checking::bars::{self, RunProgress};
use crate::checking::broken;
use crate::checking::jobs::{self, CheckJob, Halt, JobBatch, RunEvent};
use crate::checking::junit;
use crate::checking::listing;
use crate::checking::results::{self, Results};
use crate::checking::servers::{self, NoAnswer, TestedServer};
use crate::checking::table;
use crate::course::{self, Course};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::report::{self, CheckReport, Players};
use crate::selection::{self, Selection, UnknownWord};
use crate::terminal::{self, Palette};

const EXAMPLES: &str = "\
Examples:
  cargo lab check                              every chapter, every check
  cargo lab check 09                           your attempt at an exercise
  cargo lab check 04-epoll-et drain            one chapter, one group
  cargo lab check 03 04 half_close             two chapters, part of a name
  cargo lab check ev_clear                     a variant (an example) of a chapter
  cargo lab check textbook                     a server that is broken on purpose
  cargo lab check --all                        every chapter and every variant
  cargo lab check --long                       also the checks that take many seconds
  cargo lab check 04 --profile quick           half a minute at most
  cargo lab check 04 --except interleaving     all groups but one
  cargo lab check --cmd 'python3 echo.py {port}'
  cargo lab check --cmd './a.out {port}' 03    your server beside a chapter
  cargo lab check --addr 127.0.0.1:9000        a server that runs already
  cargo lab check 04 05 --html report.html     also as a file to keep: failures first, then the matrix
  cargo lab check 04 --fuzz --seconds 60       what clients do by chance, instead of the checks

Exit code: 0 no check failed, or only as declared of a server that is broken on
purpose; 1 a check failed, or a server did not build or
start; 2 wrong command line.";

const JSON: &str = "\
With --json, stdout gets an array with an object for each server:
  name, folder (null for your own server), reports,
  the numbers passed, failed, skipped and not_run,
  and failed_as_declared, the checks that a server fails that is broken on purpose.
Reports is an array with an object for each check:
  check (\"group::name\"), clause, seconds, outcome (\"pass\", \"fail\" or \"skip\");
  a skip also has reason;
  a failure also has symptom (\"read-lost\"), what, steps, kernel, calls, said,
  cause and is_fundamental (it makes nearly all other checks fail too). Steps,
  kernel, calls and said are lists of lines.
With --json --list, stdout gets an array with an object for each check:
  group, name, check (\"group::name\"), clause, about, alone and long.";

/// Check servers against the contract (common/harness/CONTRACT.md), or your attempts at exercises
///
/// Builds the chapters, runs every check on each chapter, and shows the results as a matrix. Below the matrix it
/// explains each failure. To check your own server, in any language, give the command that starts it, or its address.
/// Some rules are this repository's own choice, so their checks are skipped for your server.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON}\n\n{}", fuzz::long_help()))]
pub struct CheckArgs {
    /// A server (04, 04-epoll-et, epoll-et, ev_clear), a group (drain), a check or part of its name; or an exercise
    /// (08, nfds) [default: all chapters]
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Check the variants too: those of the chapters you name, or all of them
    #[arg(long)]
    all: bool,
    /// Run the long checks too, each of which takes many seconds
    #[arg(long)]
    long: bool,
    /// List the servers and the checks, and run nothing
    #[arg(long)]
    list: bool,
    /// Print the results as JSON, as --format json does
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How to print the results
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write the results as an HTML file too, which needs nothing else: failures first, each with all that is known of it,
    /// the explorer's runs step by step, and the matrix
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "fuzz"])]
    html: Option<PathBuf>,
    /// Run at most N checks at once [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Start no more checks after the first failure
    #[arg(long)]
    fail_fast: bool,
    /// Run all checks, also on a server that fails nearly all of them for one reason
    #[arg(long, conflicts_with = "fail_fast")]
    no_fail_fast: bool,
    /// Tell of every failure in full, not only of the first one with each symptom; and how far each search came. For an
    /// exercise, say why checks were skipped
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    narrow: NarrowArgs,
    #[command(flatten)]
    own: OwnServerArgs,
    #[command(flatten)]
    fuzz: FuzzArgs,
}

/// How the results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// An array with an object for each server
    Json,
    /// XML for CI systems: a suite for each server, a case for each check
    Junit,
}

/// A server that is not this repository's.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Your own server")]
struct OwnServerArgs {
    /// The command that starts it; {port} stands for the port that it must listen on (127.0.0.1)
    #[arg(long, value_name = "COMMAND", conflicts_with = "addr", group = "yours")]
    cmd: Option<String>,
    /// The address where it runs already; checks that must start the server are skipped
    #[arg(long, value_name = "HOST:PORT", value_parser = servers::parse_addr, group = "yours")]
    addr: Option<SocketAddr>,
    /// Its name in the results
    #[arg(long, requires = "yours")]
    name: Option<String>,
    /// It serves only file descriptors below N and refuses the others, as select does
    #[arg(long, value_name = "N", requires = "yours")]
    fd_limit: Option<u64>,
    /// It serves at most N clients at once, by its own choice; the checks stay below that
    #[arg(long, value_name = "N", requires = "yours", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: Option<u32>,
    /// What it waits for; some checks apply to one model only
    #[arg(long, value_enum, requires = "yours")]
    model: Option<ModelArg>,
}

/// What a server waits for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModelArg {
    /// Readiness: select, poll, epoll, kqueue
    Readiness,
    /// Completions: io_uring
    Completion,
}

/// Checks exercises if the words name exercises, and servers otherwise.
pub fn run(args: &CheckArgs) -> Result<ExitCode, LabError> {
    run_with(args, None)
}

/// As `run`; a report has `players`, if there are some.
pub fn run_with(args: &CheckArgs, players: Option<&dyn Players>) -> Result<ExitCode, LabError> {
    if args.verbose {
        harness::notes::show_details();
    }
    // Now, and not after everything was run.
    args.html.as_deref().map_or(Ok(()), |path| report::require_writable("--html", path))?;
    let format = args.format()?;
    let json = format == Format::Json;
    if !args.words.is_empty()
        && let Some(course) = args.course()?
    {
        if let Some(places) = course::places(&course, &args.words)? {
            if args.fuzz.fuzz {
                let interrupt = Interrupt::watch()?;
                let attempts = fuzz::attempts(&course, &places, &interrupt)?;
                return fuzz::run(&args.fuzz, &attempts, args.at_once(), json, &interrupt);
            }
            args.refuse_for_exercises(format)?;
            return check_attempt::run(
                course,
                &places,
                json,
                args.verbose,
                args.html.as_deref().map(|path| (path, players)),
            );
        }
        for (word, exercise) in args.words.iter().filter_map(|word| Some((word, course::hidden_behind(&course, word)?)))
        {
            terminal::complain(&format!(
                "'{word}' is a server's name too; the exercise: cargo lab check {:02}",
                exercise.number
            ));
        }
    }
    let all: Vec<&'static Check> = harness::all_checks().collect();
    let long = args.long || args.list;
    let mut selection = selection::select(&args.words, &all, long).map_err(|word| unknown(&word))?;
    args.fuzz.script()?;
    if args.fuzz.fuzz && selection.checks.len() < harness::checks().count() {
        return Err(LabError::usage("--fuzz runs no checks: name servers or exercises only"));
    }
    selection.checks = args.narrow.narrow(selection.checks, args.long)?;
    if args.list {
        terminal::print(&list(args, &selection.checks));
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
        // Ctrl-C also ends a build; then the signal is the reason.
        Err(error) => return Err(interrupt.check().err().unwrap_or(error)),
    };
    if args.fuzz.fuzz {
        notes.iter().for_each(|note| terminal::complain(note));
        return fuzz::run(&args.fuzz, &servers, args.at_once(), json, &interrupt);
    }
    let results = check(args, &servers, &checks, &interrupt, &mut notes)?;
    if let Some(path) = &args.html {
        let command = report::command_line();
        let (results, notes) = (&results, &notes[..]);
        report::write(
            path,
            &report::check(&CheckReport {
                results,
                notes,
                refused: &[],
                attempts: false,
                command: &command,
                players: players.map(|it| (it, &interrupt)),
            }),
        )?;
    }
    terminal::print(&match format {
        Format::Text => shown(&results, &notes, args.verbose),
        Format::Json => results.json(),
        Format::Junit => junit::junit(&results),
    });
    if format != Format::Text {
        notes.iter().for_each(|note| terminal::complain(note));
    }
    let surprises = results.counts().failed + broken::passed_against_declaration(&results);
    let complete = surprises == 0 && results.not_run() == 0;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl CheckArgs {
    /// The form of the results.
    fn format(&self) -> Result<Format, LabError> {
        let format = if self.json { Format::Json } else { self.format.unwrap_or(Format::Text) };
        let without = if self.fuzz.fuzz { "--fuzz" } else { "--list" };
        match format {
            Format::Junit if self.fuzz.fuzz || self.list => {
                Err(LabError::usage(format!("{without} has no --format junit; --json is for programs")))
            }
            format => Ok(format),
        }
    }

    /// The exercises that words may name. The lab may be installed without them: then a server of your own can be checked.
    fn course(&self) -> Result<Option<Course>, LabError> {
        match course::whole() {
            Err(_) if self.own.is_given() || self.list => Ok(None),
            course => course.map(Some),
        }
    }

    /// What is for servers alone.
    fn refuse_for_exercises(&self, format: Format) -> Result<(), LabError> {
        let instead =
            "an exercise is checked as a whole: cargo lab grade --only NN grades it, also with --format junit";
        match (format, self.narrow.given()) {
            (Format::Junit, _) => Err(LabError::usage(format!("--format junit is for servers; {instead}"))),
            (_, Some(option)) => Err(LabError::usage(format!("{option} is for servers; {instead}"))),
            _ => Ok(()),
        }
    }

    /// How many servers are at work at once.
    fn at_once(&self) -> usize {
        self.jobs.map_or_else(harness::workers, usize::from)
    }
}

/// What `--list` prints. Words select checks, so the servers are listed only without words.
fn list(args: &CheckArgs, checks: &[&'static Check]) -> String {
    if args.json || args.format == Some(Format::Json) {
        return listing::checks_json(checks);
    }
    let (width, palette) = (terminal::width(), Palette::stdout());
    let servers = if args.words.is_empty() { listing::servers(width, palette) } else { String::new() };
    servers + &listing::checks(checks, width, palette)
}

/// The chapters and variants to check: those that were named, or else all chapters. Beside a server of your own, only
/// those that were named. `all` adds the variants of the chapters, and none that is broken on purpose.
fn wanted(selection: &Selection, all: bool, own: bool) -> (Vec<&'static Chapter>, Vec<&'static Variant>) {
    let named = !selection.chapters.is_empty() || !selection.variants.is_empty();
    if !named && !own {
        return (CHAPTERS.iter().collect(), VARIANTS.iter().filter(|_| all).collect());
    }
    let belongs = |variant: &&Variant| {
        let of_a_chapter = selection.chapters.iter().any(|chapter| chapter.folder == variant.folder);
        let is_named = selection.variants.iter().any(|it| it.name == variant.name);
        is_named || all && variant.lacks.is_empty() && (of_a_chapter || !named)
    };
    (selection.chapters.clone(), all_variants().filter(belongs).collect())
}

/// Leaves out what this platform cannot run, with a note for each.
fn here<T>(
    wanted: Vec<&'static T>,
    is_here: impl Fn(&T) -> (&'static str, bool),
    notes: &mut Vec<String>,
) -> Vec<&'static T> {
    let (here, elsewhere): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|it| is_here(it).1);
    let without = |it: &&T| format!("{} is left out: {} does not have its API", is_here(it).0, std::env::consts::OS);
    notes.extend(elsewhere.iter().map(without));
    here
}

/// Builds the chapters and variants, and makes sure that your own server starts.
fn ready(
    own: Option<TestedServer>,
    chapters: &[&'static Chapter],
    variants: &[&'static Variant],
) -> Result<Vec<TestedServer>, LabError> {
    let mut servers = Vec::new();
    if let Some(own) = own {
        bars::waiting(format!("waiting until {} listens", own.subject.name), |_| servers::preflight(&own.subject))?;
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
    let workers = args.at_once();
    let mut progress = RunProgress::new(servers, checks);
    let (start, limit) = (Instant::now(), args.narrow.limit(servers.len()));
    let mut out_of_time = false;
    let mut reports = jobs::run(&subjects, checks, &batches(&subjects, checks, workers), interrupt.flag(), |event| {
        if interrupt.check().is_err() {
            return ControlFlow::Break(Halt::Run);
        }
        progress.show(&event);
        match event {
            RunEvent::Finished(job, report) if matches!(report.outcome, Outcome::Fail(_)) => {
                let gone = gone(subjects[job.server], &report.check);
                let declared = results::is_declared(&servers[job.server], report);
                let go_on = gone.is_none() && (declared || !args.fail_fast);
                notes.extend(gone);
                match go_on {
                    true if is_fundamental(report) && !declared && !args.no_fail_fast && checks.len() > 1 => {
                        ControlFlow::Break(Halt::Server)
                    }
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(Halt::Run),
                }
            }
            RunEvent::Finished(..) if limit.is_some_and(|limit| start.elapsed() > limit) => {
                out_of_time = true;
                ControlFlow::Break(Halt::Run)
            }
            _ => ControlFlow::Continue(()),
        }
    });
    progress.clear();
    interrupt.check()?;
    if let Some(limit) = limit.filter(|_| out_of_time) {
        narrow::skip_the_rest(&mut reports, checks, limit);
    }
    // The last one to end may have been the explorer's, which knows of no orphans.
    harness::end_orphans();
    notes.extend(servers.iter().zip(&reports).filter_map(|(server, reports)| not_started_here(server, reports)));
    notes.extend(servers.iter().zip(&reports).flat_map(|(server, reports)| broken::surprises(server, reports)));
    if !args.fail_fast && !args.no_fail_fast {
        notes.extend(servers.iter().zip(&reports).filter_map(|(server, reports)| left_out(server, reports)));
    }
    Ok(Results { checks, servers, reports, seconds: start.elapsed().as_secs_f64() })
}

/// The first check of all: one byte. Whoever fails it fails nearly all others too.
const ONE_BYTE: &str = "echo::one_byte_comes_back";

/// Whether nearly every other check fails for the same reason.
fn is_fundamental(report: &Report) -> bool {
    let Outcome::Fail(failure) = &report.outcome else { return false };
    failure.is_fundamental || report.check == ONE_BYTE
}

/// A note on the checks that were left out, because they would fail for a reason that is known.
fn left_out(server: &TestedServer, reports: &[Option<Report>]) -> Option<String> {
    let reason =
        reports.iter().flatten().find(|report| is_fundamental(report) && !results::is_declared(server, report))?;
    let (run, all) = (reports.iter().flatten().count(), reports.len());
    (run < all).then(|| {
        format!(
            "{}: {run} of {all} checks were run. What {} says makes nearly all others fail too, whatever they are about. \
             To run them all the same: --no-fail-fast",
            server.subject.name, reason.check
        )
    })
}

/// These are run first: whoever fails one of them fails nearly all others too, some of which then take minutes.
const BASIC: [&str; 3] =
    [ONE_BYTE, "echo::an_answer_is_not_held_back", "echo::sixty_four_connections_keep_their_bytes_apart"];

/// Each check starts a server of its own, so many run at once. A server that runs already is shared by all checks, so
/// its checks run one at a time.
fn batches(subjects: &[&Subject], checks: &[&'static Check], workers: usize) -> Vec<JobBatch> {
    let shared = |server: &usize| matches!(subjects[*server].launch, Launch::Served(_));
    let (shared, started): (Vec<usize>, Vec<usize>) = (0..subjects.len()).partition(shared);
    let started = jobs::batch(started, checks, workers);
    let is_basic = |job: &CheckJob| BASIC.contains(&checks[job.check].full_name().as_str());
    let (basic, rest): (Vec<CheckJob>, Vec<CheckJob>) = started.jobs.into_iter().partition(is_basic);
    vec![jobs::batch(shared, checks, 1), JobBatch { workers, jobs: basic }, JobBatch { workers, jobs: rest }]
}

/// A note on how to have more checked of a server that ran already.
fn not_started_here(server: &TestedServer, reports: &[Option<Report>]) -> Option<String> {
    let Launch::Served(_) = server.subject.launch else { return None };
    let skipped = |report: &Report| matches!(report.outcome, Outcome::Skip { .. });
    if !reports.iter().flatten().any(skipped) {
        return None;
    }
    Some(format!(
        "{} runs already, so no check could start, stop or inspect it. Most of the skipped checks run if the lab \
         starts the server: --cmd './server {{port}}'",
        server.subject.name
    ))
}

/// A server that was not started here may end. It would fail every further check, so a note replaces them.
fn gone(subject: &Subject, check: &str) -> Option<String> {
    let Launch::Served(addr) = subject.launch else { return None };
    Some(match servers::answers(addr).err()? {
        NoAnswer::Connect(error) => format!(
            "stopped after {check}: nothing accepts connections at {addr} any more ({error}); start the server again"
        ),
        NoAnswer::Silence => format!(
            "stopped after {check}: {addr} accepts connections and sends nothing back any more; start the server again"
        ),
    })
}

/// What a person reads: the matrix, or the list of a single server; then skips, failures, notes and the summary.
fn shown(results: &Results<'_>, notes: &[String], verbose: bool) -> String {
    let (width, palette) = (terminal::width(), Palette::stdout());
    let columns = results.columns();
    let table = match columns[..] {
        [column] => table::list(results.checks, column, width, palette),
        _ => table::matrix(results.checks, &columns, width, palette),
    };
    // Not wrapped in a file, so that a line can be searched for.
    let lines = terminal::stdout_is_terminal().then_some(width);
    let failures = results.failures(lines, palette, verbose);
    let lacks = broken::stories(results, lines, palette, verbose);
    let notes: String = notes.iter().map(|note| terminal::wrap_lines(note, width)).collect();
    let parts = [table, results.skips(width, palette), lacks, failures, notes, results.summary(palette)];
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

/// A word that stands for nothing, with what there is.
fn unknown(unknown: &UnknownWord) -> LabError {
    let names = |list: &[Variant]| list.iter().map(|variant| variant.name).collect::<Vec<_>>().join(" ");
    let exercises = course::whole().map_or_else(|_| String::new(), |course| format!("\n  {}", course.numbers()));
    LabError::usage(format!(
        "'{}' names no server, no group, no check and no exercise.{}\n  servers: {}\n  variants: {}\n  broken on purpose: {}\n  groups: {}\n  \
         checks: cargo lab check --list{exercises}",
        unknown.word,
        unknown.did_you_mean(),
        selection::chapter_folders(),
        names(VARIANTS),
        names(BROKEN),
        GROUPS.join(" ")
    ))
}

impl OwnServerArgs {
    fn is_given(&self) -> bool {
        self.cmd.is_some() || self.addr.is_some()
    }

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
            max_clients: self.max_clients,
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
