//! `cargo lab explore`: a server's lost wakeups, found by placing a script's steps between the server's system calls.
//!
//! Invariant: exit code 0 means that no schedule that was tried fails. The output says what was not tried.

use std::process::ExitCode;
use std::time::Duration;

use explorer::script::Step;
use explorer::{Faults, Finding, Plan, Recording, Run, Schedule, Script, Verdict, report};

use crate::class::shard::Shard;
use crate::error::LabError;
use crate::explored::{self, Fault, WithoutAttempt, failure};
use crate::interrupt::Interrupt;
use crate::parts::explored::{ExplorationJson, ScriptJson};
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  cargo lab explore epoll-et                      a chapter, every script
  cargo lab explore epoll-et --script reset
  cargo lab explore epoll-et --script 'c0 connect; c0 send 3; c0 shutdown'
  cargo lab explore 24                            your attempt at an exercise
  cargo lab explore --cmd './a.out {port}' --faults eintr,emfile
  cargo lab explore --cmd './a.out {port}' --script close --replay 0,0,1
  cargo lab explore 04 --script close --max-placements 4 --max-seconds 3600 --shard 1/8
  cargo lab explore epoll-et --script close --record run.json
  cargo lab explore epoll-et --script close --record runs.json --record-all

Exit code: 0 no schedule that was tried fails; 1 a schedule fails, or nothing
could be tried; 2 wrong command line.";

const JSON: &str = "\
With --json, stdout gets an object with server, shard (as 1/4, or null),
max_placements, faults (as in --faults) and scripts.
Scripts is an array with an object for each script:
  name, script, runs, shared_runs (those that every shard makes), seconds, complete, placements (null if cut),
  cut (the reason, or null), diverged, and finding.
Finding is null, or an object:
  verdict, what, diagnosis, replay, placements, trace, kernel and passing.
With --replay, stdout gets a recording of the run, as --record writes it
(common/explorer/RECORD.md).";

/// A recording of all schedules has so many runs at most. Each of them has its events, and a run with few events is about
/// 50 KB of JSON.
const RECORDED_RUNS: u64 = 300;

/// Find lost wakeups: place a client's steps between a server's system calls
///
/// The script's order is fixed; the explorer places its steps between the server's system calls, in every way up to a
/// bound, on the real kernel. Each run starts a new server under ptrace(2). In the first run, every step comes while
/// the server sleeps. Then one step is placed before a call of a running server, then two. A schedule that fails is
/// shown in two columns, with the kernel's state and the nearest schedule that passes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = long_help())]
pub struct ExploreArgs {
    /// A server of this workspace (04, 04-epoll-et, epoll-et), or your attempt at an exercise (24, 24_ready_flag)
    #[arg(value_name = "SERVER", conflicts_with = "cmd")]
    server: Option<String>,
    /// The command that starts your own server; {port} stands for the port that it must listen on
    #[arg(long, value_name = "COMMAND")]
    cmd: Option<String>,
    /// A standard script, a file, or the steps themselves [default: every standard script]
    #[arg(long, value_name = "SCRIPT")]
    script: Option<String>,
    /// Place at most N steps before calls of a running server [default: 2; with --record-all 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=6))]
    max_placements: Option<u8>,
    /// Explore each script for at most S seconds; schedules with one placement get 20 seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    max_seconds: u32,
    /// Explore one part of the schedules, as 1/4; other machines explore the others
    #[arg(long, value_name = "m/n", conflicts_with_all = ["replay", "record_all"])]
    shard: Option<Shard>,
    /// Add faults that any server can meet, wherever they can occur
    #[arg(long, value_name = "FAULT,..", value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Run only this schedule, and show it
    #[arg(long, value_name = "0,1,..", value_parser = Schedule::parse, requires = "script")]
    replay: Option<Schedule>,
    /// Write a run to a file: the run that fails, the run of --replay, or the run without placements; and beside a run
    /// that fails the nearest one that passes
    #[arg(long, value_name = "FILE.json", requires = "script")]
    record: Option<String>,
    /// Record every schedule up to --max-placements: a run for each gap between two calls (300 runs at most)
    #[arg(long, requires = "record", conflicts_with_all = ["replay", "json"])]
    record_all: bool,
    /// Show every script that fails in full, and not only the first one
    #[arg(long, short)]
    verbose: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Explores one server with each script, or replays one schedule.
pub fn run(args: &ExploreArgs) -> Result<ExitCode, LabError> {
    let scripts = explored::scripts(args.script.as_deref(), &args.faults)?;
    let interrupt = Interrupt::watch()?;
    explorer::possible().map_err(|why| LabError::failed(format!("nothing can be explored on this machine: {why}")))?;
    let subject = match (&args.cmd, &args.server) {
        (Some(line), _) => explored::command(line)?,
        (None, Some(word)) => explored::named(word)?.build(WithoutAttempt::Refuse, &interrupt)?,
        (None, None) => {
            return Err(LabError::usage(
                "name a server of this workspace (cargo lab explore epoll-et), or give --cmd './server {port}'",
            ));
        }
    };
    let scripts = without_signals(args, scripts, subject.own);
    let faults = explored::faults(&args.faults);
    match (&args.replay, &args.record) {
        (Some(schedule), _) => replay(args, &subject, &scripts[0], faults, schedule, &interrupt),
        (None, Some(file)) if args.record_all => {
            let plan = Plan { max_runs: Some(RECORDED_RUNS), ..plan(args, &subject, &scripts[0], faults) };
            record_all(args, file, &plan, &interrupt)
        }
        _ => explore(args, &subject, &scripts, faults, &interrupt),
    }
}

fn plan<'a>(args: &ExploreArgs, subject: &'a explorer::Subject, script: &'a Script, faults: Faults) -> Plan<'a> {
    Plan {
        subject,
        script,
        faults,
        max_placements: args.max_placements(),
        always: 1,
        max_runs: None,
        max_time: Some(Duration::from_secs(args.max_seconds.into())),
    }
}

fn explore(
    args: &ExploreArgs,
    subject: &explorer::Subject,
    scripts: &[Script],
    faults: Faults,
    interrupt: &Interrupt,
) -> Result<ExitCode, LabError> {
    let mut results = Vec::new();
    let mut failing: Vec<(&Script, Finding)> = Vec::new();
    for script in scripts {
        let plan = plan(args, subject, script, faults);
        let explored = explorer::explore_part(&plan, args.part(), interrupt.flag(), &|_| {})
            .map_err(|error| failure(interrupt, &error))?;
        interrupt.check()?;
        if let Some(file) = &args.record {
            let recording = match &explored.finding {
                Some(finding) => Recording::of_finding(&subject.name, script, finding),
                None => {
                    let run = replayed(subject, script, faults, &Schedule::default(), interrupt)?;
                    Recording::new(&subject.name, script, faults, &run, None)
                }
            };
            write_record(file, &recording)?;
        }
        let result = ScriptJson::new(script, &explored);
        if !args.json {
            let part = args.shard.map_or(String::new(), |shard| format!("  part {shard}"));
            terminal::print(&format!("{}{part}\n", result.line()));
        }
        results.push(result);
        failing.extend(explored.finding.map(|finding| (script, finding)));
    }
    let failed = !failing.is_empty();
    if !args.json {
        terminal::print(&told(args, &subject.name, scripts.len(), &failing));
    } else {
        let shard = args.shard.map(|shard| shard.to_string());
        let explored = ExplorationJson {
            server: subject.name.clone(),
            shard,
            max_placements: args.max_placements(),
            faults: explored::words(&args.faults),
            scripts: results,
        };
        terminal::print(&(serde_json::to_string_pretty(&explored).expect("strings and numbers only") + "\n"));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The first finding in full, and how to come to it again; the others, which mostly are the same bug, by name. With
/// `verbose`, all in full.
fn told(args: &ExploreArgs, server: &str, scripts: usize, failing: &[(&Script, Finding)]) -> String {
    let width = terminal::width();
    let words = terminal::wrap(report::WORDS, width).join("\n");
    let Some(((first, finding), others)) = failing.split_first() else {
        return format!("\n{words}\n\n{}", args.how_to_see(None, ""));
    };
    let mut out = String::new();
    let in_full = if args.verbose { failing } else { &failing[..1] };
    for (script, finding) in in_full {
        out += &format!("\n{}", report::finding(server, script, finding, width));
    }
    out += &format!("\n{words}\n\n");
    let names: Vec<&str> = others.iter().map(|(script, _)| script.name.as_str()).collect();
    if !names.is_empty() {
        let text = format!(
            "{} of {scripts} scripts fail, perhaps by the same bug: first mend what {} shows, then try {} again. -v shows each \
             of them in full.",
            failing.len(),
            first.name,
            names.join(", ")
        );
        out += &(terminal::wrap(&text, width).join("\n") + "\n");
    }
    let replay = report::replay_arguments(first, finding);
    out += &format!("again: cargo lab explore {} {replay}\n", args.server_words());
    out + &args.how_to_see(Some(first), &replay)
}

fn replay(
    args: &ExploreArgs,
    subject: &explorer::Subject,
    script: &Script,
    faults: Faults,
    schedule: &Schedule,
    interrupt: &Interrupt,
) -> Result<ExitCode, LabError> {
    let run = replayed(subject, script, faults, schedule, interrupt)?;
    if args.record.is_some() || args.json {
        let recording = recording_of(args, subject, script, faults, &run, interrupt)?;
        if let Some(file) = &args.record {
            write_record(file, &recording)?;
        }
        if args.json {
            terminal::print(&recording.to_json());
        }
    }
    if !args.json {
        let told = report::replayed(&subject.name, script, schedule, &run, terminal::width());
        let replay = format!("--script '{}' --replay {schedule}", report::script_argument(script));
        terminal::print(&format!("{told}\n{}", args.how_to_see(Some(script), &replay)));
    }
    Ok(if run.verdict == Verdict::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A run that was asked for, and if it fails the nearest one that passes.
fn recording_of(
    args: &ExploreArgs,
    subject: &explorer::Subject,
    script: &Script,
    faults: Faults,
    run: &Run,
    interrupt: &Interrupt,
) -> Result<Recording, LabError> {
    let passing = match run.verdict {
        Verdict::Ok => None,
        _ => explorer::passing_beside(&plan(args, subject, script, faults), run, interrupt.flag())
            .map_err(|error| failure(interrupt, &error))?,
    };
    interrupt.check()?;
    Ok(Recording::new(&subject.name, script, faults, run, passing.as_ref()))
}

/// Runs and records every schedule up to the bound.
fn record_all(args: &ExploreArgs, file: &str, plan: &Plan<'_>, interrupt: &Interrupt) -> Result<ExitCode, LabError> {
    let recording =
        explorer::record_all(plan, interrupt.flag(), &|_| {}).map_err(|error| failure(interrupt, &error))?;
    interrupt.check()?;
    write_record(file, &recording)?;
    let failed = recording.runs.iter().filter(|run| run.verdict != Verdict::Ok).count();
    let cut = recording.bound.as_ref().and_then(|bound| bound.cut.as_ref());
    let extent = match cut {
        Some(why) => format!("not all of them: the recording was cut {why}"),
        None => "all of them".to_owned(),
    };
    let (name, runs, most) = (&plan.script.name, recording.runs.len(), plan.max_placements);
    let plural = if most == 1 { "" } else { "s" };
    terminal::print(&format!(
        "{name}: {runs} schedules with at most {most} placement{plural}, {extent}; {failed} fail\n\n{}",
        args.how_to_see(Some(plan.script), "")
    ));
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn replayed(
    subject: &explorer::Subject,
    script: &Script,
    faults: Faults,
    schedule: &Schedule,
    interrupt: &Interrupt,
) -> Result<Run, LabError> {
    let run = explorer::replay(subject, script, faults, schedule, interrupt.flag());
    let run = run.map_err(|error| failure(interrupt, &error))?;
    interrupt.check()?;
    Ok(run)
}

fn write_record(file: &str, recording: &Recording) -> Result<(), LabError> {
    std::fs::write(file, recording.to_json())
        .map_err(|error| LabError::failed(format!("--record {file}: {error}; give a file that can be written")))?;
    terminal::complain(&format!("recorded: {file}"));
    Ok(())
}

impl ExploreArgs {
    /// Which part of the schedules, from 0, and of how many.
    fn part(&self) -> (u64, u64) {
        self.shard.map_or((0, 1), |it| (it.at as u64 - 1, it.of as u64))
    }

    fn max_placements(&self) -> usize {
        self.max_placements.unwrap_or(if self.record_all { 1 } else { 2 }).into()
    }

    /// The last line: how to see the run in a browser. `replay` are the arguments that lead to it, if it was asked for or
    /// found.
    fn how_to_see(&self, script: Option<&Script>, replay: &str) -> String {
        let words = self.server_words();
        if let Some(file) = &self.record {
            return format!("see it: cargo lab show {}\n", shell_words::quote(file));
        }
        // What `show` explores by itself: the standard bound, and no faults.
        let by_itself =
            self.max_placements.is_none_or(|most| most <= 2) && explored::faults(&self.faults) == Faults::default();
        let Some(script) = script else {
            let script = self.script.as_ref().map(|text| format!(" --script {}", shell_words::quote(text)));
            return format!("see it: cargo lab show {words}{}\n", script.unwrap_or_default());
        };
        match (by_itself, &self.replay) {
            (false, _) => {
                format!("see it: cargo lab explore {words} {replay} --record run.json; cargo lab show run.json\n")
            }
            (true, Some(schedule)) => format!(
                "see it: cargo lab show {words} --script '{}' --replay {schedule}\n",
                report::script_argument(script)
            ),
            (true, None) => {
                format!("see it: cargo lab show {words} --script '{}'\n", report::script_argument(script))
            }
        }
    }

    /// The words that name the server.
    fn server_words(&self) -> String {
        let own = || self.cmd.as_ref().map(|line| format!("--cmd {}", shell_words::quote(line)));
        own().or_else(|| self.server.clone()).unwrap_or_default()
    }
}

/// What a signal does is this repository's own choice, here as in `check`. A script that was asked for is explored.
fn without_signals(args: &ExploreArgs, scripts: Vec<Script>, own: bool) -> Vec<Script> {
    if own || args.script.is_some() {
        return scripts;
    }
    let has_signal = |script: &Script| script.steps.iter().any(|step| matches!(step, Step::Signal(_)));
    let (left_out, explored): (Vec<Script>, Vec<Script>) = scripts.into_iter().partition(has_signal);
    for script in left_out {
        let name = script.name;
        terminal::complain(&format!(
            "script {name} is skipped: what a signal does is this repository's own choice (--script {name} explores it)"
        ));
    }
    explored
}

/// The examples, the language of scripts, the standard scripts, and the fields of the JSON.
fn long_help() -> String {
    let scripts: Vec<String> = explorer::script::STANDARD.iter().map(|(name, text)| listed(name, text)).collect();
    let (language, scripts) = (explorer::script::LANGUAGE, scripts.join("\n"));
    format!("{EXAMPLES}\n\n{language}\n\nThe standard scripts:\n{scripts}\n\n{JSON}")
}

/// A script in two columns. It is wrapped here, between its steps, because clap would begin the next line at the
/// margin.
fn listed(name: &str, text: &str) -> String {
    const INDENT: usize = 17;
    let steps: Vec<String> = text.split("; ").map(|step| step.replace(' ', "\u{a0}")).collect();
    let lines = terminal::wrap(&steps.join("; "), 80 - INDENT).join(&format!("\n{}", " ".repeat(INDENT)));
    format!("  {name:<15}{lines}").replace('\u{a0}', " ")
}
