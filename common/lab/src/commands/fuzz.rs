//! `cargo lab check --fuzz`: scripts by chance on servers, and the shortest script that fails.
//!
//! Invariant: exit code 0 means that on every selected server scripts were played, and that none failed. A failure
//! comes with the command that plays its script again.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::fuzz::{self, Fuzzed, LANGUAGE, Plan, Script};

use crate::checking::bars::{self, FuzzProgress};
use crate::checking::servers::TestedServer;
use crate::class::shard::Shard;
use crate::course::attempt::{self, AttemptBuild};
use crate::course::{Course, Exercise};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::parts::fuzzed::{self, FuzzedServer, Played};
use crate::terminal::{self, Palette};
use crate::workspace::shown;

/// The fields of the JSON, for `--help`.
const JSON: &str = "\
With --fuzz --json, stdout gets an array with an object for each server:
  name, folder, shard (as 1/4, or null), seed, scripts, steps, seconds, undecided (a list of numbers of scripts, each with the reason),
  skipped (the reason why nothing was tried, or null), and finding.
Finding is null, or an object:
  number (of the script that failed first), steps (its length), script (the shortest script that fails),
  runs and failed (how often that was played at last, and failed), and report (as without --fuzz).";

/// How many seconds a search for a shorter script may take.
const SHRINKING: Duration = Duration::from_secs(20);
/// How often a script is played that is given.
const REPLAYED: u32 = 5;

/// Scripts by chance.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Fuzz")]
pub struct FuzzArgs {
    /// Let clients do what comes by chance, instead of the checks; a failing script is made as short as it can be
    #[arg(long, conflicts_with_all = ["list", "fail_fast"])]
    pub fuzz: bool,
    /// Make the scripts from this number [default: a new one]
    #[arg(long, value_name = "N", requires = "fuzz")]
    seed: Option<u64>,
    /// Play one part of a seed's scripts, as 1/4; other machines play the others
    #[arg(long, value_name = "m/n", requires_all = ["fuzz", "seed"], conflicts_with = "replay")]
    shard: Option<Shard>,
    /// Begin no more scripts after N seconds for each server
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400), requires = "fuzz")]
    seconds: u32,
    /// Play this script only, five times: a file, or the steps themselves
    #[arg(long, value_name = "SCRIPT", requires = "fuzz", conflicts_with = "seed")]
    replay: Option<String>,
}

/// What `--help` says of the language of scripts and of the JSON.
pub fn long_help() -> String {
    format!("Scripts of --fuzz. {LANGUAGE}\n\n{JSON}")
}

/// Fuzzes servers, one after the other.
pub fn run(
    args: &FuzzArgs,
    servers: &[TestedServer],
    at_once: usize,
    json: bool,
    interrupt: &Interrupt,
) -> Result<ExitCode, LabError> {
    let script = args.script()?;
    let seed = args.seed.unwrap_or_else(new_seed);
    if script.is_none() {
        terminal::complain(&format!("seed {seed}"));
    }
    let mut all = Vec::new();
    for server in servers {
        let fuzzed = match &script {
            Some(script) => bars::waiting(format!("{} plays the script", server.subject.name), |_| {
                fuzz::replay(&server.subject, script, REPLAYED, interrupt.flag())
            }),
            None => {
                let plan = Plan {
                    seed,
                    part: args.shard.map_or((0, 1), |it| (it.at as u64 - 1, it.of as u64)),
                    time: Duration::from_secs(args.seconds.into()),
                    scripts: u64::MAX,
                    servers: at_once,
                    shrinking: SHRINKING,
                };
                let progress = FuzzProgress::new(&server.subject.name, seed);
                let fuzzed = fuzz::run(&server.subject, plan, interrupt.flag(), &|event| progress.show(event));
                progress.clear();
                fuzzed
            }
        };
        interrupt.check()?;
        if !json {
            let played = if script.is_some() { Played::Given } else { Played::ByChance };
            terminal::print(&fuzzed::told(&server.subject.name, &server.words, &fuzzed, played));
        }
        all.push(fuzzed);
    }
    if json {
        let shard = args.shard.map(|shard| shard.to_string());
        let list = servers.iter().zip(&all).map(|(server, fuzzed)| FuzzedServer {
            name: server.subject.name.clone(),
            folder: server.folder.map(str::to_owned),
            shard: shard.clone(),
            fuzzed: fuzzed.clone(),
        });
        let list: Vec<FuzzedServer> = list.collect();
        terminal::print(&(serde_json::to_string_pretty(&list).expect("strings and numbers only") + "\n"));
    }
    // Where no script had a verdict, nothing is known.
    let judged = |fuzzed: &Fuzzed| fuzzed.scripts > fuzzed.undecided.len() as u64 || fuzzed.skipped.is_some();
    let good = |fuzzed: &Fuzzed| fuzzed.finding.is_none() && judged(fuzzed);
    Ok(if all.iter().all(good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The attempts at some exercises, built.
pub fn attempts(course: &Course, places: &[usize], interrupt: &Interrupt) -> Result<Vec<TestedServer>, LabError> {
    places.iter().map(|at| attempted(&course.exercises[*at], interrupt)).collect()
}

fn attempted(exercise: &Exercise, interrupt: &Interrupt) -> Result<TestedServer, LabError> {
    let palette = Palette::stderr();
    let built = bars::waiting(format!("building {}", exercise.name), |_| {
        attempt::build(exercise, palette.is_on(), interrupt.flag())
    });
    interrupt.check()?;
    match built? {
        AttemptBuild::Program(program, _) => Ok(TestedServer {
            subject: exercise.subject(vec![program.to_string_lossy().into_owned()]),
            folder: None,
            words: format!("{:02}", exercise.number),
        }),
        AttemptBuild::Refused(refusal) => {
            terminal::complain(refusal.said.trim_end());
            Err(LabError::failed(format!("{} {}", shown(&exercise.attempt()), refusal.what)))
        }
        AttemptBuild::Stopped => Err(LabError::failed("the build was stopped")),
    }
}

/// A seed that nobody has had before.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    (now.as_nanos() as u64 ^ u64::from(std::process::id())) % 1_000_000
}

impl FuzzArgs {
    /// The script that is to be played, if one is given.
    pub fn script(&self) -> Result<Option<Script>, LabError> {
        let Some(text) = &self.replay else { return Ok(None) };
        let steps = match Path::new(text).is_file() {
            true => {
                std::fs::read_to_string(text).map_err(|error| LabError::usage(format!("--replay {text}: {error}")))?
            }
            false => text.clone(),
        };
        let hint = if text.contains(' ') { "" } else { "\n  There is no such file either." };
        let script = steps.parse().map_err(|what| LabError::usage(format!("--replay: {what}{hint}")))?;
        Ok(Some(script))
    }
}
