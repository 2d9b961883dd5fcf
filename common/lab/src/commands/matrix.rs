//! `cargo lab matrix`: every starter and every solution against every check.
//!
//! Invariant: exit code 0 means that every starter that can run here fails its checks for its reason, that every solution
//! fails nothing, and that none of them compiles with a warning.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use harness::checks::GROUPS;
use harness::{Check, Outcome, Report};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cargo::{self, Program, ProgramKind};
use crate::checking::jobs::{self, RunEvent};
use crate::checking::results::duration;
use crate::course::{self, Exercise, proof};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::terminal::{self, Palette};
use crate::workspace;

/// The lines of exercises/README.md between which the table stands.
const BEGIN: &str = "<!-- matrix: written by `cargo lab matrix --write` -->";
const END: &str = "<!-- end of the matrix -->";

const EXAMPLES: &str = "\
Examples:
  cargo lab matrix                  every exercise, every check: a minute or two for each
  cargo lab matrix --only 19        one exercise
  cargo lab matrix --quick          an exercise's own checks and those that all have to pass, as in cargo test
  cargo lab matrix --write          and the table into exercises/README.md, if there is no surprise

Exit code: 0 no surprise; 1 at least one, or a server did not build; 2 wrong command line.";

/// Prove the exercises: starters fail as they should, solutions pass
///
/// A surprise is a starter that passes one of its exercise's checks or fails it for another reason, a starter that fails a
/// check that all have to pass and that exercise.toml does not expect, a solution that fails anything, and a warning of the
/// compiler's.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct MatrixArgs {
    /// These exercises only, by number or name
    #[arg(long, value_name = "NN", num_args = 1..)]
    only: Vec<String>,
    /// Not every check: an exercise's own, and those that all have to pass
    #[arg(long)]
    quick: bool,
    /// How many checks to run at once [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Put the table into exercises/README.md
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    write: bool,
}

/// One exercise's row.
struct ExerciseProof<'a> {
    exercise: &'a Exercise,
    /// Of its starter.
    starter: Vec<Report>,
    /// Of its solution.
    solution: Vec<Report>,
    surprises: Vec<String>,
    /// Why it was not run.
    skipped: Option<&'static str>,
    seconds: f64,
}

/// Runs the command.
pub fn run(args: &MatrixArgs) -> Result<ExitCode, LabError> {
    let folder = workspace::root()?.join("exercises");
    let exercises = course::exercise::chosen(course::load(&folder)?, &args.only)?;
    let readme = folder.join("README.md");
    if args.write {
        // Before the minutes that it takes.
        with_table(&read(&readme)?, "").ok_or_else(|| no_place(&readme))?;
    }
    let interrupt = Interrupt::watch()?;
    let program = cargo::build_programs(&[Program {
        folder: "exercises",
        package: "exercises",
        kind: ProgramKind::Bin,
        name: "exercises",
    }]);
    let program = program.map_err(|error| interrupt.check().err().unwrap_or(error))?.remove(0);
    let warnings = warnings(&folder, &interrupt)?;
    let known = registered(&program)?;
    let mut rows = Vec::new();
    for exercise in &exercises {
        let mut row = prove(args, exercise, &program.to_string_lossy(), &interrupt)?;
        row.surprises.extend(proof::unfinished(exercise));
        row.surprises.extend(warnings.iter().filter(|it| it.contains(&format!("{}/", exercise.name))).cloned());
        if row.skipped.is_none() && !known.contains(&format!("{}/starter", exercise.name)) {
            row.surprises.push("it is not registered in exercises/src/main.rs; 'cargo lab new --help' says how".into());
        }
        terminal::complain(&line(&row, Palette::stderr()));
        rows.push(row);
    }
    terminal::print(&report(&rows, Palette::stdout()));
    let surprises = rows.iter().map(|row| row.surprises.len()).sum::<usize>();
    if args.write && surprises == 0 {
        let table = with_table(&read(&readme)?, &markdown(&rows)).ok_or_else(|| no_place(&readme))?;
        fs::write(&readme, table).map_err(|error| LabError::failed(format!("write {}: {error}", readme.display())))?;
        terminal::complain(&format!("the table is in {}", workspace::shown(&readme)));
    } else if args.write {
        terminal::complain("the table was not written, because there are surprises");
    }
    Ok(if surprises == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What an exercise's two servers are tried with.
fn checks(exercise: &Exercise, quick: bool) -> Vec<&'static Check> {
    // The place for what other kinds of proofs an exercise names besides checks (schedules of an explorer, say).
    let wanted = |check: &&Check| {
        let name = check.full_name();
        exercise.about.must_pass.iter().any(|proof| proof.check == name) || exercise.kept().any(|kept| kept == name)
    };
    harness::checks().filter(|check| !quick || wanted(check)).collect()
}

fn prove<'a>(
    args: &MatrixArgs,
    exercise: &'a Exercise,
    program: &str,
    interrupt: &Interrupt,
) -> Result<ExerciseProof<'a>, LabError> {
    let start = Instant::now();
    let mut row =
        ExerciseProof { exercise, starter: vec![], solution: vec![], surprises: vec![], skipped: None, seconds: 0.0 };
    let chapter = harness::CHAPTERS.iter().find(|chapter| chapter.folder == exercise.about.chapter);
    if chapter.is_some_and(|chapter| !chapter.here) {
        row.skipped = Some("its API is not on this platform");
        return Ok(row);
    }
    let checks = checks(exercise, args.quick);
    let subjects = ["starter", "solution"]
        .map(|which| exercise.subject(vec![program.to_owned(), format!("{}/{which}", exercise.name)]));
    let bar = ProgressBar::new(2 * checks.len() as u64);
    let style = ProgressStyle::with_template("{prefix}  {wide_bar} {pos}/{len} checks");
    bar.set_style(style.expect("a template that is right"));
    bar.set_prefix(exercise.name.clone());
    let batch = jobs::batch(0..2, &checks, args.jobs.map_or_else(harness::workers, usize::from));
    let [starter, solution] = [&subjects[0], &subjects[1]];
    let mut reports = jobs::run(&[starter, solution], &checks, &[batch], interrupt.flag(), |event| {
        if matches!(event, RunEvent::Finished(..)) {
            bar.inc(1);
        }
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    interrupt.check()?;
    row.solution = reports.remove(1).into_iter().flatten().collect();
    row.starter = reports.remove(0).into_iter().flatten().collect();
    for proof in &exercise.about.must_pass {
        let report = row.starter.iter_mut().find(|report| report.check == proof.check);
        let check = checks.iter().find(|check| check.full_name() == proof.check);
        if let (Some(report), Some(check)) = (report, check)
            && matches!(report.outcome, Outcome::Pass)
        {
            *report = proof::run_named(check, starter);
        }
        interrupt.check()?;
    }
    row.surprises = proof::starter_surprises(exercise, &row.starter);
    row.surprises.extend(proof::solution_surprises(&row.solution));
    row.seconds = start.elapsed().as_secs_f64();
    Ok(row)
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

/// In each group of checks: how many were tried, how many fail, and whether one of the exercise's own is among them.
fn cells(row: &ExerciseProof<'_>) -> Vec<(&'static str, usize, usize, usize)> {
    let own = |report: &&Report| row.exercise.about.must_pass.iter().any(|proof| proof.check == report.check);
    let of = |group: &str| {
        let all: Vec<&Report> =
            row.starter.iter().filter(|it| it.check.split_once("::").is_some_and(|(it, _)| it == group)).collect();
        let failed: Vec<&Report> = all.iter().copied().filter(|it| matches!(it.outcome, Outcome::Fail(_))).collect();
        (all.len(), failed.len(), failed.iter().copied().filter(|it| own(it)).count())
    };
    GROUPS
        .iter()
        .copied()
        .map(|group| {
            let (all, failed, own) = of(group);
            (group, all, failed, own)
        })
        .collect()
}

/// One exercise in a line.
fn line(row: &ExerciseProof<'_>, palette: Palette) -> String {
    let head = palette.heading(&row.exercise.name);
    if let Some(why) = row.skipped {
        return format!("{head}  {} {why}", palette.left_out("skipped:"));
    }
    let failed = |(group, all, failed, own): (&str, usize, usize, usize)| {
        let named = if own > 0 { format!(", {own} of its own") } else { String::new() };
        (failed > 0).then(|| format!("{group} {failed} of {all}{named}"))
    };
    let fails: Vec<String> = cells(row).into_iter().filter_map(failed).collect();
    let fails = if fails.is_empty() { "nothing".into() } else { fails.join("; ") };
    let count = |of: fn(&Outcome) -> bool| row.solution.iter().filter(|report| of(&report.outcome)).count();
    let (passed, skipped) = (count(|it| matches!(it, Outcome::Pass)), count(|it| matches!(it, Outcome::Skip { .. })));
    let surprises = match row.surprises.len() {
        0 => palette.good("as it should be"),
        some => palette.bad(&terminal::count(some, "surprise")),
    };
    format!(
        "{head}  {surprises}; the starter fails {fails}; the solution passes {passed}, {skipped} skipped  {}",
        palette.faint(&duration(row.seconds))
    )
}

fn report(rows: &[ExerciseProof<'_>], palette: Palette) -> String {
    let mut out = markdown(rows);
    let surprises = rows.iter().flat_map(|row| row.surprises.iter().map(move |surprise| (row, surprise)));
    for (row, surprise) in surprises {
        out += &format!("\n{} {}  {surprise}\n", palette.bad("SURPRISE"), palette.heading(&row.exercise.name));
    }
    let count = rows.iter().map(|row| row.surprises.len()).sum::<usize>();
    let seconds = rows.iter().map(|row| row.seconds).sum();
    let skipped = rows.iter().filter(|row| row.skipped.is_some()).count();
    let skipped = if skipped > 0 { format!(", {skipped} of them skipped") } else { String::new() };
    let (exercises, surprises) = (terminal::count(rows.len(), "exercise"), terminal::count(count, "surprise"));
    out + &format!("\n{exercises}{skipped}: {surprises} in {}\n", duration(seconds))
}

/// The table: how many checks of each group a starter fails; in bold if its own are among them.
fn markdown(rows: &[ExerciseProof<'_>]) -> String {
    let cells: Vec<_> = rows.iter().map(cells).collect();
    let fails = |group: usize| cells.iter().any(|row| row[group].2 > 0);
    let groups: Vec<usize> = (0..GROUPS.len()).filter(|group| fails(*group)).collect();
    let mut table = vec![vec!["exercise".to_owned()]];
    table[0].extend(groups.iter().map(|group| GROUPS[*group].to_owned()));
    table.push(table[0].iter().map(|_| "---".to_owned()).collect());
    for (row, cells) in rows.iter().zip(&cells) {
        let cell = |group: &usize| match cells[*group] {
            _ if row.skipped.is_some() => "skip".to_owned(),
            (_, _, 0, _) => String::new(),
            (_, all, failed, 0) => format!("{failed}/{all}"),
            (_, all, failed, _) => format!("**{failed}/{all}**"),
        };
        table.push(std::iter::once(row.exercise.name.clone()).chain(groups.iter().map(cell)).collect());
    }
    let width = |column: usize| table.iter().map(|row| terminal::columns(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| terminal::padded(cell, *width)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    table.iter().map(line).collect()
}

fn read(readme: &Path) -> Result<String, LabError> {
    fs::read_to_string(readme).map_err(|error| LabError::failed(format!("read {}: {error}", readme.display())))
}

/// A README with this table in its place; nothing if it has no place for one.
fn with_table(readme: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

fn no_place(readme: &Path) -> LabError {
    LabError::failed(format!(
        "{} has no place for the table; put these two lines where it belongs:\n  {BEGIN}\n  {END}",
        readme.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before_and_nothing_else() {
        let readme = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = with_table(&readme, "| a |\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\n| a |\n\n{END}\nafter\n"));
        assert_eq!(with_table(&new, "| a |\n").unwrap(), new);
        assert_eq!(with_table("no place", ""), None);
    }
}
