//! The record of a run: what `cargo lab measure --json` writes, and `common/bench/reference.json` holds.
//!
//! Invariant: `common/bench/MEASURED.md` documents it. Within a version a field keeps its meaning.

use serde::{Deserialize, Serialize};

use crate::chart::Chart;

/// The field `format` of every record.
pub const FORMAT: &str = "event-loop-measurements";
/// The field `version`: it grows when a field changes or is removed.
pub const VERSION: u32 = 1;

/// One run of `cargo lab measure`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Whether it was a run of `--quick`.
    pub quick: bool,
    /// Why it ended early, if it did: the experiments that are missing were not run.
    #[serde(default)]
    pub interrupted: Option<String>,
    /// Where it was measured.
    pub environment: Environment,
    /// What each experiment found, in the order of the catalogue.
    pub experiments: Vec<Measured>,
}

/// The machine, and its state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// `Linux 6.18.44`.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// How many processors this program may use.
    pub cores: usize,
    /// What the kernel does against faults of the processor: the file's name, and what it says.
    pub mitigations: Vec<(String, String)>,
    /// Limits that end a curve: RLIMIT_NOFILE (soft and hard), RLIMIT_MEMLOCK ...
    pub limits: Vec<(String, String)>,
    /// The load average of one minute before the run.
    pub load_before: f64,
    /// After it.
    pub load_after: f64,
    /// When it began, UTC: `2026-11-27 22:50`.
    pub date: String,
    /// The commit that was measured; `+` behind it if files were changed.
    pub commit: String,
}

/// What one experiment found, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name in the catalogue.
    pub name: String,
    /// The claim, as it stood in the catalogue then.
    pub claim: String,
    /// How long it took.
    pub seconds: f64,
    /// Runs that a neighbour disturbed, and that were made again.
    pub repeated: u32,
    /// Runs that a neighbour disturbed, and that count for want of better ones.
    pub disturbed: u32,
    /// What it found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What an experiment found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the claim holds.
    pub verdict: Verdict,
    /// One sentence with the figures that the verdict rests on: `at 9,000 idle, poll takes 19 times what epoll-lt takes`.
    pub found: String,
    /// The pictures; the first one is the experiment's own.
    pub charts: Vec<Chart>,
    /// What has to be known to read them: a limit that was met, a server that was left out and why.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Whether the claim holds on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does.
    Holds,
    /// It does under a condition: `many reads are in flight`.
    HoldsIf(String),
    /// It does not, and why: `pread is cheaper at each depth`.
    DoesNot(String),
    /// Nothing can be said, because this machine lacks something.
    Skipped(String),
    /// The experiment went wrong. Only the framework gives this verdict, for an `Err`.
    Failed(String),
}

impl Outcome {
    /// Nothing could be measured here.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped(why.into()), found: String::new(), charts: Vec::new(), notes: Vec::new() }
    }
}

impl Verdict {
    /// As the table says it.
    pub fn in_words(&self) -> String {
        match self {
            Self::Holds => "holds".into(),
            Self::HoldsIf(condition) => format!("holds if {condition}"),
            Self::DoesNot(why) => format!("does not hold here: {why}"),
            Self::Skipped(why) => format!("skipped: {why}"),
            Self::Failed(why) => format!("failed: {why}"),
        }
    }

    /// Whether something was measured.
    pub fn is_measured(&self) -> bool {
        !matches!(self, Self::Skipped(_) | Self::Failed(_))
    }
}

impl Record {
    /// The record in this text.
    ///
    /// # Errors
    /// If it is none, or one of another version.
    pub fn parse(json: &str) -> Result<Self, String> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head = serde_json::from_str(json).map_err(|error| format!("no record of a measurement: {error}"))?;
        if head.format != FORMAT {
            return Err(format!("format is '{}', and a record of a measurement has '{FORMAT}'", head.format));
        }
        if head.version != VERSION {
            return Err(format!("version is {}, and this program reads {VERSION}: measure again", head.version));
        }
        serde_json::from_str(json).map_err(|error| format!("a record that lacks something: {error}"))
    }

    /// The record as text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record has neither maps nor numbers that JSON lacks") + "\n"
    }

    /// What an experiment found.
    pub fn experiment(&self, name: &str) -> Option<&Measured> {
        self.experiments.iter().find(|measured| measured.name == name)
    }
}

impl Measured {
    /// A chart by its name.
    pub fn chart(&self, name: &str) -> Option<&Chart> {
        self.outcome.charts.iter().find(|chart| chart.name == name)
    }
}

impl Environment {
    /// The machine and the day in one line: `AMD EPYC, 2 cores, Linux 6.18.44, 2026-11-27`.
    pub fn in_short(&self) -> String {
        let day = self.date.split(' ').next().unwrap_or_default();
        let cores = if self.cores == 1 { "1 core".to_owned() } else { format!("{} cores", self.cores) };
        let parts = [self.cpu.as_str(), &cores, &self.kernel, day];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<&str>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = record();
        assert_eq!(Record::parse(&record.to_json()), Ok(record));
    }

    #[test]
    fn a_field_that_a_later_program_added_is_ignored() {
        let record = record();
        let more = record.to_json().replacen('{', "{\"temperature\": 40,", 1);
        assert_eq!(Record::parse(&more), Ok(record));
    }

    #[test]
    fn another_format_or_version_is_refused_by_its_name() {
        let json = record().to_json();
        let other = json.replacen("\"version\": 1", "\"version\": 9", 1);
        assert!(Record::parse(&other).unwrap_err().contains("version is 9"));
        let other = json.replacen(FORMAT, "event-loop-run", 1);
        assert!(Record::parse(&other).unwrap_err().contains("event-loop-run"));
        assert!(Record::parse("[]").is_err() && Record::parse("").is_err());
    }

    #[test]
    fn a_verdict_says_under_which_condition_and_why() {
        assert_eq!(Verdict::HoldsIf("many are busy".into()).in_words(), "holds if many are busy");
        assert_eq!(Verdict::DoesNot("it is dearer".into()).in_words(), "does not hold here: it is dearer");
        assert!(!Verdict::Skipped(String::new()).is_measured() && Verdict::Holds.is_measured());
    }
}
