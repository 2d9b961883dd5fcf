//! `cargo lab merge`: what several machines did of one piece of work, put together.
//!
//! Invariant: exit code 0 means that the whole was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::grade::GradeFormat;
use super::grade_class;
use crate::class::grades::ClassGrades;
use crate::class::{merge, record};
use crate::error::LabError;
use crate::grading::formats::{Show, Visibility};
use crate::parts::explored::ExplorationJson;
use crate::parts::fuzzed::FuzzedServer;
use crate::parts::{explored, fuzzed, refuse};
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  cargo lab merge part-1.json part-2.json part-3.json
  cargo lab merge --format csv --output grades.csv part-*.json

Each file is what one of these has written, with --shard m/n:
  cargo lab grade --class DIR --shard 1/3 --format json --output part-1.json
  cargo lab explore SERVER --shard 1/3 --json > part-1.json
  cargo lab check SERVER --fuzz --seed N --shard 1/3 --json > part-1.json

All files have to be of the same work and the same options, and every part has to be there once. What a machine could not \
grade is listed on stderr: grade it again elsewhere. An exploration and a fuzz are written as text or as JSON.

Exit code: 0 merged; 1 the parts do not make a whole; 2 wrong command line.";

/// Put the parts of a class, an exploration or a fuzz together that several machines have done
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct MergeArgs {
    /// The JSON of every part
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The format of what is written
    #[arg(long, value_enum, default_value_t = GradeFormat::Text)]
    format: GradeFormat,
    /// How much of a failure is shown
    #[arg(long, value_enum, default_value_t)]
    show: Show,
    /// Who sees the tests on Gradescope
    #[arg(long, value_enum, default_value_t)]
    visibility: Visibility,
    /// Where to write it [default: stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What a part is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Class,
    Exploration,
    Fuzz,
}

impl Work {
    fn of(part: &Value) -> Option<Self> {
        match part {
            Value::Array(_) => Some(Self::Fuzz),
            Value::Object(fields) if fields.contains_key("students") => Some(Self::Class),
            Value::Object(fields) if fields.contains_key("scripts") => Some(Self::Exploration),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Class => "a class",
            Self::Exploration => "an exploration",
            Self::Fuzz => "a fuzz",
        }
    }
}

/// Merges, and writes the whole.
pub fn run(args: &MergeArgs) -> Result<ExitCode, LabError> {
    let mut parts: Vec<(String, Work, Value)> = Vec::new();
    for file in &args.files {
        let shown = file.display().to_string();
        let text = fs::read(file).map_err(|error| LabError::usage(format!("{shown}: {error}")))?;
        let part: Value = serde_json::from_slice(&text).map_err(|error| not_a_part(&shown, &error.to_string()))?;
        let Some(work) = Work::of(&part) else { return Err(not_a_part(&shown, "it has other fields")) };
        if let Some((other, first, _)) = parts.first().filter(|(_, first, _)| *first != work) {
            return refuse(format!("{shown} is a part of {}, and {other} of {}", work.word(), first.word()));
        }
        parts.push((shown, work, part));
    }
    let Some((_, work, _)) = parts.first() else {
        return Err(LabError::usage("no file to merge; give the JSON of every part"));
    };
    match work {
        Work::Class => {
            grade_class::require_output(args.format, args.output.as_deref())?;
            let class: ClassGrades = merge::merge(typed(parts)?)?;
            grade_class::write(&class, args.format, args.show, args.visibility, args.output.as_deref())?;
        }
        Work::Exploration => {
            let whole: ExplorationJson = explored::merge(&typed(parts)?)?;
            write(args, Work::Exploration, &whole, ExplorationJson::told)?;
        }
        Work::Fuzz => {
            let whole: Vec<FuzzedServer> = fuzzed::merge(&typed(parts)?)?;
            write(args, Work::Fuzz, &whole, |whole, _| fuzzed::told_of_all(whole))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn typed<T: DeserializeOwned>(parts: Vec<(String, Work, Value)>) -> Result<Vec<(String, T)>, LabError> {
    let one = |(file, _, part): (String, Work, Value)| match serde_json::from_value(part) {
        Ok(part) => Ok((file, part)),
        Err(error) => Err(not_a_part(&file, &error.to_string())),
    };
    parts.into_iter().map(one).collect()
}

fn not_a_part(file: &str, why: &str) -> LabError {
    LabError::failed(format!("{file} is not the JSON of a part ({why}); cargo lab merge --help says how to write it"))
}

fn write<T: Serialize>(
    args: &MergeArgs,
    work: Work,
    whole: &T,
    told: impl Fn(&T, usize) -> String,
) -> Result<(), LabError> {
    let text = match args.format {
        GradeFormat::Text => told(whole, terminal::width()),
        GradeFormat::Json => serde_json::to_string_pretty(whole).expect("strings and numbers only") + "\n",
        _ => {
            let what = "is written as text or as json; the other formats are for grades";
            return Err(LabError::usage(format!("--format: {} {what}", work.word())));
        }
    };
    match &args.output {
        Some(file) => record::write_whole(Path::new(file), text.as_bytes()),
        None => {
            terminal::print(&text);
            Ok(())
        }
    }
}
