//! What a check says of a server that is broken on purpose, against what was declared of it.
//!
//! Invariant: a failure is as declared only for its own reason, by the symptom and by words of it. A check that was
//! declared to fail, and passes, is a surprise like a failure that was not declared.

use crate::check::{Outcome, Report};
use crate::subject::{DeclaredFailure, Lack};

/// A report against what was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It passed, and nothing else was declared.
    Passed,
    /// It was not tried, for a reason that is told.
    Skipped,
    /// It failed as declared.
    AsDeclared,
    /// It failed, and that was not declared.
    Undeclared,
    /// It was declared to fail, and failed for another reason.
    ForAnotherReason,
    /// It was declared to fail, and passed.
    PassedAgainstDeclaration,
}

impl Judged {
    /// Whether the server is as it is declared to be, as far as this check can tell.
    pub fn is_expected(self) -> bool {
        matches!(self, Self::Passed | Self::Skipped | Self::AsDeclared)
    }
}

/// What was declared of a check.
pub fn of(lacks: &'static [Lack], check: &str) -> Option<&'static DeclaredFailure> {
    lacks.iter().flat_map(|lack| lack.fails).find(|declared| declared.check == check)
}

/// What a report says of a server that lacks this; of a server that lacks nothing each failure is a surprise.
pub fn judge(lacks: &'static [Lack], report: &Report) -> Judged {
    match (&report.outcome, of(lacks, &report.check)) {
        (Outcome::Skip { .. }, _) => Judged::Skipped,
        (Outcome::Pass, Some(declared)) if declared.unless.is_none() => Judged::PassedAgainstDeclaration,
        (Outcome::Pass, _) => Judged::Passed,
        (Outcome::Fail(_), None) => Judged::Undeclared,
        (Outcome::Fail(failure), Some(declared)) => {
            let says = failure.what.contains(declared.says) || failure.cause.contains(declared.says);
            if failure.symptom == declared.symptom && says { Judged::AsDeclared } else { Judged::ForAnotherReason }
        }
    }
}

/// What is wrong with the declaration, if this report is no surprise: nothing.
pub fn surprise(lacks: &'static [Lack], report: &Report) -> Option<String> {
    let story = || report.explain().unwrap_or_default();
    match judge(lacks, report) {
        Judged::Passed | Judged::Skipped | Judged::AsDeclared => None,
        Judged::Undeclared if lacks.is_empty() => Some(story()),
        Judged::Undeclared => Some(format!("this failure is not declared: {}", story())),
        Judged::ForAnotherReason => {
            let declared = of(lacks, &report.check)?;
            let (symptom, says) = (declared.symptom, declared.says);
            Some(format!("it was declared to fail with {symptom} ('{says}'), and failed otherwise: {}", story()))
        }
        Judged::PassedAgainstDeclaration => Some("it was declared to fail, and passed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Symptom};
    use crate::subject::{BROKEN, VARIANTS};

    const fn declared(check: &'static str, unless: Option<&'static str>) -> DeclaredFailure {
        DeclaredFailure { check, symptom: Symptom::WriteLost, says: "are lost", unless }
    }

    const LACKS: &[Lack] = &[Lack {
        what: "a place for bytes",
        fails: &[declared("write::a", None), declared("write::b", Some("the machine is slow"))],
    }];

    fn judged(lacks: &'static [Lack], check: &str, outcome: Outcome) -> Judged {
        judge(lacks, &Report { check: check.into(), clause: 2, seconds: 0.0, outcome })
    }

    fn fail(symptom: Symptom, what: &str) -> Outcome {
        Outcome::Fail(Failure::new(symptom, what, ""))
    }

    #[test]
    fn a_failure_is_as_declared_only_for_its_own_reason() {
        let right = || fail(Symptom::WriteLost, "9 bytes are lost");
        assert_eq!(judged(LACKS, "write::a", right()), Judged::AsDeclared);
        assert_eq!(judged(LACKS, "write::b", right()), Judged::AsDeclared);
        assert_eq!(judged(LACKS, "write::c", right()), Judged::Undeclared);
        assert_eq!(judged(&[], "write::a", right()), Judged::Undeclared);
        for other in [fail(Symptom::ReadLost, "9 bytes are lost"), fail(Symptom::WriteLost, "c0 waits")] {
            assert_eq!(judged(LACKS, "write::a", other), Judged::ForAnotherReason);
        }
    }

    #[test]
    fn a_check_that_was_to_fail_and_passes_is_a_surprise_unless_that_was_declared_too() {
        assert_eq!(judged(LACKS, "write::a", Outcome::Pass), Judged::PassedAgainstDeclaration);
        assert_eq!(judged(LACKS, "write::b", Outcome::Pass), Judged::Passed);
        assert_eq!(judged(LACKS, "write::c", Outcome::Pass), Judged::Passed);
        assert_eq!(judged(LACKS, "write::a", Outcome::Skip { reason: "busy".into() }), Judged::Skipped);
    }

    #[test]
    fn what_is_broken_on_purpose_is_declared_once_and_no_variant_is() {
        assert!(VARIANTS.iter().all(|variant| variant.lacks.is_empty()));
        for variant in BROKEN {
            let declared: Vec<&str> =
                variant.lacks.iter().flat_map(|lack| lack.fails).map(|declared| declared.check).collect();
            assert!(
                !declared.is_empty() && variant.lacks.iter().all(|lack| !lack.fails.is_empty()),
                "{}",
                variant.name
            );
            for (at, check) in declared.iter().enumerate() {
                assert!(!declared[..at].contains(check), "{}: {check} is declared twice", variant.name);
                assert!(crate::all_checks().any(|it| it.full_name() == *check), "{}: {check}", variant.name);
            }
        }
    }
}
