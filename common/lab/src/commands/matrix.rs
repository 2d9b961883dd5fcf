//! `cargo lab matrix`: every starter and every solution against every check.
//!
//! Invariant: exit code 0 means three things. Every starter that can run here fails its exercise's checks for the
//! stated reason; every solution fails nothing; and neither compiles with a warning.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use harness::Outcome;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cargo::{self, Program, ProgramKind};
use crate::checking::results::duration;
use crate::course::proof::{self, ExerciseProof, Prover, WantedChecks};
use crate::course::{self, Exercise, StarterRecord};
use crate::docs;
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::terminal::{self, Palette};
use crate::workspace;

const EXAMPLES: &str = "\
Examples:
  cargo lab matrix            every exercise, every check: a minute or two each
  cargo lab matrix --only 19  one exercise
  cargo lab matrix --fixes    the wrong and the right fixes too: half a minute each
  cargo lab matrix --quick    only own checks and quick checks, as in cargo test
  cargo lab matrix --write    the checks that are new: run them, and write the table if there is no surprise

Exit code: 0 no surprise; 1 at least one surprise, or a server did not build; 2 wrong command line.";

/// Prove the exercises: starters fail as they should, solutions pass
///
/// A surprise is one of these: a starter passes one of its exercise's checks, or fails it for another reason; a solution
/// fails any check; the compiler warns about a starter or a solution.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct MatrixArgs {
    /// Prove only these exercises, by number or name
    #[arg(long, value_name = "NN", num_args = 1..)]
    only: Vec<String>,
    /// Run only an exercise's own checks, and the checks that are quick
    #[arg(long)]
    quick: bool,
    /// Run at most N checks at once [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Run only the checks that exercises/starters.toml lacks, on all exercises, and write it and the table in
    /// exercises/README.md; so it stands alone, without --only
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    write: bool,
    /// Run the whole suite on the wrong and the right fixes too, and compare their points
    #[arg(long, conflicts_with_all = ["quick", "write"])]
    fixes: bool,
    /// With --write: run every check
    #[arg(long, requires = "write")]
    again: bool,
}

/// Proves each exercise, and prints the surprises.
pub fn run(args: &MatrixArgs) -> Result<ExitCode, LabError> {
    let root = workspace::root()?;
    let folder = root.join("exercises");
    let exercises = course::exercise::chosen(course::load(&folder)?, &args.only)?;
    let mut record = if args.again { StarterRecord::default() } else { StarterRecord::load(&folder)? };
    let wanted = match (args.write, args.quick) {
        (true, _) => WantedChecks::New(record.clone()),
        (false, true) => WantedChecks::Quick,
        (false, false) => WantedChecks::All,
    };
    let proofs = prove_all(args, wanted, &exercises, &folder)?;
    terminal::print(&report(&proofs, Palette::stdout()));
    let mut surprises: usize = proofs.iter().map(|proof| proof.surprises.len()).sum();
    if args.fixes {
        surprises += super::matrix_fixes::run(&exercises)?;
    }
    if args.write {
        if surprises > 0 || proofs.iter().any(|proof| proof.skipped.is_some()) {
            terminal::complain("nothing was written: there are surprises, or exercises that cannot run here");
            return Ok(ExitCode::FAILURE);
        }
        let ran: Vec<_> = proofs.iter().map(|proof| (proof.exercise, proof.starter_results())).collect();
        record.update(course::check_names(), &ran);
        record.save(&folder)?;
        for file in docs::stale(&root)?.iter().filter(|file| file.path == docs::STARTERS) {
            docs::write(&root, file.path, &file.wanted)?;
        }
        terminal::complain("exercises/starters.toml and the table in exercises/README.md are up to date");
    }
    Ok(if surprises == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Proves each exercise, and says how it went on stderr.
fn prove_all<'a>(
    args: &MatrixArgs,
    wanted: WantedChecks,
    exercises: &'a [Exercise],
    folder: &Path,
) -> Result<Vec<ExerciseProof<'a>>, LabError> {
    let interrupt = Interrupt::watch()?;
    let program = Program { folder: "exercises", package: "exercises", kind: ProgramKind::Bin, name: "exercises" };
    let program =
        cargo::build_programs(&[program]).map_err(|error| interrupt.check().err().unwrap_or(error))?.remove(0);
    let (warnings, registered) = (warnings(folder, &interrupt)?, registered(&program)?);
    let workers = args.jobs.map_or_else(harness::workers, usize::from);
    let prover = Prover { program: &program, wanted, workers, interrupt: &interrupt };
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
    if proof.starter.is_empty() && proof.surprises.is_empty() {
        return format!("{head}  nothing new to run");
    }
    let mut fails = Vec::new();
    let run = proof.starter.iter().map(|report| report.check.as_str());
    let failed = proof.starter.iter().filter(|report| matches!(report.outcome, Outcome::Fail(_)));
    for cell in docs::starters::cells(proof.exercise, run, failed.map(|report| report.check.as_str())) {
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

/// The surprises, and a line that counts them.
fn report(proofs: &[ExerciseProof<'_>], palette: Palette) -> String {
    let mut out = String::new();
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
