//! `cargo lab matrix --fixes`: what the wrong and the right fixes are worth.
//!
//! Invariant: a wrong fix that gets more points than its kind allows is a surprise; so is a right fix that gets less than all.

use harness::Outcome;

use crate::cargo::{self, Program, ProgramKind};
use crate::checking::results::duration;
use crate::course::decimal;
use crate::course::{self, Exercise, Extent, Judgement, fixes};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::terminal::{self, Palette};

/// Judges each fix by the whole suite; how many surprises there were.
pub fn run(exercises: &[Exercise]) -> Result<usize, LabError> {
    let interrupt = Interrupt::watch()?;
    let program = Program { folder: "exercises/fixes", package: "fixes", kind: ProgramKind::Bin, name: "fixes" };
    let program =
        cargo::build_programs(&[program]).map_err(|error| interrupt.check().err().unwrap_or(error))?.remove(0);
    let mut surprises = 0;
    for (exercise, fixes) in fixes::load(exercises)? {
        let wrong = fixes.wrong.iter().map(|fix| (format!("wrong/{}", fix.name), fix.most(exercise), false));
        let right = fixes.right.iter().map(|fix| (format!("right/{}", fix.name), 1.0, true));
        for (name, most, is_right) in wrong.chain(right) {
            let server = format!("{}/{name}", exercise.name);
            let subject = exercise.subject(vec![program.to_string_lossy().into_owned(), server.clone()]);
            let judged = course::judging::judge_until(exercise, &subject, Extent::Whole, interrupt.flag(), |_| {});
            let Some(judgement) = judged else { return Err(interrupt.check().err().unwrap_or_else(stopped)) };
            let is_surprise = if is_right { !judgement.passed() } else { judgement.share() > most };
            surprises += usize::from(is_surprise);
            terminal::print(&line(&server, &judgement, is_surprise));
        }
    }
    Ok(surprises)
}

fn stopped() -> LabError {
    LabError::failed("stopped".to_owned())
}

fn line(server: &str, judgement: &Judgement, is_surprise: bool) -> String {
    let palette = Palette::stdout();
    let failed = judgement.all().filter(|report| matches!(report.outcome, Outcome::Fail(_)));
    let failed: Vec<&str> = failed.map(|report| report.check.as_str()).collect();
    let fails = match failed.as_slice() {
        [] => "fails nothing".to_owned(),
        [only] => format!("fails {only}"),
        [first, others @ ..] => format!("fails {first} and {}", terminal::count(others.len(), "more check")),
    };
    let word = if is_surprise { palette.bad("SURPRISE") } else { palette.good("as it should be") };
    let seconds = duration(judgement.all().map(|report| report.seconds).sum());
    format!(
        "{}  {word}; {} of its points; it {fails}  {seconds}\n",
        palette.heading(server),
        decimal(judgement.share())
    )
}
