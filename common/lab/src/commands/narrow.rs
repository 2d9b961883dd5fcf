//! What narrows a run of checks on servers: `--except` and `--profile`.
//!
//! Invariant: what is left out was asked to be left out, or is shown as skipped with its reason. A run of no check at all is
//! refused.

use std::time::Duration;

use clap::ValueEnum;
use harness::{Check, Outcome, Report};

use crate::checking::jobs::Reports;
use crate::error::LabError;
use crate::selection;

/// A check of the quick profile takes a few seconds at most, so a run that begins none after this is over in half a minute.
const QUICK: Duration = Duration::from_secs(20);
/// The explorer starts a server for each schedule. One that takes a second to start, under a tracer, costs minutes.
const NOT_QUICK: &str = "interleaving";

/// How much of the suite is run.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Fewer checks")]
pub struct NarrowArgs {
    /// Leave out these groups or checks
    #[arg(long, value_name = "GROUP", num_args = 1.., value_delimiter = ',', conflicts_with = "fuzz")]
    except: Vec<String>,
    /// How much to check
    #[arg(long, value_enum, default_value_t = Profile::Full, conflicts_with = "fuzz")]
    profile: Profile,
}

/// A selection that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// One or two checks of each group, where the common bugs show: under 30 s for a server that is not broken
    Quick,
    /// All checks, but for the long ones (--long)
    Full,
}

impl NarrowArgs {
    /// The option that was given, if any.
    pub fn given(&self) -> Option<&'static str> {
        match (self.except.is_empty(), self.profile) {
            (false, _) => Some("--except"),
            (true, Profile::Quick) => Some("--profile quick"),
            (true, Profile::Full) => None,
        }
    }

    /// Those of the checks that are run; `long` asks for the long ones.
    pub fn narrow(&self, checks: Vec<&'static Check>, long: bool) -> Result<Vec<&'static Check>, LabError> {
        if self.profile == Profile::Quick && long {
            return Err(LabError::usage("--long runs the checks that take long, and --profile quick leaves them out"));
        }
        let except = selection::checks_of(&self.except).map_err(|word| {
            LabError::usage(format!(
                "--except: '{}' names no group and no check.{}\n  groups: {}\n  Write servers before --except.",
                word.word,
                word.did_you_mean(),
                harness::checks::GROUPS.join(" ")
            ))
        })?;
        let is_wanted = |check: &&'static Check| match self.profile {
            Profile::Quick => check.quick && check.group != NOT_QUICK,
            Profile::Full => true,
        };
        let left: Vec<&'static Check> =
            checks.into_iter().filter(is_wanted).filter(|check| !except.contains(&check.full_name())).collect();
        match (left.is_empty(), self.given()) {
            (true, Some(option)) => Err(LabError::usage(format!("{option} leaves no check to run"))),
            _ => Ok(left),
        }
    }

    /// When a run on so many servers begins no more checks.
    pub fn limit(&self, servers: usize) -> Option<Duration> {
        match self.profile {
            Profile::Quick => Some(QUICK * u32::try_from(servers.max(1)).unwrap_or(u32::MAX)),
            Profile::Full => None,
        }
    }
}

/// Gives every check that was not begun in time a skip with its reason.
pub fn skip_the_rest(reports: &mut Reports, checks: &[&'static Check], limit: Duration) {
    for of_a_server in reports {
        for (report, check) in of_a_server.iter_mut().zip(checks).filter(|(report, _)| report.is_none()) {
            let reason = format!(
                "not begun: --profile quick begins no check after {} s, and this machine or the server is slow; without \
                 --profile all checks are run",
                limit.as_secs()
            );
            let outcome = Outcome::Skip { reason };
            *report = Some(Report { check: check.full_name(), clause: check.clause, seconds: 0.0, outcome });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(except: &[&str], profile: Profile) -> NarrowArgs {
        NarrowArgs { except: except.iter().map(|word| (*word).to_owned()).collect(), profile }
    }

    fn left(args: &NarrowArgs) -> Vec<String> {
        args.narrow(harness::checks().collect(), false).unwrap().iter().map(|check| check.full_name()).collect()
    }

    #[test]
    fn a_group_a_check_and_a_part_of_a_name_are_left_out() {
        let all = harness::checks().count();
        let idle = harness::checks().filter(|check| check.group == "idle").count();
        let without = left(&args(&["idle", "echo::one_byte_comes_back"], Profile::Full));
        assert_eq!(without.len(), all - idle - 1);
        assert!(!left(&args(&["half_close"], Profile::Full)).iter().any(|name| name.contains("half_close")));
        assert_eq!(left(&args(&[], Profile::Full)).len(), all);
    }

    #[test]
    fn a_word_that_is_no_check_is_refused_and_so_is_a_run_of_nothing() {
        let refused = |except: &[&str]| args(except, Profile::Full).narrow(harness::checks().collect(), false);
        assert!(refused(&["drian"]).unwrap_err().message.contains("Did you mean drain"));
        assert!(refused(&["04"]).unwrap_err().message.contains("Write servers before --except"));
        assert!(refused(harness::checks::GROUPS).unwrap_err().message.contains("leaves no check"));
        assert!(args(&[], Profile::Quick).narrow(harness::checks().collect(), true).is_err());
    }

    #[test]
    fn the_quick_profile_has_a_check_of_nearly_every_group() {
        let quick = left(&args(&[], Profile::Quick));
        let groups = harness::checks::GROUPS.iter().filter(|group| **group != NOT_QUICK && **group != "scale");
        for group in groups {
            assert!(quick.iter().any(|name| name.starts_with(&format!("{group}::"))), "{group}");
        }
        assert!(quick.len() * 2 < harness::checks().count());
    }

    #[test]
    fn what_was_not_begun_in_time_is_a_skip_that_says_so() {
        let checks: Vec<&'static Check> = harness::checks().take(2).collect();
        let run = Report { check: checks[0].full_name(), clause: 2, seconds: 1.0, outcome: Outcome::Pass };
        let mut reports = vec![vec![Some(run), None]];
        skip_the_rest(&mut reports, &checks, QUICK);
        assert!(matches!(reports[0][0].as_ref().unwrap().outcome, Outcome::Pass));
        let Outcome::Skip { reason } = &reports[0][1].as_ref().unwrap().outcome else { panic!() };
        assert!(reason.contains("after 20 s"), "{reason}");
    }
}
