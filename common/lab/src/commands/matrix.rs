//! `cargo lab matrix`: every starter and every solution against every check.
//!
//! Invariant: exit code 0 means three things. Every starter that can run here fails its exercise's checks for the
//! stated reason; every solution fails nothing; and neither compiles with a warning.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use harness::Outcome;
use indicatif::{ProgressBar, ProgressStyle};

use super::matrix_table::{self, BEGIN, END, with_table};
use crate::cargo::{self, Program, ProgramKind};
use crate::checking::results::duration;
use crate::course::proof::{self, ExerciseProof, Prover};
use crate::course::{self, Exercise};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::terminal::{self, Palette};
use crate::workspace::{self, shown};

const EXAMPLES: &str = "\
Examples:
  cargo lab matrix            every exercise, every check: a minute or two each
  cargo lab matrix --only 19  one exercise
  cargo lab matrix --quick    only own checks and kept checks, as in cargo test
  cargo lab matrix --write    write the table too, if there is no surprise

Exit code: 0 no surprise; 1 at least one surprise, or a server did not build; 2 wrong command line.";

/// Prove the exercises: starters fail as they should, solutions pass
///
/// A surprise is one of these: a starter passes one of its exercise's checks, or fails it for another reason; a starter
/// fails a kept check, which every attempt has to pass, and exercise.toml does not expect it; a solution fails any
/// check; the compiler warns about a starter or a solution.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct MatrixArgs {
    /// Prove only these exercises, by number or name
    #[arg(long, value_name = "NN", num_args = 1..)]
    only: Vec<String>,
    /// Run only an exercise's own checks and the kept checks
    #[arg(long)]
    quick: bool,
    /// Run at most N checks at once [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Write the table into exercises/README.md
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    write: bool,
}

/// Proves each exercise, and prints the table.
pub fn run(args: &MatrixArgs) -> Result<ExitCode, LabError> {
    let folder = workspace::root()?.join("exercises");
    let exercises = course::exercise::chosen(course::load(&folder)?, &args.only)?;
    let readme = folder.join("README.md");
    if args.write {
        // Before the proofs, which take minutes.
        with_table(&read(&readme)?, "").ok_or_else(|| no_place(&readme))?;
    }
    let proofs = prove_all(args, &exercises, &folder)?;
    terminal::print(&report(&proofs, Palette::stdout()));
    let surprises: usize = proofs.iter().map(|proof| proof.surprises.len()).sum();
    if args.write && surprises == 0 {
        let table = matrix_table::markdown(&proofs);
        let table = with_table(&read(&readme)?, &table).ok_or_else(|| no_place(&readme))?;
        fs::write(&readme, table).map_err(|error| LabError::failed(format!("write {}: {error}", readme.display())))?;
        terminal::complain(&format!("the table is in {}", shown(&readme)));
    } else if args.write {
        terminal::complain("the table was not written, because there are surprises");
    }
    Ok(if surprises == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Proves each exercise, and says how it went on stderr.
fn prove_all<'a>(
    args: &MatrixArgs,
    exercises: &'a [Exercise],
    folder: &Path,
) -> Result<Vec<ExerciseProof<'a>>, LabError> {
    let interrupt = Interrupt::watch()?;
    let program = Program { folder: "exercises", package: "exercises", kind: ProgramKind::Bin, name: "exercises" };
    let program =
        cargo::build_programs(&[program]).map_err(|error| interrupt.check().err().unwrap_or(error))?.remove(0);
    let (warnings, registered) = (warnings(folder, &interrupt)?, registered(&program)?);
    let workers = args.jobs.map_or_else(harness::workers, usize::from);
    let prover = Prover { program: &program, quick: args.quick, workers, interrupt: &interrupt };
    let mut proofs = Vec::new();
    for exercise in exercises {
        let bar = bar(exercise);
        let mut proof = prover.prove(exercise, &|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        proof.surprises.extend(proof::unfinished(exercise));
        proof.surprises.extend(warnings.iter().filter(|it| it.contains(&format!("{}/", exercise.name))).cloned());
        if proof.skipped.is_none() && !registered.contains(&format!("{}/starter", exercise.name)) {
            let how = "it is not registered in exercises/src/servers.rs: cargo lab docs";
            proof.surprises.push(how.into());
        }
        terminal::complain(&line(&proof, Palette::stderr()));
        proofs.push(proof);
    }
    Ok(proofs)
}

fn bar(exercise: &Exercise) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix}  {wide_bar} {pos}/{len} checks").expect("a valid template");
    ProgressBar::new(0).with_style(style).with_prefix(exercise.name.clone())
}

/// The compiler's warnings about exercises, whether it compiled them now or earlier.
fn warnings(folder: &Path, interrupt: &Interrupt) -> Result<Vec<String>, LabError> {
    let mut command = cargo::cargo();
    command.args(["build", "--quiet", "--message-format=json", "--bin", "exercises", "--manifest-path"]);
    command.arg(folder.join("Cargo.toml")).stderr(Stdio::null());
    let build = cargo::run(&mut command, "the exercises", interrupt.flag())?;
    interrupt.check()?;
    let messages = build.map(|build| build.messages).unwrap_or_default();
    Ok(messages.warnings_about("exercises").map(str::to_owned).collect())
}

/// The servers that the program has.
fn registered(program: &Path) -> Result<Vec<String>, LabError> {
    let output = Command::new(program).output();
    let output = output.map_err(|error| LabError::failed(format!("start {}: {error}", program.display())))?;
    Ok(String::from_utf8_lossy(&output.stderr).lines().map(|line| line.trim().to_owned()).collect())
}

/// One exercise in a line.
fn line(proof: &ExerciseProof<'_>, palette: Palette) -> String {
    let head = palette.heading(&proof.exercise.name);
    if let Some(why) = proof.skipped {
        return format!("{head}  {} {why}", palette.left_out("skipped:"));
    }
    let mut fails = Vec::new();
    for cell in matrix_table::cells(proof) {
        let own = if cell.own > 0 { format!(", {} of its own", cell.own) } else { String::new() };
        if cell.failed > 0 {
            fails.push(format!("{} {} of {}{own}", cell.group, cell.failed, cell.run));
        }
    }
    let fails = if fails.is_empty() { "nothing".into() } else { fails.join("; ") };
    let count = |of: fn(&Outcome) -> bool| proof.solution.iter().filter(|report| of(&report.outcome)).count();
    let (passed, skipped) = (count(|it| matches!(it, Outcome::Pass)), count(|it| matches!(it, Outcome::Skip { .. })));
    let surprises = match proof.surprises.len() {
        0 => palette.good("as it should be"),
        some => palette.bad(&terminal::count(some, "surprise")),
    };
    format!(
        "{head}  {surprises}; the starter fails {fails}; the solution passes {passed}, {skipped} skipped  {}",
        palette.faint(&duration(proof.seconds))
    )
}

/// The table, the surprises, and a line that counts both.
fn report(proofs: &[ExerciseProof<'_>], palette: Palette) -> String {
    let mut out = matrix_table::markdown(proofs);
    for proof in proofs {
        for surprise in &proof.surprises {
            let (word, name) = (palette.bad("SURPRISE"), palette.heading(&proof.exercise.name));
            out += &format!("\n{word} {name}  {surprise}\n");
        }
    }
    let surprises = terminal::count(proofs.iter().map(|proof| proof.surprises.len()).sum(), "surprise");
    let seconds = proofs.iter().map(|proof| proof.seconds).sum();
    let skipped = proofs.iter().filter(|proof| proof.skipped.is_some()).count();
    let skipped = if skipped > 0 { format!(", {skipped} of them skipped") } else { String::new() };
    let exercises = terminal::count(proofs.len(), "exercise");
    out + &format!("\n{exercises}{skipped}: {surprises} in {}\n", duration(seconds))
}

fn read(readme: &Path) -> Result<String, LabError> {
    fs::read_to_string(readme).map_err(|error| LabError::failed(format!("read {}: {error}", readme.display())))
}

fn no_place(readme: &Path) -> LabError {
    LabError::failed(format!(
        "{} has no place for the table; put these two lines where it belongs:\n  {BEGIN}\n  {END}",
        readme.display()
    ))
}
