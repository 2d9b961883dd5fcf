//! The grades of a class, as one machine has them or several together.
//!
//! Invariant: all students have the same exercises in the same order. Nothing but times and hosts depends on how the work
//! was divided.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::{Deserialize, Serialize};

use super::alike::{self, AlikeGroup, SOLUTION, STARTER, Text};
use super::digest::{Digest, Digester};
use super::grader::{GraderId, Machine, exercise_digest};
use super::layout::Student;
use super::record::{AttemptText, Record};
use super::table::{self, Row};
use crate::checking::results::duration;
use crate::course::{Exercise, decimal};
use crate::grading::formats::{Grades, Show};
use crate::grading::{AttemptState, Grade};
use crate::terminal::{self, Palette};

/// Of this form of the file. Another one is refused.
pub const VERSION: u32 = 1;

/// Characters of one exercise's output.
const OUTPUT: usize = 20_000;

/// The grades of a class.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClassGrades {
    /// The form of this file.
    pub version: u32,
    /// Who has graded.
    pub grader: GraderId,
    /// Which students are in the class.
    pub class: ClassId,
    /// The part of the class that is in this file, `2/6`; nothing if all of it is.
    pub shard: Option<String>,
    /// The exercises, in their order.
    pub exercises: Vec<ExerciseHead>,
    /// The machines that have graded.
    pub machines: Vec<Machine>,
    /// How long the checks of all attempts took together.
    pub seconds: f64,
    /// What lies beside the students' folders, and is none.
    pub ignored: Vec<String>,
    /// By their folders' names.
    pub students: Vec<StudentGrades>,
    /// Attempts with the same text. That is a fact and no accusation.
    pub alike: Vec<AlikeGroup>,
}

/// Which students are in a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassId {
    /// How many.
    pub students: usize,
    /// Of their folders' names.
    pub digest: Digest,
}

impl ClassId {
    /// Of these students.
    pub fn of(students: &[Student]) -> Self {
        let digest = Digester::default().add_all(students.iter().map(|it| &it.folder)).digest();
        Self { students: students.len(), digest }
    }
}

/// What a table needs of an exercise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExerciseHead {
    /// `19_accept_queue`.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Its points.
    pub points: u32,
    /// Of its checks and its starter.
    pub digest: Digest,
    /// The starter's form.
    pub starter: Option<Digest>,
    /// The solution's form.
    pub solution: Option<Digest>,
}

impl ExerciseHead {
    /// Of an exercise.
    pub fn of(exercise: &Exercise) -> Self {
        let form = |file: &str| std::fs::read_to_string(exercise.file(file)).ok().map(|text| alike::form(&text));
        Self {
            name: exercise.name.clone(),
            title: exercise.about.title.clone(),
            points: exercise.about.points,
            digest: exercise_digest(exercise),
            starter: form("starter.rs"),
            solution: form("solution.rs"),
        }
    }
}

/// One student's grades.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StudentGrades {
    /// The folder's name.
    pub folder: String,
    /// Who it is.
    pub name: String,
    /// A name for files.
    pub file: String,
    /// Where the attempts were found.
    pub found: String,
    /// What the student handed in and was not used, and what else has to be known.
    pub notes: Vec<String>,
    /// The machine that has graded.
    pub host: String,
    /// Points won.
    pub score: f64,
    /// Points to win.
    pub max_score: f64,
    /// The grades, in the exercises' order.
    pub exercises: Vec<Grade>,
    /// What stands for the attempts, in the same order.
    pub texts: Vec<AttemptText>,
}

impl StudentGrades {
    /// From what is recorded of a student; every exercise is.
    pub fn of(student: &Student, record: &Record, exercises: &[Exercise]) -> Self {
        let recorded = || exercises.iter().filter_map(|it| record.attempts.get(&it.name));
        let grades: Vec<Grade> = recorded().map(|it| it.grade.clone()).collect();
        let sum = |of: fn(&Grade) -> f64| (grades.iter().map(of).sum::<f64>() * 100.0).round() / 100.0;
        Self {
            folder: student.folder.clone(),
            name: student.name.clone(),
            file: super::record::file_name(&student.path),
            found: student.found.clone(),
            notes: student.ignored.clone(),
            host: recorded().next_back().map(|it| it.host.clone()).unwrap_or_default(),
            score: sum(|it| it.score),
            max_score: sum(|it| it.max_score),
            texts: recorded().map(|it| it.text.clone()).collect(),
            exercises: grades,
        }
    }

    /// As if this student were graded alone.
    pub fn grades(&self, show: Show) -> Grades {
        Grades {
            score: self.score,
            max_score: self.max_score,
            seconds: self.seconds(),
            notes: self.notes.clone(),
            exercises: self.exercises.clone(),
            show,
        }
    }

    fn seconds(&self) -> f64 {
        (self.exercises.iter().map(|it| it.seconds).sum::<f64>() * 10.0).round() / 10.0
    }

    /// `2 passed, 1 failed, 30 missing`.
    fn states(&self) -> String {
        let count = |of: AttemptState| self.exercises.iter().filter(|it| it.state == of).count();
        let counted = AttemptState::ALL.iter().map(|of| (count(*of), of.word()));
        counted.filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
    }
}

impl ClassGrades {
    /// Adds up what follows from the rest.
    #[must_use]
    pub fn completed(mut self) -> Self {
        self.students.sort_by(|a, b| a.folder.cmp(&b.folder));
        self.seconds = (self.students.iter().map(StudentGrades::seconds).sum::<f64>() * 10.0).round() / 10.0;
        self.alike = self.alike_groups();
        self
    }

    fn alike_groups(&self) -> Vec<AlikeGroup> {
        let text = |whose, exercise, form: &Option<Digest>| form.clone().map(|form| Text { whose, exercise, form });
        let mut texts: Vec<Text<'_>> = Vec::new();
        for (at, exercise) in self.exercises.iter().enumerate() {
            texts.extend(text(STARTER, exercise.name.as_str(), &exercise.starter));
            texts.extend(text(SOLUTION, exercise.name.as_str(), &exercise.solution));
            for student in &self.students {
                // The untouched starter is known as such already.
                let touched = student.exercises.get(at).is_some_and(|it| it.state != AttemptState::Untouched);
                let form = student.texts.get(at).filter(|_| touched).and_then(|it| it.form.clone());
                texts.extend(text(student.folder.as_str(), exercise.name.as_str(), &form));
            }
        }
        alike::groups(&texts)
    }

    /// JSON with all there is, for programs and for `cargo lab merge`.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers only") + "\n"
    }

    /// A row a student, for spreadsheets.
    pub fn csv(&self) -> String {
        let names: Vec<String> = self.exercises.iter().map(|it| it.name.clone()).collect();
        let row = |student: &StudentGrades| Row {
            folder: student.folder.clone(),
            student: student.name.clone(),
            points: student
                .exercises
                .iter()
                .map(|it| Some(it.score).filter(|_| it.state != AttemptState::Withheld))
                .collect(),
            notes: self.notes_on(student),
        };
        table::csv(&names, &self.students.iter().map(row).collect::<Vec<_>>())
    }

    /// What the teacher has to know of a student, without the names of others.
    pub fn notes_on(&self, student: &StudentGrades) -> Vec<String> {
        let mut notes = vec![student.found.clone(), student.states()];
        notes.extend(student.notes.iter().cloned());
        for group in self.alike.iter().filter(|group| group.whose.contains(&student.folder)) {
            let others = group.whose.iter().filter(|it| **it != student.folder);
            let (ours, theirs): (Vec<&String>, Vec<&String>) =
                others.partition(|it| [STARTER, SOLUTION].contains(&it.as_str()));
            let mut with: Vec<String> = ours.into_iter().cloned().collect();
            if !theirs.is_empty() {
                with.push(terminal::count(theirs.len(), "other student"));
            }
            notes.push(format!("{}: the same text as {}", group.exercise, with.join(" and ")));
        }
        notes
    }

    /// JUnit's XML: a suite for each student, a case for each exercise.
    pub fn junit(&self, show: Show) -> String {
        let mut report = Report::new("cargo lab grade --class");
        report.set_time(Duration::from_secs_f64(self.seconds));
        for student in &self.students {
            let mut suite = TestSuite::new(student.folder.as_str());
            suite.set_time(Duration::from_secs_f64(student.seconds()));
            suite.add_property(("score", student.score.to_string().as_str()));
            suite.add_property(("max_score", student.max_score.to_string().as_str()));
            for grade in &student.exercises {
                let kind = match grade.state {
                    AttemptState::Passed => None,
                    AttemptState::Withheld => Some(NonSuccessKind::Error),
                    _ => Some(NonSuccessKind::Failure),
                };
                let status = kind.map_or_else(TestCaseStatus::success, |kind| {
                    let mut status = TestCaseStatus::non_success(kind);
                    let points = format!("{} of {} points: {}", grade.score, grade.max_score, grade.state.word());
                    status.set_message(points).set_description(terminal::clean(&grade.explain(show), OUTPUT));
                    status
                });
                let mut case = TestCase::new(grade.name.as_str(), status);
                case.set_classname(student.folder.as_str()).set_time(Duration::from_secs_f64(grade.seconds));
                suite.add_test_case(case);
            }
            report.add_test_suite(suite);
        }
        report.to_string().expect("strings and numbers only")
    }

    /// A line a student, for people.
    pub fn text(&self, palette: Palette) -> String {
        let shown = |text: &str| terminal::clean(&text.escape_debug().to_string(), 60);
        let width = self.students.iter().map(|it| terminal::columns(&shown(&it.folder))).max().unwrap_or(0);
        let mut out = String::new();
        for student in &self.students {
            let name = terminal::padded(&shown(&student.folder), width);
            let points = format!("{:>6}/{}", decimal(student.score), decimal(student.max_score));
            out += &format!("{}  {points}  {}\n", palette.heading(&name), student.states());
            out += &student.notes.iter().map(|note| format!("{}  {note}\n", " ".repeat(width))).collect::<String>();
        }
        for group in &self.alike {
            let whose: Vec<String> = group.whose.iter().map(|it| shown(it)).collect();
            out += &format!("{}: the same text: {}\n", group.exercise, whose.join(", "));
        }
        let count = terminal::count(self.students.len(), "student");
        let part = self.shard.as_ref().map_or_else(String::new, |shard| format!(" of part {shard}"));
        out + &format!("{count}{part}; the checks took {} together\n", duration(self.seconds))
    }

    /// Attempts that this machine could not grade, or not in full, with the reason: another machine can.
    pub fn to_grade_elsewhere(&self) -> Vec<String> {
        let mut found = Vec::new();
        for student in &self.students {
            for grade in &student.exercises {
                let own = &grade.reports[..grade.own_checks.min(grade.reports.len())];
                let skipped = own.iter().find_map(|report| match &report.outcome {
                    harness::Outcome::Skip { reason } => Some(format!("{} was skipped: {reason}", report.check)),
                    _ => None,
                });
                let why = match grade.state {
                    AttemptState::Withheld => Some(grade.note.lines().next().unwrap_or_default().to_owned()),
                    _ => skipped,
                };
                found.extend(why.map(|why| {
                    let folder = terminal::clean(&student.folder.escape_debug().to_string(), 60);
                    format!("{folder} {} (on {}): {why}", grade.name, student.host)
                }));
            }
        }
        found
    }
}
