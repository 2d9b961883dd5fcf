//! `cargo lab merge`: the parts of a class, as several machines have graded them.
//!
//! Invariant: exit code 0 means that the grades of all students were written.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use super::grade::GradeFormat;
use super::grade_class;
use crate::class::grades::ClassGrades;
use crate::class::merge::merge;
use crate::error::LabError;
use crate::grading::formats::{Show, Visibility};

const EXAMPLES: &str = "\
Examples:
  cargo lab merge part-1.json part-2.json part-3.json
  cargo lab merge --format csv --output grades.csv part-*.json

Each file is what 'cargo lab grade --class DIR --shard m/n --format json' has written. All have to be of the same class, \
commit and options, and every part has to be there once. What a machine could not check is listed on stderr: grade it again \
elsewhere.

Exit code: 0 merged; 1 the parts do not make a class; 2 wrong command line.";

/// Put the parts of a class together that several machines have graded
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct MergeArgs {
    /// The JSON of every part
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The format of the grades
    #[arg(long, value_enum, default_value_t = GradeFormat::Text)]
    format: GradeFormat,
    /// How much of a failure is shown
    #[arg(long, value_enum, default_value_t)]
    show: Show,
    /// Who sees the tests on Gradescope
    #[arg(long, value_enum, default_value_t)]
    visibility: Visibility,
    /// Where to write the grades [default: stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Merges, and writes the grades.
pub fn run(args: &MergeArgs) -> Result<ExitCode, LabError> {
    grade_class::require_output(args.format, args.output.as_deref())?;
    let mut parts = Vec::new();
    for file in &args.files {
        let shown = file.display().to_string();
        let text = fs::read(file).map_err(|error| LabError::usage(format!("{shown}: {error}")))?;
        let part: ClassGrades = serde_json::from_slice(&text).map_err(|error| {
            LabError::failed(format!(
                "{shown} is not the JSON of a part of a class ({error}); write it by: cargo lab grade --class DIR --shard \
                 m/n --format json --output {shown}"
            ))
        })?;
        parts.push((shown, part));
    }
    let class = merge(parts)?;
    grade_class::write(&class, args.format, args.show, args.visibility, args.output.as_deref())?;
    Ok(ExitCode::SUCCESS)
}
