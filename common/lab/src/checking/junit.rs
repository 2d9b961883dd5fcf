//! Results as JUnit's XML, which CI systems read.
//!
//! Invariant: a case fails exactly where `cargo lab check` counts a failure against the server.

use std::time::Duration;

use harness::declared::{Judged, judge};
use harness::{Outcome, Report};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::results::Results;
use super::servers::TestedServer;
use crate::terminal;

/// A failure's story is shorter. A server may print anything, and CI systems refuse files of many megabytes.
const STORY: usize = 20_000;

/// A suite for each server, a case for each check.
pub fn junit(results: &Results<'_>) -> String {
    let mut all = quick_junit::Report::new("cargo lab check");
    all.set_time(Duration::from_secs_f64(results.seconds));
    for (server, reports) in results.servers.iter().zip(&results.reports) {
        let mut suite = TestSuite::new(server.subject.name.as_str());
        let took: f64 = reports.iter().flatten().map(|report| report.seconds).sum();
        suite.set_time(Duration::from_secs_f64(took));
        for (check, report) in results.checks.iter().zip(reports) {
            let status = report.as_ref().map_or_else(not_run, |report| status(server, report));
            let mut case = TestCase::new(check.full_name(), status);
            let seconds = report.as_ref().map_or(0.0, |report| report.seconds);
            case.set_classname(server.subject.name.as_str()).set_time(Duration::from_secs_f64(seconds));
            suite.add_test_case(case);
        }
        all.add_test_suite(suite);
    }
    all.to_string().expect("strings and numbers only")
}

fn not_run() -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message("not run, because of another check's failure");
    status
}

fn status(server: &TestedServer, report: &Report) -> TestCaseStatus {
    let judged = judge(server.subject.lacks, report);
    let mut status = match (&report.outcome, judged) {
        (_, Judged::AsDeclared) | (Outcome::Skip { .. }, _) => TestCaseStatus::skipped(),
        (Outcome::Pass, Judged::Passed) => TestCaseStatus::success(),
        _ => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    match &report.outcome {
        Outcome::Fail(_) if judged == Judged::AsDeclared => {
            status.set_message("it fails as it is declared: the server is broken on purpose");
        }
        Outcome::Fail(failure) => {
            status.set_type(failure.symptom.to_string()).set_message(failure.what.as_str());
            status.set_description(terminal::clean(&report.explain().unwrap_or_default(), STORY));
        }
        Outcome::Skip { reason } => {
            status.set_message(reason.as_str());
        }
        Outcome::Pass if judged == Judged::Passed => {}
        Outcome::Pass => {
            status.set_message("it passes, and is declared to fail: the server is broken on purpose");
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checking::results::tests::{LACKS, some_checks, some_reports, some_servers};

    #[test]
    fn each_check_of_each_server_is_a_case_and_what_is_declared_does_not_fail() {
        let (checks, mut servers) = (some_checks(), some_servers());
        let xml = |servers: &[TestedServer]| {
            let results = Results { checks: &checks, servers, reports: some_reports(), seconds: 1.0 };
            junit(&results)
        };
        let shown = xml(&servers);
        assert!(shown.contains("<testsuite name=\"epoll-et\""), "{shown}");
        assert_eq!(shown.matches("<testcase ").count(), checks.len() * servers.len(), "{shown}");
        assert_eq!(shown.matches("<failure ").count(), 1, "{shown}");
        assert!(shown.contains("type=\"read-lost\"") && shown.contains("asleep in epoll_wait"), "{shown}");
        assert!(shown.contains("not run"), "{shown}");
        servers.iter_mut().for_each(|server| server.subject.lacks = LACKS);
        assert!(!xml(&servers).contains("<failure "));
    }
}
