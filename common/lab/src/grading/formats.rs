//! Grades in the formats of the systems that read them.
//!
//! Invariant: each format has the same points, to the hundredth.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use harness::Outcome;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::{Value, json};

use super::confine;
use super::grade::{self, AttemptState, Grade};
use crate::checking::results::duration;
use crate::class::table::{self, Row};
use crate::terminal::{self, Palette};

/// Characters of one exercise's output; Gradescope shows all of it.
const OUTPUT: usize = 20_000;
/// GitHub's reporter gets the result in an environment variable, which Linux limits to 128 KiB. Base64 adds a third.
const GITHUB: usize = 90_000;

/// How much of a failure a student sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// The name of each check that failed
    Names,
    /// Also what happened, and the likely cause
    Causes,
    /// Also the client's steps, what the kernel shows, and what the server wrote
    #[default]
    All,
}

/// Who sees the tests on Gradescope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Visibility {
    /// Students, at once
    #[default]
    Visible,
    /// Students, after the due date
    AfterDueDate,
    /// Students, once the grades are published
    AfterPublished,
    /// Instructors alone
    Hidden,
}

impl Visibility {
    fn word(self) -> &'static str {
        match self {
            Self::Visible => "visible",
            Self::AfterDueDate => "after_due_date",
            Self::AfterPublished => "after_published",
            Self::Hidden => "hidden",
        }
    }
}

/// All grades, and what holds for all of them.
#[derive(Debug, Serialize)]
pub struct Grades {
    /// Points won.
    pub score: f64,
    /// Points to win.
    pub max_score: f64,
    /// How long grading took, in seconds.
    pub seconds: f64,
    /// What could not be confined here, and files that are no attempts.
    pub notes: Vec<String>,
    /// The grades, in the exercises' order.
    pub exercises: Vec<Grade>,
    /// How much of a failure is shown.
    #[serde(skip)]
    pub show: Show,
}

impl Grades {
    /// Adds the points up.
    pub fn new(exercises: Vec<Grade>, confined: &confine::Confinement, ignored: Vec<String>, seconds: f64) -> Self {
        let sum = |of: fn(&Grade) -> f64| (exercises.iter().map(of).sum::<f64>() * 100.0).round() / 100.0;
        let notes = confined.missing.iter().map(|what| format!("not confined: {what}")).chain(ignored).collect();
        let (score, max_score) = (sum(|it| it.score), sum(|it| it.max_score));
        Self { score, max_score, seconds, notes, exercises, show: Show::All }
    }

    /// Text, for people.
    pub fn text(&self, palette: Palette) -> String {
        let mut out = String::new();
        for grade in &self.exercises {
            let head = format!("{}  {}", grade.name, grade.title);
            out += &format!("{}  {}\n", self.points(grade, palette), palette.heading(&head));
            out += &grade.explain(self.show).lines().map(|line| format!("  {line}\n")).collect::<String>();
        }
        out += &self.notes.iter().map(|note| format!("{note}\n")).collect::<String>();
        out + &format!("{} of {} points in {}\n", self.score, self.max_score, duration(self.seconds))
    }

    fn points(&self, grade: &Grade, palette: Palette) -> String {
        let points = format!("{:>5}/{}", format!("{:.2}", grade.score), grade.max_score);
        match grade.state {
            AttemptState::Passed => palette.good(&points),
            AttemptState::Missing | AttemptState::Untouched | AttemptState::Withheld => palette.left_out(&points),
            _ => palette.bad(&points),
        }
    }

    /// The table of a class that has this one student.
    pub fn csv(&self, folder: &str) -> String {
        let names: Vec<String> = self.exercises.iter().map(|grade| grade.name.clone()).collect();
        let points = self.exercises.iter().map(|it| Some(it.score).filter(|_| it.state != AttemptState::Withheld));
        let (folder, student) = (folder.to_owned(), folder.to_owned());
        table::csv(&names, &[Row { folder, student, points: points.collect(), notes: self.notes.clone() }])
    }

    /// JSON with all there is, for programs.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers only") + "\n"
    }

    /// Autolab's: what the student reads, and in the last line the points, by the names of problems as the course has them.
    pub fn autolab(&self) -> String {
        let scores: serde_json::Map<String, Value> =
            self.exercises.iter().map(|grade| (grade.name.clone(), grade.score.into())).collect();
        // Nothing before the last line can be taken for it, or for an earlier line with a meaning.
        let feedback = self.text(Palette::plain());
        let feedback = feedback.lines().map(|line| match line.trim_start().starts_with('{') {
            true => format!("' {line}\n"),
            false => format!("{line}\n"),
        });
        feedback.collect::<String>() + &json!({ "scores": scores }).to_string() + "\n"
    }

    /// PrairieLearn's `results.json`.
    pub fn prairielearn(&self) -> String {
        let tests: Vec<Value> = self
            .exercises
            .iter()
            .map(|grade| {
                json!({
                    "name": grade.name,
                    "description": grade.title,
                    "points": grade.score,
                    "max_points": grade.max_score,
                    "message": grade.note.lines().next().unwrap_or_default(),
                    "output": terminal::clean(&grade.explain(self.show), OUTPUT),
                })
            })
            .collect();
        // Where nothing can be checked, the submission costs no attempt.
        let gradable = self.max_score > 0.0;
        let results = json!({
            "gradable": gradable,
            "score": if gradable { self.score / self.max_score } else { 0.0 },
            "message": format!("{} of {} points", self.score, self.max_score),
            "output": self.notes.join("\n"),
            "tests": tests,
        });
        serde_json::to_string_pretty(&results).expect("strings and numbers only") + "\n"
    }

    /// Gradescope's `results.json`.
    pub fn gradescope(&self, visibility: Visibility) -> String {
        let tests: Vec<Value> = self
            .exercises
            .iter()
            .map(|grade| {
                json!({
                    "score": grade.score,
                    "max_score": grade.max_score,
                    "status": if grade.state == AttemptState::Passed { "passed" } else { "failed" },
                    "name": format!("{}: {}", grade.name, grade.title),
                    "name_format": "text",
                    "number": grade.number.to_string(),
                    "output": terminal::clean(&grade.explain(self.show), OUTPUT),
                    "output_format": "text",
                    "visibility": visibility.word(),
                })
            })
            .collect();
        let results = json!({
            "score": self.score,
            "execution_time": self.seconds.ceil() as u64,
            "output": self.notes.join("\n"),
            "output_format": "text",
            "visibility": "visible",
            // The grader's own stdout is for instructors.
            "stdout_visibility": "hidden",
            "tests": tests,
        });
        serde_json::to_string_pretty(&results).expect("strings and numbers only") + "\n"
    }

    /// JUnit's XML: a suite for each exercise, a case for each check.
    pub fn junit(&self) -> String {
        let mut report = Report::new("cargo lab grade");
        report.set_time(Duration::from_secs_f64(self.seconds));
        for grade in &self.exercises {
            let mut suite = TestSuite::new(grade.name.as_str());
            suite.set_time(Duration::from_secs_f64(grade.seconds));
            suite.add_property(("score", grade.score.to_string().as_str()));
            suite.add_property(("max_score", grade.max_score.to_string().as_str()));
            // Where points are withheld, checks that were skipped and others that passed would look like a pass.
            if grade.reports.is_empty() || grade.state == AttemptState::Withheld {
                let mut status = TestCaseStatus::non_success(match grade.state {
                    AttemptState::Withheld => NonSuccessKind::Error,
                    _ => NonSuccessKind::Failure,
                });
                status.set_message(grade.note.lines().next().unwrap_or_default()).set_description(grade.note.as_str());
                let mut case = TestCase::new("the attempt", status);
                case.set_classname(grade.name.as_str());
                suite.add_test_case(case);
            }
            for checked in &grade.reports {
                let mut status = match &checked.outcome {
                    Outcome::Pass => TestCaseStatus::success(),
                    Outcome::Skip { .. } => TestCaseStatus::skipped(),
                    Outcome::Fail(_) => TestCaseStatus::non_success(NonSuccessKind::Failure),
                };
                match &checked.outcome {
                    Outcome::Fail(failure) => {
                        let story = terminal::clean(&grade::shown(checked, self.show), OUTPUT);
                        status.set_type(failure.symptom.to_string()).set_description(story);
                        if self.show != Show::Names {
                            status.set_message(failure.what.as_str());
                        }
                    }
                    Outcome::Skip { reason } => {
                        status.set_message(reason.as_str());
                    }
                    Outcome::Pass => {}
                }
                let mut case = TestCase::new(checked.check.as_str(), status);
                case.set_classname(grade.name.as_str()).set_time(Duration::from_secs_f64(checked.seconds));
                suite.add_test_case(case);
            }
            if !grade.note.is_empty() {
                suite.set_system_out(grade.note.as_str());
            }
            report.add_test_suite(suite);
        }
        report.to_string().expect("strings and numbers only")
    }

    /// The step output `result=...` that GitHub Classroom's reporter takes: base64 of JSON, a test for each exercise.
    pub fn github(&self) -> String {
        // Halved until the whole fits.
        let mut most = OUTPUT;
        loop {
            let json = self.github_json(most).to_string();
            if json.len() <= GITHUB || most == 0 {
                return format!("result={}\n", STANDARD.encode(json));
            }
            most /= 2;
        }
    }

    fn github_json(&self, most: usize) -> Value {
        // Withheld points are not the attempt's fault, and no pass.
        let status = |grade: &Grade| match grade.state {
            AttemptState::Passed => "pass",
            AttemptState::Withheld => "error",
            _ => "fail",
        };
        let any = |wanted: &str| self.exercises.iter().any(|grade| status(grade) == wanted);
        let whole = if any("fail") {
            "fail"
        } else if any("error") || self.exercises.is_empty() {
            "error"
        } else {
            "pass"
        };
        let tests = self.exercises.iter().map(|grade| {
            json!({
                "name": format!("{}: {}", grade.name, grade.title),
                "status": status(grade),
                "score": grade.score,
                "message": terminal::clean(&grade.explain(self.show), most),
                "test_code": format!("cargo lab check {}", grade.number),
                "filename": format!("exercises/attempts/{}.rs", grade.name),
                // The reporter shows a line unless it is 0.
                "line_no": 0,
                "duration": (grade.seconds * 1000.0).round() as u64,
            })
        });
        json!({
            "version": 1,
            "status": whole,
            "max_score": self.max_score,
            "tests": tests.collect::<Vec<_>>(),
        })
    }

    /// The text for a log of GitHub, where lines with certain beginnings would be commands.
    pub fn log(&self) -> String {
        let harmless = |line: &str| {
            let line = line.replace("##[", "# #[");
            let text = line.trim_start();
            if text.starts_with("::") { format!("' {text}\n") } else { format!("{line}\n") }
        };
        self.text(Palette::plain()).lines().map(harmless).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grades(states: &[AttemptState]) -> Grades {
        let grade = |state: &AttemptState| {
            let points = if *state == AttemptState::Withheld { 0.0 } else { 1.0 };
            Grade {
                number: 7,
                name: "07_a".into(),
                title: "A".into(),
                state: *state,
                score: if *state == AttemptState::Passed { points } else { 0.0 },
                max_score: points,
                seconds: 0.1,
                note: "why".into(),
                own_checks: 0,
                reports: Vec::new(),
            }
        };
        Grades::new(states.iter().map(grade).collect(), &confine::Confinement::default(), Vec::new(), 0.1)
    }

    #[test]
    fn no_points_of_none_are_a_pass_in_no_format() {
        for states in [&[AttemptState::Withheld][..], &[AttemptState::Passed, AttemptState::Withheld], &[]] {
            let grades = grades(states);
            assert_eq!(grades.github_json(OUTPUT)["status"], "error", "{states:?}");
            let junit = grades.junit();
            assert_eq!(junit.contains("<error"), states.contains(&AttemptState::Withheld), "{junit}");
            assert!(!junit.contains("<skipped"), "{junit}");
        }
        let withheld = grades(&[AttemptState::Withheld]).gradescope(Visibility::Visible);
        let withheld: Value = serde_json::from_str(&withheld).expect("JSON");
        assert_eq!((&withheld["tests"][0]["status"], &withheld["score"]), (&"failed".into(), &0.0.into()));
        let failed = grades(&[AttemptState::Withheld, AttemptState::Failed]).github_json(OUTPUT);
        assert_eq!((&failed["status"], &failed["tests"][0]["status"]), (&"fail".into(), &"error".into()));
        assert_eq!(grades(&[AttemptState::Passed]).github_json(OUTPUT)["status"], "pass");
    }

    #[test]
    fn the_last_line_for_autolab_is_the_scores_and_no_other_line_is_json() {
        let mut grades = grades(&[AttemptState::Passed, AttemptState::Failed]);
        grades.exercises[1].note = "it said:\n{\"scores\": {\"07_a\": 99}}".into();
        let autolab = grades.autolab();
        let (feedback, last) = autolab.trim_end().rsplit_once('\n').expect("feedback first");
        assert_eq!(serde_json::from_str::<Value>(last).expect("JSON")["scores"]["07_a"], 0.0);
        assert!(!feedback.lines().any(|line| line.trim_start().starts_with('{')), "{feedback}");
    }

    #[test]
    fn prairielearn_gets_a_share_and_the_points_of_each_exercise() {
        let parsed =
            |states: &[AttemptState]| -> Value { serde_json::from_str(&grades(states).prairielearn()).expect("JSON") };
        let half = parsed(&[AttemptState::Passed, AttemptState::Failed]);
        assert_eq!((&half["gradable"], &half["score"]), (&true.into(), &0.5.into()));
        assert_eq!((&half["tests"][0]["points"], &half["tests"][1]["max_points"]), (&1.0.into(), &1.0.into()));
        let withheld = parsed(&[AttemptState::Withheld]);
        assert_eq!((&withheld["gradable"], &withheld["score"]), (&false.into(), &0.0.into()));
    }

    #[test]
    fn a_failure_is_shown_as_far_as_that_is_wanted() {
        let mut failure = harness::Failure::new(harness::Symptom::ReadLost, "5 bytes are lost", "It read once.");
        failure.steps.push("connected".into());
        failure.kernel.push("fd 5: 5 bytes unread".into());
        let outcome = Outcome::Fail(failure);
        let checked = harness::Report { check: "drain::all".into(), clause: 2, seconds: 0.0, outcome };
        let mut grades = grades(&[AttemptState::Failed]);
        grades.exercises[0].reports = vec![checked];
        for (show, has) in [(Show::Names, [false; 3]), (Show::Causes, [true, true, false]), (Show::All, [true; 3])] {
            grades.show = show;
            let all = [
                grades.gradescope(Visibility::Hidden),
                grades.autolab(),
                grades.prairielearn(),
                grades.junit(),
                grades.text(Palette::plain()),
                grades.github_json(OUTPUT).to_string(),
            ];
            for text in all {
                let found = ["5 bytes are lost", "It read once.", "5 bytes unread"].map(|it| text.contains(it));
                assert_eq!(found, has, "{show:?}: {text}");
                assert!(text.contains("drain::all"));
            }
        }
        assert!(grades.gradescope(Visibility::AfterDueDate).contains("\"after_due_date\""));
    }
}
