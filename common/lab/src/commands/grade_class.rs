//! `cargo lab grade --class`: the attempts of all students.
//!
//! Invariant: each student has the grades that `cargo lab grade` gives the student's attempts alone. What was graded is on the
//! disk before the next attempt is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::grade::{self, GradeArgs, GradeFormat};
use crate::checking::results::duration;
use crate::class::digest::Digest;
use crate::class::grader::{self, GraderId, Machine};
use crate::class::grades::{ClassGrades, ClassId, ExerciseHead, StudentGrades, VERSION};
use crate::class::jobs::{self, Running, StudentTasks};
use crate::class::layout::{self, Student};
use crate::class::record::{AttemptText, Record, RecordedAttempt, ResultsFolder, write_whole};
use crate::class::shard;
use crate::course::{Exercise, decimal};
use crate::error::LabError;
use crate::grading::Grade;
use crate::grading::formats::{Show, Visibility};
use crate::grading::job::JobOrder;
use crate::interrupt::{self, Interrupt};
use crate::report;
use crate::terminal::{self, Palette};
use crate::workspace;

/// A class as it is being graded.
struct Work<'a> {
    exercises: &'a [Exercise],
    students: Vec<Student>,
    records: Vec<Record>,
    texts: Vec<Vec<AttemptText>>,
    circumstances: Vec<Digest>,
    machine: Machine,
    results: ResultsFolder,
}

/// Grades all students of a class, or of one part of it, and writes the grades.
pub fn run(args: &GradeArgs, folder: &Path, names: &[String], exercises: &[Exercise]) -> Result<ExitCode, LabError> {
    require_output(args.format, args.output.as_deref())?;
    let mut class = layout::find(folder, names)?;
    let id = ClassId::of(&class.students);
    if let Some(shard) = args.shard {
        let tasks: Vec<(&str, u64)> =
            class.students.iter().map(|it| (it.folder.as_str(), it.attempts.len() as u64)).collect();
        let mut parts = shard::divide(&tasks, shard.of).into_iter();
        class.students.retain(|_| parts.next() == Some(shard.at));
    }
    say_what_is_there(&class, args.shard.is_some());
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt = Interrupt::watch()?;
    let without = args.without();
    let confined = grade::confined(without)?;
    confined.missing.iter().for_each(|what| terminal::complain(&format!("not confined: {what}")));
    let commit = grader::commit(&workspace::root()?);
    note_other_handouts(&mut class.students, &commit, exercises);
    let grader = GraderId { commit, timeout: args.timeout, quick: args.quick };
    let machine = Machine::here(&confined);
    let path = args.results.clone().unwrap_or_else(|| beside(folder));
    let results = ResultsFolder::open(&path)?;
    let circumstances = exercises.iter().map(|it| grader::circumstances(&grader, &machine, it)).collect();
    let mut work = Work {
        exercises,
        records: class.students.iter().map(|it| results.load(it)).collect(),
        texts: class.students.iter().map(|it| texts(it, exercises)).collect(),
        students: class.students,
        circumstances,
        machine,
        results,
    };
    let order = JobOrder { timeout: args.timeout, quick: args.quick, without, confined };
    work.grade(args.jobs as usize, &order, &interrupt, &path)?;
    let grades = ClassGrades {
        version: VERSION,
        grader,
        class: id,
        shard: args.shard.map(|it| it.to_string()),
        exercises: exercises.iter().map(ExerciseHead::of).collect(),
        machines: vec![work.machine.clone()],
        seconds: 0.0,
        ignored: class.ignored,
        students: work
            .students
            .iter()
            .zip(&work.records)
            .map(|(student, record)| StudentGrades::of(student, record, exercises))
            .collect(),
        alike: Vec::new(),
    };
    write(&grades.completed(), args.format, args.show, args.visibility, args.output.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// `submissions-results` beside `submissions`.
fn beside(class: &Path) -> PathBuf {
    let class = std::path::absolute(class).unwrap_or_else(|_| class.to_path_buf());
    let mut name = class.file_name().unwrap_or_default().to_owned();
    name.push("-results");
    class.with_file_name(name)
}

/// A student's attempts as they are now, in the exercises' order.
fn texts(student: &Student, exercises: &[Exercise]) -> Vec<AttemptText> {
    let attempt = |exercise: &Exercise| student.attempts.get(&exercise.name).map(PathBuf::as_path);
    exercises.iter().map(|it| AttemptText::of(attempt(it))).collect()
}

/// What was found of each student, and what was ignored.
fn say_what_is_there(class: &layout::Class, is_part: bool) {
    class.ignored.iter().for_each(|what| terminal::complain(what));
    for student in &class.students {
        terminal::complain(&format!("{}: {}", shown(student), student.found));
        student.ignored.iter().for_each(|what| terminal::complain(&format!("  {what}")));
    }
    let part = if is_part { " in this part" } else { "" };
    let attempts = class.students.iter().map(|it| it.attempts.len()).sum();
    terminal::complain(&format!(
        "{}{part}, {}",
        terminal::count(class.students.len(), "student"),
        terminal::count(attempts, "attempt")
    ));
}

/// Notes who works on another state of the course than is graded here, and which exercises differ in it.
fn note_other_handouts(students: &mut [Student], commit: &str, exercises: &[Exercise]) {
    let mut others = 0;
    for student in students {
        let Some(handout) = student.handout.as_ref().filter(|it| it.commit != commit) else { continue };
        others += 1;
        let differs = |exercise: &&Exercise| {
            ["starter.rs", "exercise.toml"].iter().any(|file| {
                let name = format!("exercises/{}/{file}", exercise.name);
                let now = std::fs::read(exercise.file(file)).map(|text| Digest::of(text).to_string());
                handout.files.get(&name).is_some_and(|then| now.is_ok_and(|now| now != *then))
            })
        };
        let changed: Vec<&str> = exercises.iter().filter(differs).map(|it| it.name.as_str()).collect();
        let changed = match changed.is_empty() {
            true => "no exercise has changed since".to_owned(),
            false => format!("changed since: {}", changed.join(" ")),
        };
        student.ignored.push(format!("the handout is from commit {}, and this is {commit}; {changed}", handout.commit));
    }
    if others > 0 {
        let whose = terminal::count(others, "student");
        terminal::complain(&format!("{whose} of another handout than commit {commit}; the notes say which"));
    }
}

/// A folder's name may have anything in it.
fn shown(student: &Student) -> String {
    terminal::clean(&student.folder.escape_debug().to_string(), 60)
}

impl Work<'_> {
    /// Grades what has no grade yet that holds.
    fn grade(&mut self, jobs: usize, order: &JobOrder, interrupt: &Interrupt, results: &Path) -> Result<(), LabError> {
        let tasks = self.tasks();
        let all: usize = self.texts.iter().map(Vec::len).sum();
        let left: usize = tasks.iter().map(|it| it.attempts.len()).sum();
        if left < all {
            terminal::complain(&format!("{} of {all} grades are known from before", all - left));
        }
        let running = Running::default();
        let kept = format!("what is graded is kept in {}; the same command goes on from there", results.display());
        let (ends, last) = (running.clone(), kept.clone());
        interrupt::at_exit(move || {
            ends.end();
            terminal::complain(&last);
        });
        let mut progress = Progress::new(&tasks, jobs);
        let done = jobs::grade(tasks, jobs, order, &running, |student, exercise, grade| {
            interrupt.check()?;
            self.note(student, exercise, grade)?;
            if progress.graded(student) {
                terminal::complain(&progress.line(&shown(&self.students[student]), &self.points(student)));
            }
            Ok(())
        });
        // The jobs get the terminal's Ctrl-C too.
        interrupt.check().map_err(|error| LabError { message: format!("{}; {kept}", error.message), ..error })?;
        done
    }

    /// For each student the attempts that are to be graded.
    fn tasks(&self) -> Vec<StudentTasks> {
        let mut tasks = Vec::new();
        for (student, record) in self.records.iter().enumerate() {
            let attempts: VecDeque<_> = (0..self.exercises.len())
                .filter(|at| !self.is_known(student, *at, record))
                .map(|at| {
                    let name = self.exercises[at].name.clone();
                    let file = self.students[student].attempts.get(&name).cloned();
                    (at, name, file)
                })
                .collect();
            if !attempts.is_empty() {
                tasks.push(StudentTasks { student, attempts });
            }
        }
        tasks
    }

    /// Whether the grade from before is for the same text and was given by the same grader on a machine of this kind.
    fn is_known(&self, student: usize, exercise: usize, record: &Record) -> bool {
        record.attempts.get(&self.exercises[exercise].name).is_some_and(|known| {
            known.text == self.texts[student][exercise] && known.circumstances == self.circumstances[exercise]
        })
    }

    /// Writes a grade down.
    fn note(&mut self, student: usize, exercise: usize, mut grade: Grade) -> Result<(), LabError> {
        // A thousandth of a second is exact in every format.
        grade.reports.iter_mut().for_each(|it| it.seconds = (it.seconds * 1000.0).round() / 1000.0);
        let recorded = RecordedAttempt {
            text: self.texts[student][exercise].clone(),
            circumstances: self.circumstances[exercise].clone(),
            host: self.machine.host.clone(),
            grade,
        };
        let record = &mut self.records[student];
        record.attempts.insert(self.exercises[exercise].name.clone(), recorded);
        self.results.save(&self.students[student], record)
    }

    /// `12.5/77`.
    fn points(&self, student: usize) -> String {
        let grades = StudentGrades::of(&self.students[student], &self.records[student], self.exercises);
        format!("{}/{}", decimal(grades.score), decimal(grades.max_score))
    }
}

/// How far a class is.
struct Progress {
    /// Attempts left, by student.
    left: Vec<(usize, usize)>,
    students: usize,
    jobs: usize,
    start: Instant,
    graded: usize,
}

impl Progress {
    fn new(tasks: &[StudentTasks], jobs: usize) -> Self {
        let left = tasks.iter().map(|it| (it.student, it.attempts.len())).collect();
        Self { left, students: tasks.len(), jobs, start: Instant::now(), graded: 0 }
    }

    /// One more attempt; whether it was the student's last.
    fn graded(&mut self, student: usize) -> bool {
        self.graded += 1;
        let left = self.left.iter_mut().find(|it| it.0 == student).expect("it was to be graded");
        left.1 -= 1;
        left.1 == 0
    }

    /// A student is done; and how long the others will take if they go on like this.
    fn line(&self, student: &str, points: &str) -> String {
        let left: usize = self.left.iter().map(|it| it.1).sum();
        let done = self.left.iter().filter(|it| it.1 == 0).count();
        let rest = self.start.elapsed().as_secs_f64() / self.graded as f64 * left as f64;
        let rest = match left {
            0 => format!("all in {}", duration(self.start.elapsed().as_secs_f64())),
            _ => format!("about {} left with {}", duration(rest), terminal::count(self.jobs, "job")),
        };
        format!("[{done}/{}] {student}  {points}  {rest}", self.students)
    }
}

/// Formats that have one student's grades need a folder, in which each student has a file.
fn is_for_one(format: GradeFormat) -> bool {
    use GradeFormat::{Autolab, Csv, Github, Gradescope, Html, Json, Junit, Prairielearn, Text};
    match format {
        Text | Csv | Json | Junit => false,
        Html | Gradescope | Autolab | Prairielearn | Github => true,
    }
}

/// An error unless the grades can be written in this format. To be asked before anything is graded.
pub(super) fn require_output(format: GradeFormat, output: Option<&Path>) -> Result<(), LabError> {
    match output {
        None if is_for_one(format) => {
            Err(LabError::usage("this format has a file for each student; give a folder by --output DIR"))
        }
        Some(folder) if is_for_one(format) => std::fs::create_dir_all(folder).map_err(|error| {
            LabError::usage(format!(
                "--output {}: {error}; this format has a file for each student, so give a folder",
                folder.display()
            ))
        }),
        Some(file) => grade::require_writable(file),
        None => Ok(()),
    }
}

/// A page for each student, in a folder that can be handed out, and beside it the table for the teacher.
fn write_pages(class: &ClassGrades, show: Show, folder: &Path) -> Result<(), LabError> {
    let students = folder.join("students");
    std::fs::create_dir_all(&students)
        .map_err(|error| LabError::failed(format!("cannot make the folder {}: {error}", students.display())))?;
    for student in &class.students {
        let page = report::student(&student.grades(show), &student.name);
        write_whole(&folder.join(report::place(student)), page.as_bytes())?;
    }
    report::write(&folder.join("index.html"), &report::class(class))
}

/// Writes a class's grades; and says what has to be graded on another machine.
pub(super) fn write(
    class: &ClassGrades,
    format: GradeFormat,
    show: Show,
    visibility: Visibility,
    output: Option<&Path>,
) -> Result<(), LabError> {
    let palette = if output.is_some() { Palette::plain() } else { Palette::stdout() };
    match output {
        Some(folder) if format == GradeFormat::Html => write_pages(class, show, folder)?,
        Some(folder) if is_for_one(format) => {
            for student in &class.students {
                let end = if matches!(format, GradeFormat::Autolab | GradeFormat::Github) { "txt" } else { "json" };
                let text = format.written(&student.grades(show), visibility, Path::new(&student.folder), palette);
                write_whole(&folder.join(format!("{}.{end}", student.file)), text.as_bytes())?;
            }
        }
        _ => {
            let text = match format {
                GradeFormat::Csv => class.csv(),
                GradeFormat::Json => class.json(),
                GradeFormat::Junit => class.junit(show),
                _ => class.text(palette),
            };
            match output {
                Some(file) => write_whole(file, text.as_bytes())?,
                None => terminal::print(&text),
            }
        }
    }
    let elsewhere = class.to_grade_elsewhere();
    if !elsewhere.is_empty() {
        for machine in class.machines.iter().filter(|it| !it.lacks.is_empty()) {
            machine.lacks.iter().for_each(|what| terminal::complain(&format!("{} lacks {what}", machine.host)));
        }
        terminal::complain("to be graded again on a machine that has what these need:");
        elsewhere.iter().for_each(|what| terminal::complain(&format!("  {what}")));
    }
    Ok(())
}
