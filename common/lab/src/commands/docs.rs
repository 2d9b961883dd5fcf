//! `cargo lab docs`: writes what is generated.
//!
//! Invariant: exit code 0 means that every generated part is up to date when the command ends.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::docs::{self, matrix, region};
use crate::error::LabError;
use crate::terminal;
use crate::workspace;

const AFTER: &str = "\
Generated are
  common/harness/README.md     the groups of checks, the mutants, and what survives of mutate.py
  exercises/src/servers.rs     the registry of the exercises
  exercises/INSTRUCTORS.md     titles, minutes, points and lessons
  exercises/README.md          the kill matrix, from exercises/starters.toml
  common/harness/README.md     also the chapters' matrix, only with --measure (about a minute)
  MEASURED.md, the chapters'   the tables of costs, from common/bench/reference.json
  common/bench/pictures        its pictures

The sources are the checks, the mutants' catalogue, survivors.toml, the exercises' exercise.toml and the record of \
'cargo lab measure --json common/bench/reference.json'. 'cargo test' fails when a part is stale. \
'cargo lab matrix --write' writes exercises/starters.toml.";

/// Write the generated tables and the registry of the exercises
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct DocsArgs {
    /// Only say what is stale
    #[arg(long, conflicts_with = "measure")]
    check: bool,
    /// Run all checks on all chapters, and write the matrix in common/harness/README.md
    #[arg(long)]
    measure: bool,
}

/// Writes, or says, what is stale.
pub fn run(args: &DocsArgs) -> Result<ExitCode, LabError> {
    let root = workspace::root()?;
    if args.measure {
        measure(&root)?;
    }
    let mut stale = docs::stale(&root)?;
    if let Some(readme) = with_mutants(&root, &mut stale)? {
        stale.push(readme);
    }
    for file in &stale {
        if !args.check {
            docs::write(&root, file.path, &file.wanted)?;
        }
        terminal::print(&format!("{} {}\n", if args.check { "stale:" } else { "written:" }, file.path));
    }
    let outdated = docs::outdated_matrices(&root)?;
    for line in &outdated {
        terminal::complain(line);
    }
    let is_done = outdated.is_empty() && (stale.is_empty() || !args.check);
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The harness's README with the table that the mutants' own program prints. If the file is stale anyway, it is changed
/// in place.
fn with_mutants(root: &Path, stale: &mut [docs::StaleFile]) -> Result<Option<docs::StaleFile>, LabError> {
    const PATH: &str = "common/harness/README.md";
    if !cfg!(target_os = "linux") {
        terminal::complain("the mutants run on Linux only, so their table was left as it is");
        return Ok(None);
    }
    terminal::complain("the mutants' own program prints their table: cargo builds it first, which can take minutes");
    let mut cargo = crate::cargo::cargo();
    cargo.args(["test", "--quiet", "--package", "harness", "--test", "mutants"]).env("MUTANTS", "table");
    let output = cargo.current_dir(root).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| LabError::failed(format!("cannot run cargo: {error}")))?;
    if !output.status.success() {
        return Err(LabError::failed("the mutants' program did not print its table; cargo says why above"));
    }
    let table = String::from_utf8_lossy(&output.stdout);
    let wrong = |wrong| LabError::failed(format!("{PATH}: {wrong}"));
    if let Some(file) = stale.iter_mut().find(|file| file.path == PATH) {
        file.wanted = region::replaced(&file.wanted, "mutants", &table).map_err(wrong)?;
        return Ok(None);
    }
    let text = read(root, PATH)?;
    let wanted = region::replaced(&text, "mutants", &table).map_err(wrong)?;
    Ok((wanted != text).then_some(docs::StaleFile { path: PATH, wanted }))
}

/// Runs `cargo lab check` on all chapters, and writes the matrix.
fn measure(root: &Path) -> Result<(), LabError> {
    let lab = std::env::current_exe().map_err(|error| LabError::failed(format!("where the lab is: {error}")))?;
    let output = Command::new(lab).args(["check", "--json"]).current_dir(root).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| LabError::failed(format!("cannot run the checks: {error}")))?;
    let json = String::from_utf8_lossy(&output.stdout);
    let text = read(root, matrix::FILE)?;
    let wanted = matrix::readme(&text, &json).map_err(LabError::failed)?;
    docs::write(root, matrix::FILE, &wanted)
}

fn read(root: &Path, path: &str) -> Result<String, LabError> {
    fs::read_to_string(root.join(path)).map_err(|error| LabError::failed(format!("read {path}: {error}")))
}
