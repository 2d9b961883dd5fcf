//! One attempt, from the student's file to what the student is told: built, checked, noted, explained.
//!
//! Invariant: every text that is returned here ends with what to do next.

use std::fmt::Write;
use std::sync::atomic::AtomicBool;

use harness::{Check, Outcome, Report};

use super::attempt::{self, AttemptBuild, Refusal};
use super::judging::{Extent, JudgeNews, Judgement, Stage, judge_until};
use super::{Course, Exercise, StudentProgress, decimal, progress};
use crate::checking::results::{self, Results};
use crate::checking::servers::TestedServer;
use crate::error::LabError;
use crate::terminal::{self, Palette};
use crate::workspace::shown;

/// What a check of an attempt came to, each with what to tell the student.
#[derive(Debug)]
pub enum CheckedAttempt {
    /// It was judged.
    Judged(Judgement, String),
    /// It could not be built.
    Refused(String),
    /// It was told to stop.
    Stopped,
}

/// What a check of an attempt has to say before its end.
#[derive(Debug)]
pub enum CheckNews {
    /// A line that stays.
    Line(String),
    /// How far it is; the next one takes its place.
    Progress(String),
}

/// Builds and checks an attempt, notes the result, and says how it went. `tell` gets what can be shown before the
/// end. `verbose` tells of every failure in full.
pub fn check(
    course: &mut Course,
    at: usize,
    palette: Palette,
    verbose: bool,
    stop: &AtomicBool,
    mut tell: impl FnMut(CheckNews) + Send,
) -> Result<CheckedAttempt, LabError> {
    let exercise = &course.exercises[at];
    // Taken before the build: what the student saves while the checks run is another text.
    let digest = progress::digest(exercise);
    let built = attempt::build(exercise, palette.is_on(), stop)?;
    course.progress = StudentProgress::load(&course.exercises)?;
    course.progress.is_checked(exercise);
    course.save();
    let (program, warnings) = match built {
        AttemptBuild::Program(program, warnings) => (program, warnings),
        AttemptBuild::Refused(Refusal { said, what }) => {
            let (fail, path) = (palette.bad("FAIL"), shown(&exercise.attempt()));
            return Ok(CheckedAttempt::Refused(format!("{said}\n{fail} {path} {what}\n")));
        }
        AttemptBuild::Stopped => return Ok(CheckedAttempt::Stopped),
    };
    if !warnings.is_empty() {
        tell(CheckNews::Line(warnings.trim_end().to_owned()));
    }
    let subject = exercise.subject(vec![program.to_string_lossy().into_owned()]);
    let mut failed = Vec::new();
    let judged = judge_until(exercise, &subject, Extent::OwnFirst, stop, |news| match news {
        JudgeNews::Failed(check) => {
            failed.push(check.full_name());
            tell(CheckNews::Line(check_line(palette.bad("FAIL"), &check.full_name())));
        }
        JudgeNews::Ended(report, stage) => {
            let is_news = stage.is_own || matches!(report.outcome, Outcome::Fail(_));
            if is_news && !failed.contains(&report.check) {
                tell(CheckNews::Line(report_line(report, palette)));
            }
            tell(CheckNews::Progress(so_far(stage, failed.len())));
        }
    });
    let Some(judgement) = judged else { return Ok(CheckedAttempt::Stopped) };
    // Read again: a hint may have been shown while the checks ran.
    course.progress = StudentProgress::load(&course.exercises)?;
    course.progress.note(exercise, digest.unwrap_or_default(), judgement.share(), judgement.passed());
    course.save();
    let told = told(course, at, &judgement, palette, verbose);
    Ok(CheckedAttempt::Judged(judgement, told))
}

/// How far a check is.
fn so_far(Stage { is_own, done, all }: Stage, failed: usize) -> String {
    let of = if is_own { "its own checks" } else { "the rest of the suite; its own checks pass" };
    let failed = if failed > 0 { format!("; {failed} failed") } else { String::new() };
    format!("{done} of {all} of {of}{failed}")
}

/// The first failure's story, what else failed, and what to do next.
fn told(course: &Course, at: usize, judgement: &Judgement, palette: Palette, verbose: bool) -> String {
    let exercise = &course.exercises[at];
    let mut out = failures(exercise, judgement, palette, verbose);
    out += &skipped(exercise, judgement, palette, verbose);
    let head = palette.heading(&format!("{:02} {}", exercise.number, exercise.about.title));
    if judgement.passed() {
        out += &passed(course, at, judgement, &head, palette);
    } else if judgement.untried() {
        out += &format!("{} {head}: none of its own checks can run here", palette.left_out("skipped"));
    } else {
        out += &not_yet(exercise, judgement, &head, palette);
    }
    out + "\n"
}

/// Why checks were skipped: in full if that is asked for, and for the exercise's own checks, without which it has not
/// passed.
fn skipped(exercise: &Exercise, judgement: &Judgement, palette: Palette, verbose: bool) -> String {
    let own = judgement.own.len();
    let mut out = String::new();
    for (place, report) in judgement.all().enumerate() {
        if let Outcome::Skip { reason } = &report.outcome
            && (verbose || place < own)
        {
            let _ = writeln!(out, "{} {}: {reason}", palette.left_out("skipped"), report.check);
        }
    }
    let others = judgement.all().skip(own);
    if let (false, Some(skipped)) = (verbose, results::skipped_here(others)) {
        let _ = writeln!(out, "{skipped} (cargo lab check {:02} -v says why)", exercise.number);
    }
    out
}

fn passed(course: &Course, at: usize, judgement: &Judgement, head: &str, palette: Palette) -> String {
    let exercise = &course.exercises[at];
    let next = match course.next_after(at) {
        Some(next) => format!("next: cargo lab start {:02}", course.exercises[next].number),
        None => "that was the last exercise: cargo lab list".to_owned(),
    };
    let what = if exercise.solution().is_some() { "the solution" } else { "what you changed" };
    format!(
        "{} {head}: {}\n{next}; {what}: cargo lab diff {:02}",
        palette.good("passed"),
        points(exercise, judgement),
        exercise.number
    )
}

fn failures(exercise: &Exercise, judgement: &Judgement, palette: Palette, verbose: bool) -> String {
    let failed: Vec<&Report> = judgement.all().filter(|report| report.symptom().is_some()).collect();
    let kinds = results::kinds(&failed);
    if verbose {
        return failed.iter().map(|report| story(exercise, report, palette)).collect();
    }
    let Some((first, others)) = kinds.split_first() else { return String::new() };
    let mut out = story(exercise, first[0], palette);
    if let more @ 1.. = first.len() - 1 {
        let _ = writeln!(out, "{} of the same kind.", terminal::count(more, "more failure"));
    }
    for kind in others {
        out += &other_kind(kind, palette);
    }
    if failed.len() > 1 {
        let _ = writeln!(out, "each in full: cargo lab check {:02} -v", exercise.number);
    }
    out
}

/// Failures with another symptom than the first one has: their own evidence, in short.
fn other_kind(kind: &[&Report], palette: Palette) -> String {
    let Outcome::Fail(failure) = &kind[0].outcome else { return String::new() };
    let more = match kind.len() - 1 {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let text = format!("  {}\n  cause: {}", failure.what, failure.cause);
    let text = terminal::wrap_lines(&text, terminal::width());
    format!("{} ({}): {}{more}\n{text}", palette.bad("and in another way"), failure.symptom, kind[0].check)
}

fn not_yet(exercise: &Exercise, judgement: &Judgement, head: &str, palette: Palette) -> String {
    let broken = judgement.starter_passed.iter().filter(|report| matches!(report.outcome, Outcome::Fail(_)));
    let broken = results::first_told(broken);
    let rule = match broken {
        _ if !judgement.is_mended() && !judgement.ended_early() => "The bug is still there, in another shape.\n".into(),
        Some(report) if judgement.is_mended() => format!(
            "All that the starter failed works now. But the fix breaks clause {} of the contract, which the starter keeps.\n",
            report.clause
        ),
        _ => String::new(),
    };
    let (most, why) = match judgement {
        _ if judgement.share() == 0.0 => ("", ""),
        _ if judgement.ended_early() => ("at most ", "; the rest of the suite runs once its own checks pass"),
        _ if judgement.is_mended() => ("", "; at most three quarters while the fix breaks something else"),
        _ => ("", "; at most half while a check fails that the starter fails too"),
    };
    let untouched = if attempt::is_untouched(exercise) { " (the attempt is still the starter)" } else { "" };
    format!(
        "{rule}{} {head}: {most}{}{why}{untouched}\nedit {} and check again; a hint: cargo lab hint {:02}",
        palette.bad("not yet"),
        points(exercise, judgement),
        shown(&exercise.attempt()),
        exercise.number
    )
}

/// `07 The sets: 1.5 of 3 points; passed`.
pub fn in_a_line(exercise: &Exercise, judgement: &Judgement) -> String {
    let how = match judgement {
        _ if judgement.passed() => "passed",
        _ if judgement.untried() => "none of its own checks can run here",
        _ if judgement.ended_early() => "not yet; the rest of the suite runs once its own checks pass",
        _ => "not yet",
    };
    format!("{:02} {}: {}; {how}", exercise.number, exercise.about.title, points(exercise, judgement))
}

/// `1.5 of 3 points`.
fn points(exercise: &Exercise, judgement: &Judgement) -> String {
    let all = exercise.about.points;
    format!("{} of {}", decimal(f64::from(all) * judgement.share()), terminal::count(all as usize, "point"))
}

/// A failure as it is told below the matrix, for a person.
fn story(exercise: &Exercise, report: &Report, palette: Palette) -> String {
    let check: Vec<&'static Check> = harness::all_checks().filter(|check| check.full_name() == report.check).collect();
    let words = format!("{:02}", exercise.number);
    let servers = [TestedServer { subject: exercise.subject(Vec::new()), folder: None, words }];
    let reports = vec![vec![Some(report.clone())]];
    let results = Results { checks: &check, servers: &servers, reports, seconds: 0.0 };
    results.failures(Some(terminal::width()), palette, true)
}

/// `ok`, `FAIL` or `skip`, and the check.
pub fn report_line(report: &Report, palette: Palette) -> String {
    let word = match report.outcome {
        Outcome::Pass => palette.good("  ok"),
        Outcome::Fail(_) => palette.bad("FAIL"),
        Outcome::Skip { .. } => palette.left_out("skip"),
    };
    check_line(word, &report.check)
}

fn check_line(word: String, check: &str) -> String {
    format!("  {word}  {check}")
}
