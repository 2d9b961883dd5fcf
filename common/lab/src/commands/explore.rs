//! `cargo lab explore`: a server's lost wakeups, found by every order of client steps and system calls.
//!
//! Invariant: exit code 0 means that no schedule that was tried fails; what was not tried is said.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use explorer::{Coverage, Exploration, Faults, Finding, Plan, Run, Schedule, Script, Target, Verdict, report};
use harness::{CHAPTERS, Check, Launch, Subject};
use serde::Serialize;

use crate::checking::bars;
use crate::checking::servers;
use crate::course::Course;
use crate::course::Exercise;
use crate::course::attempt::{self, AttemptBuild};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::selection;
use crate::terminal::{self, Palette};
use crate::workspace;

const EXAMPLES: &str = "\
Examples:
  cargo lab explore epoll-et                      a chapter, with every script that ships
  cargo lab explore epoll-et --script reset
  cargo lab explore epoll-et --script 'c0 connect; c0 send 3; c0 shutdown'
  cargo lab explore 24                            your attempt at an exercise
  cargo lab explore --cmd './a.out {port}' --faults eintr,emfile
  cargo lab explore --cmd './a.out {port}' --script close --replay 0,0,1
  cargo lab explore epoll-et --script close --record run.json

Exit code: 0 no schedule that was tried fails; 1 one does, or nothing could be tried; 2 wrong command line.";

/// Find lost wakeups: place a client's steps between a server's system calls in every way
///
/// Runs the server under ptrace(2), again and again, each time with the client's steps at other places between its system
/// calls: first only where the server sleeps, then with one step placed where it could have gone on, then with two. A
/// schedule that fails is shown as two columns, with the kernel's state and the nearest schedule that passes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = long_help())]
pub struct ExploreArgs {
    /// A server of this workspace (04, 04-epoll-et, epoll-et), or an exercise (24, 24_ready_flag): your attempt at it
    #[arg(value_name = "SERVER", conflicts_with = "cmd")]
    server: Option<String>,
    /// The command that starts your own; {port} stands for the port it has to listen on
    #[arg(long, value_name = "COMMAND")]
    cmd: Option<String>,
    /// A script that ships, a file, or the steps themselves; every one that ships if not given
    #[arg(long, value_name = "SCRIPT")]
    script: Option<String>,
    /// Steps placed at most where the server could have gone on
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=6))]
    max_placements: u8,
    /// Seconds for each script at most
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    max_seconds: u32,
    /// Faults that can happen to any server, at every place where they can
    #[arg(long, value_name = "FAULT,..", value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Run one schedule only, and show it
    #[arg(long, value_name = "0,1,..", value_parser = Schedule::parse, requires = "script")]
    replay: Option<Schedule>,
    /// Write one run to a file: the one that fails, the one of --replay, or the one without a placement
    #[arg(long, value_name = "FILE.json", requires = "script")]
    record: Option<String>,
    /// Results as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Faults that blame no correct server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// Each wait is interrupted, as by a SIGSTOP and SIGCONT
    Eintr,
    /// A queued connection is gone by the time of its accept
    Econnaborted,
    /// No descriptor is free from the first connection to the script's end
    Emfile,
    /// What is sent in one piece comes in two
    ShortReads,
    /// Small socket buffers, so that writes take less than they were given
    ShortWrites,
    /// All of these
    All,
}

#[derive(Serialize)]
struct ExplorationJson {
    server: String,
    scripts: Vec<ScriptJson>,
}

#[derive(Serialize)]
struct ScriptJson {
    name: String,
    script: String,
    runs: u64,
    seconds: f64,
    complete: bool,
    placements: Option<usize>,
    cut: Option<String>,
    diverged: u64,
    finding: Option<FindingJson>,
}

#[derive(Serialize)]
struct FindingJson {
    verdict: Verdict,
    what: String,
    diagnosis: String,
    replay: String,
    trace: Vec<TraceRowJson>,
    kernel: Vec<String>,
    passing: Option<PassingJson>,
}

#[derive(Serialize)]
struct PassingJson {
    replay: String,
    trace: Vec<TraceRowJson>,
}

#[derive(Serialize)]
struct TraceRowJson {
    server: String,
    client: String,
    placed: bool,
}

/// Runs the command.
pub fn run(args: &ExploreArgs) -> Result<ExitCode, LabError> {
    let scripts = scripts(args)?;
    let interrupt = Interrupt::watch()?;
    explorer::possible().map_err(|why| LabError::failed(format!("nothing can be explored on this machine: {why}")))?;
    let target = target(args, &interrupt)?;
    let faults = Faults { eintr: args.has(Fault::Eintr), econnaborted: args.has(Fault::Econnaborted) };
    match &args.replay {
        Some(schedule) => replay(args, &target, &scripts[0], faults, schedule, &interrupt),
        None => explore(args, &target, &scripts, faults, &interrupt),
    }
}

fn explore(
    args: &ExploreArgs,
    target: &Target,
    scripts: &[Script],
    faults: Faults,
    interrupt: &Interrupt,
) -> Result<ExitCode, LabError> {
    let mut results = Vec::new();
    let mut failed = false;
    for script in scripts {
        let plan = Plan {
            target,
            script,
            faults,
            max_placements: args.max_placements.into(),
            always: 1,
            max_runs: None,
            max_time: Some(Duration::from_secs(args.max_seconds.into())),
        };
        let explored =
            explorer::explore(&plan, interrupt.flag(), &|_| {}).map_err(|error| failure(interrupt, &error))?;
        interrupt.check()?;
        if let Some(file) = &args.record {
            let run = match &explored.finding {
                Some(finding) => &finding.run,
                None => &replayed(target, script, faults, &Schedule::default(), interrupt)?,
            };
            write_record(file, target, script, run)?;
        }
        failed |= explored.finding.is_some();
        if !args.json {
            terminal::print(&(report::summary(script, &explored).trim_end().to_owned() + "\n"));
            if let Some(finding) = &explored.finding {
                terminal::print(&format!("\n{}\n", report::finding(&target.name, script, finding, terminal::width())));
            }
        }
        results.push(result(script, &explored));
    }
    if args.json {
        let explored = ExplorationJson { server: target.name.clone(), scripts: results };
        terminal::print(&(serde_json::to_string_pretty(&explored).expect("strings and numbers only") + "\n"));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn replay(
    args: &ExploreArgs,
    target: &Target,
    script: &Script,
    faults: Faults,
    schedule: &Schedule,
    interrupt: &Interrupt,
) -> Result<ExitCode, LabError> {
    let run = replayed(target, script, faults, schedule, interrupt)?;
    if let Some(file) = &args.record {
        write_record(file, target, script, &run)?;
    }
    if args.json {
        terminal::print(&explorer::record::record(&target.name, script, &run));
    } else {
        terminal::print(&report::replayed(&target.name, script, schedule, &run, terminal::width()));
    }
    Ok(if run.verdict == Verdict::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn replayed(
    target: &Target,
    script: &Script,
    faults: Faults,
    schedule: &Schedule,
    interrupt: &Interrupt,
) -> Result<Run, LabError> {
    let run = explorer::replay(target, script, faults, schedule, interrupt.flag());
    let run = run.map_err(|error| failure(interrupt, &error))?;
    interrupt.check()?;
    Ok(run)
}

fn failure(interrupt: &Interrupt, error: &explorer::Error) -> LabError {
    // After a Ctrl-C, that is why it failed.
    interrupt.check().err().unwrap_or_else(|| LabError::failed(error.to_string()))
}

fn write_record(file: &str, target: &Target, script: &Script, run: &Run) -> Result<(), LabError> {
    std::fs::write(file, explorer::record::record(&target.name, script, run))
        .map_err(|error| LabError::failed(format!("--record {file}: {error}; give a file that can be written")))?;
    terminal::complain(&format!("recorded: {file}"));
    Ok(())
}

impl ExploreArgs {
    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault) || self.faults.contains(&Fault::All)
    }
}

fn scripts(args: &ExploreArgs) -> Result<Vec<Script>, LabError> {
    let scripts = match &args.script {
        None => Script::all_standard(),
        Some(text) => vec![script(text)?],
    };
    let faulty = |script: Script| {
        let script = if args.has(Fault::ShortReads) { script.with_short_reads() } else { script };
        let script = if args.has(Fault::ShortWrites) { script.with_short_writes() } else { script };
        if args.has(Fault::Emfile) { script.with_emfile() } else { script }
    };
    Ok(scripts.into_iter().map(faulty).collect())
}

fn script(text: &str) -> Result<Script, LabError> {
    if let Some(script) = Script::standard(text) {
        return Ok(script);
    }
    let path = Path::new(text);
    let (name, steps) = match path.is_file() {
        true => {
            let steps =
                std::fs::read_to_string(path).map_err(|error| LabError::usage(format!("--script {text}: {error}")))?;
            (path.file_stem().map_or_else(|| text.into(), |name| name.to_string_lossy().into_owned()), steps)
        }
        false => ("script".to_owned(), text.to_owned()),
    };
    Script::parse(&name, &steps).map_err(|what| {
        let names: Vec<&str> = explorer::script::STANDARD.iter().map(|(name, _)| *name).collect();
        // A single word was meant to be a name, a script's or a file's.
        let no_file = match text.contains([' ', ';', '\n']) || path.is_file() {
            true => "",
            false => "\n  and there is no such file",
        };
        let hint = match text.contains(char::is_whitespace) || path.is_file() {
            true => String::new(),
            false => {
                let nearest = names.iter().max_by(|a, b| strsim::jaro(text, a).total_cmp(&strsim::jaro(text, b)));
                let nearest = nearest.filter(|it| strsim::jaro(text, it) > 0.7);
                nearest.map_or_else(String::new, |it| format!("\n  Did you mean the script '{it}'?"))
            }
        };
        LabError::usage(format!("--script: {what}{no_file}{hint}\n  scripts that ship: {}", names.join(" ")))
    })
}

fn target(args: &ExploreArgs, interrupt: &Interrupt) -> Result<Target, LabError> {
    let subject = match (&args.cmd, &args.server) {
        (Some(line), _) => servers::command(line)?.subject,
        (None, Some(word)) => {
            let course = Course::load()?;
            // As for `check`: a name without its number may be a variant's.
            match course.places(std::slice::from_ref(word))?.as_deref() {
                Some([at, ..]) => attempted(&course.exercises[*at], interrupt)?,
                _ => chapter(word, &course)?,
            }
        }
        (None, None) => {
            return Err(LabError::usage(
                "which server? Name one of this workspace (cargo lab explore epoll-et), or give --cmd './server {port}'",
            ));
        }
    };
    let Launch::Command(mut argv) = subject.launch else {
        return Err(LabError::usage("the server has to be started here"));
    };
    if subject.own {
        argv.extend(["--addr".into(), "127.0.0.1:0".into()]);
    }
    Ok(Target { name: subject.name, argv })
}

/// A student's attempt, built as for `cargo lab check`.
fn attempted(exercise: &Exercise, interrupt: &Interrupt) -> Result<Subject, LabError> {
    let palette = Palette::stderr();
    let built = bars::waiting(format!("building {}", exercise.name), || {
        attempt::build(exercise, palette.is_on(), interrupt.flag())
    });
    interrupt.check()?;
    match built? {
        AttemptBuild::Program(program, _) => Ok(exercise.subject(vec![program.to_string_lossy().into_owned()])),
        AttemptBuild::Refused(why) => {
            terminal::complain(why.trim_end());
            Err(LabError::failed(format!("{} does not compile", workspace::shown(&exercise.attempt()))))
        }
        AttemptBuild::Stopped => Err(LabError::failed("the build was stopped")),
    }
}

fn chapter(word: &str, course: &Course) -> Result<Subject, LabError> {
    let none: Vec<&'static Check> = Vec::new();
    let selection = selection::select(&[word.to_owned()], &none).map_err(|unknown| {
        let folders: Vec<&str> = CHAPTERS.iter().map(|chapter| chapter.folder).collect();
        let nearest = match unknown.nearest.is_empty() {
            true => String::new(),
            false => format!("\n  Did you mean {}?", unknown.nearest.join(", or ")),
        };
        let folders = folders.join(" ");
        LabError::usage(format!(
            "'{word}' is no server of this workspace.{nearest}\n  servers: {folders}\n  {}\n  your own: --cmd",
            course.numbers()
        ))
    })?;
    let found = selection.chapters.len() + selection.variants.len();
    if found != 1 {
        let names = selection.chapters.iter().map(|it| it.folder).chain(selection.variants.iter().map(|it| it.name));
        return Err(LabError::usage(format!(
            "'{word}' names {found} servers ({}); name one",
            names.collect::<Vec<_>>().join(", ")
        )));
    }
    let server = servers::ours(&selection.chapters, &selection.variants)?.pop();
    server.map(|server| server.subject).ok_or_else(|| LabError::failed("the server was not built"))
}

fn result(script: &Script, explored: &Exploration) -> ScriptJson {
    let (placements, cut) = match &explored.coverage {
        Coverage::Complete(placements) => (Some(*placements), None),
        Coverage::Cut(why) => (None, Some(why.clone())),
    };
    ScriptJson {
        name: script.name.clone(),
        script: script.to_string(),
        runs: explored.runs,
        seconds: explored.seconds,
        complete: cut.is_none() && explored.finding.is_none(),
        placements,
        cut,
        diverged: explored.diverged,
        finding: explored.finding.as_ref().map(found),
    }
}

fn found(finding: &Finding) -> FindingJson {
    FindingJson {
        verdict: finding.verdict,
        what: finding.what.clone(),
        diagnosis: explorer::diagnose::diagnose(&finding.run),
        replay: finding.schedule.to_string(),
        trace: trace(&finding.run),
        kernel: finding.run.end.as_ref().map(report::state).unwrap_or_default(),
        passing: finding
            .passing
            .as_ref()
            .map(|run| PassingJson { replay: run.schedule().to_string(), trace: trace(run) }),
    }
}

fn trace(run: &Run) -> Vec<TraceRowJson> {
    let row = |row: report::Row| TraceRowJson { server: row.server, client: row.client, placed: row.placed };
    report::rows(run).into_iter().map(row).collect()
}

fn long_help() -> String {
    let scripts = explorer::script::STANDARD.iter().map(|(name, text)| format!("  {name:<14}{text}"));
    format!(
        "{EXAMPLES}\n\nScripts. {}\n\nThose that ship:\n{}\n\nWith --json, stdout gets an object: server, and scripts, an \
         object for each with name, script, runs, seconds, complete, placements (null if cut), cut (why, or null), diverged \
         and finding (null, or an object with verdict, what, diagnosis, replay, trace, kernel and passing). With --replay, it \
         is the run itself, as --record writes it (common/explorer/RECORD.md).",
        explorer::script::LANGUAGE,
        scripts.collect::<Vec<_>>().join("\n")
    )
}
