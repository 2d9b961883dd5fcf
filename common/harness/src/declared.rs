//! What a check says of a server that is broken on purpose, against what was declared of it.
//!
//! Invariant: a failure is as declared only for its own reason, which its symptom tells. A check that was declared to
//! fail, and passes, is a surprise like a failure that was not declared.

use crate::check::{Outcome, Report};
use crate::subject::Lack;

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

/// What a server lacks so that it fails this check, or may fail it.
fn shown_by(lacks: &'static [Lack], check: &str) -> impl Iterator<Item = &'static Lack> {
    lacks.iter().filter(move |lack| lack.is_shown_by(check))
}

/// The lack that a declared failure shows.
pub fn lack_of(lacks: &'static [Lack], report: &Report) -> Option<&'static Lack> {
    let symptom = report.symptom()?;
    shown_by(lacks, &report.check).find(|lack| lack.symptoms.contains(&symptom))
}

/// What a report says of a server that lacks this; of a server that lacks nothing each failure is a surprise.
pub fn judge(lacks: &'static [Lack], report: &Report) -> Judged {
    let name = report.check.as_str();
    match &report.outcome {
        Outcome::Skip { .. } => Judged::Skipped,
        Outcome::Pass if lacks.iter().any(|lack| lack.fails.contains(&name)) => Judged::PassedAgainstDeclaration,
        Outcome::Pass => Judged::Passed,
        Outcome::Fail(_) if lack_of(lacks, report).is_some() => Judged::AsDeclared,
        Outcome::Fail(_) if shown_by(lacks, name).next().is_some() => Judged::ForAnotherReason,
        Outcome::Fail(_) => Judged::Undeclared,
    }
}

/// How a report and the declaration disagree, if they do.
pub fn surprise(lacks: &'static [Lack], report: &Report) -> Option<String> {
    let story = || report.explain().unwrap_or_default();
    match judge(lacks, report) {
        Judged::Passed | Judged::Skipped | Judged::AsDeclared => None,
        Judged::Undeclared if lacks.is_empty() => Some(story()),
        Judged::Undeclared => Some(format!("this failure is not declared: {}", story())),
        Judged::ForAnotherReason => {
            let symptoms = shown_by(lacks, &report.check).flat_map(|lack| lack.symptoms);
            let symptoms: Vec<&str> = symptoms.map(|symptom| symptom.name()).collect();
            Some(format!("it was declared to fail with {}, and failed otherwise: {}", symptoms.join(" or "), story()))
        }
        Judged::PassedAgainstDeclaration => Some("it was declared to fail, and passed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Symptom};
    use crate::subject::{BROKEN, VARIANTS};

    const LACKS: &[Lack] = &[Lack {
        what: "a place for bytes",
        symptoms: &[Symptom::WriteLost, Symptom::WrongBytes],
        fails: &["write::a"],
        may_fail: &["write::b"],
    }];

    fn judged(lacks: &'static [Lack], check: &str, outcome: Outcome) -> Judged {
        judge(lacks, &Report { check: check.into(), clause: 2, seconds: 0.0, outcome })
    }

    fn fail(symptom: Symptom) -> Outcome {
        Outcome::Fail(Failure::new(symptom, "9 bytes", ""))
    }

    #[test]
    fn a_failure_is_as_declared_only_for_its_own_reason() {
        for symptom in [Symptom::WriteLost, Symptom::WrongBytes] {
            assert_eq!(judged(LACKS, "write::a", fail(symptom)), Judged::AsDeclared);
            assert_eq!(judged(LACKS, "write::b", fail(symptom)), Judged::AsDeclared);
            assert_eq!(judged(LACKS, "write::c", fail(symptom)), Judged::Undeclared);
            assert_eq!(judged(&[], "write::a", fail(symptom)), Judged::Undeclared);
        }
        assert_eq!(judged(LACKS, "write::a", fail(Symptom::Exited)), Judged::ForAnotherReason);
        assert_eq!(judged(LACKS, "write::b", fail(Symptom::Exited)), Judged::ForAnotherReason);
    }

    #[test]
    fn a_check_that_was_to_fail_and_passes_is_a_surprise_unless_it_may_pass() {
        assert_eq!(judged(LACKS, "write::a", Outcome::Pass), Judged::PassedAgainstDeclaration);
        assert_eq!(judged(LACKS, "write::b", Outcome::Pass), Judged::Passed);
        assert_eq!(judged(LACKS, "write::c", Outcome::Pass), Judged::Passed);
        assert_eq!(judged(LACKS, "write::a", Outcome::Skip { reason: "busy".into() }), Judged::Skipped);
    }

    #[test]
    fn what_is_broken_on_purpose_is_declared_once_and_no_variant_is() {
        assert!(VARIANTS.iter().all(|variant| variant.lacks.is_empty()));
        for variant in BROKEN {
            let name = variant.name;
            assert!(variant.lacks.iter().all(|lack| !lack.fails.is_empty() && !lack.symptoms.is_empty()), "{name}");
            // A check may fail for more than one lack, whichever shows first.
            assert!(variant.lacks.iter().all(|lack| lack.fails.iter().all(|check| !lack.may_fail.contains(check))));
            let declared: Vec<&str> = variant.lacks.iter().flat_map(|lack| lack.fails).copied().collect();
            let may: Vec<&str> = variant.lacks.iter().flat_map(|lack| lack.may_fail).copied().collect();
            assert!(!declared.is_empty(), "{name}");
            for (at, check) in declared.iter().enumerate() {
                assert!(!declared[..at].contains(check), "{name}: {check} is declared twice");
            }
            for check in declared.iter().chain(&may) {
                assert!(crate::all_checks().any(|it| it.full_name() == *check), "{name}: {check}");
            }
        }
    }
}
