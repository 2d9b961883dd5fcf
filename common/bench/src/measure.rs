//! The command line of `measure`, which `cargo lab measure` starts.
//!
//! Invariant: a name or a file at fault is said before the first experiment. The exit code is 0 if every experiment ran
//! or was skipped, 1 if one failed, 2 if the command line is wrong, and 128 plus the signal's number after a signal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser;
use figures::{CATALOGUE, Record, Verdict, file, html};

use crate::experiments;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::run::{self, Plan, Shared, lock};
use crate::{Experiment, report};

/// Repeats the course's claims about costs on this machine
#[derive(Debug, Clone, Parser)]
#[command(name = "measure")]
pub struct MeasureArgs {
    /// The experiments [default: all]
    names: Vec<String>,
    /// End within two minutes: fewer rounds, fewer points
    #[arg(long)]
    quick: bool,
    /// Write the record here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with every picture and table here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Plots in ASCII, and no line that changes
    #[arg(long)]
    plain: bool,
    /// The folder of the peers' programs
    #[arg(long, value_name = "FOLDER", conflicts_with = "without_peers")]
    peers: Option<PathBuf>,
    /// Why there are no peers' programs
    #[arg(long, value_name = "WHY")]
    without_peers: Option<String>,
}

/// The record that others are compared with.
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reference.json");

/// The program.
pub fn main() -> ExitCode {
    let args = MeasureArgs::parse();
    match run(&args) {
        Ok(code) => code,
        Err(wrong) => {
            eprintln!("error: {wrong}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &MeasureArgs) -> Result<ExitCode, String> {
    let chosen = chosen(&args.names)?;
    for path in [&args.json, &args.html].into_iter().flatten() {
        file::can_be_written(path)?;
    }
    let reference = run::read(Path::new(REFERENCE)).unwrap_or_else(|wrong| {
        eprintln!("the reference is left out: {wrong}");
        None
    });
    let programs = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let programs = programs.parent().unwrap_or(Path::new(".")).to_owned();
    let unbuilt = || args.without_peers.clone().unwrap_or_else(|| "'cargo lab measure' builds them".to_owned());
    let peers = args.peers.clone().ok_or_else(unbuilt);
    let plan = Plan { quick: args.quick, programs, peers, reference };
    let record: Shared = Arc::new(Mutex::new(run::empty(args.quick)));
    let (late, late_args, late_reference) = (record.clone(), args.clone(), plan.reference.clone());
    let interrupt = Interrupt::watch(move || {
        let mut record = lock(&late);
        record.interrupted = Some("a signal came".into());
        let _ = write(&late_args, &record, late_reference.as_ref());
    });
    let interrupt = interrupt.map_err(|error| format!("cannot handle Ctrl-C: {error}"))?;
    let plain = args.plain || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    run::run(&plan, &chosen, Progress::new(chosen.len(), args.plain), &interrupt, &record);
    let record = lock(&record);
    let width = report::width();
    print(&format!(
        "{}{}",
        report::plots(&record, width, plain),
        report::table(&record, plan.reference.as_ref(), width, plain)
    ));
    let written = write(args, &record, plan.reference.as_ref());
    crate::interrupt::kill_servers();
    if let Some(signal) = interrupt.signal() {
        eprintln!("interrupted; no server was left running");
        return Ok(ExitCode::from(128 + signal as u8));
    }
    if let Err(wrong) = written {
        eprintln!("error: {wrong}");
        return Ok(ExitCode::FAILURE);
    }
    let failed = record.experiments.iter().any(|it| matches!(it.outcome.verdict, Verdict::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The experiments with these names, in the catalogue's order; all if there is no name.
fn chosen(names: &[String]) -> Result<Vec<&'static Experiment>, String> {
    if let Some(unknown) = names.iter().find(|name| experiments::by_name(name).is_none()) {
        let known: Vec<&str> = experiments::ALL.iter().map(|experiment| experiment.name).collect();
        return Err(format!("there is no experiment '{unknown}'; there are {}", known.join(" ")));
    }
    let is_chosen = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let all = CATALOGUE.iter().filter(|about| is_chosen(about.name));
    Ok(all.filter_map(|about| experiments::by_name(about.name)).collect())
}

/// Writes what was asked for.
fn write(args: &MeasureArgs, record: &Record, reference: Option<&Record>) -> Result<(), String> {
    let cannot = |path: &Path, error: std::io::Error| format!("write {}: {error}", path.display());
    if let Some(path) = &args.json {
        std::fs::write(path, record.to_json()).map_err(|error| cannot(path, error))?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(record, reference)).map_err(|error| cannot(path, error))?;
    }
    Ok(())
}

/// To stdout, whose reader may have gone.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let wrong = chosen(&["wat".into()]).unwrap_err();
        assert!(wrong.contains("'wat'"), "{wrong}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused_before_the_first_experiment() {
        let args = MeasureArgs::parse_from(["measure", "--json", "/nonexistent/folder/a.json"]);
        let wrong = run(&args).expect_err("no such folder");
        assert!(wrong.contains("/nonexistent/folder/a.json"), "{wrong}");
    }
}
