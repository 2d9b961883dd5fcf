//! Grades: a page for a student, and a table of the class for the teacher.
//!
//! Invariant: a student's page has the student's own grades alone, as much of each failure as the grader was told to show,
//! and no word of another student.

use harness::{Outcome, Report};
use markup::Markup;

use super::{document, failure, id_of, list, name, section};
use crate::checking::results::{duration, is_an_end};
use crate::class::grades::{ClassGrades, StudentGrades};
use crate::course::decimal;
use crate::grading::formats::{Grades, Show};
use crate::grading::grade::NOT_RUN;
use crate::grading::{AttemptState, Grade};
use crate::terminal;

/// One student's grades. `who` is the student, or the folder of the attempts.
pub fn student(grades: &Grades, who: &str) -> String {
    let points = format!("{} of {} points", decimal(grades.score), decimal(grades.max_score));
    document(&format!("{who}: {points}"), |page| {
        page.element("h1", &[], |it| {
            name(it, who);
            it.text(&format!(": {points}"));
        });
        page.leaf("p", &[("class", "quiet")], &format!("Graded in {}.", duration(grades.seconds)));
        list(page, "ul", "notes", &grades.notes);
        overview(page, grades);
        for grade in &grades.exercises {
            if has_more(grade) {
                let heading = format!("{}: {}", grade.name, grade.title);
                section(page, &id(&grade.name), &heading, |it| exercise(it, grade, grades.show));
            }
        }
    })
}

fn id(exercise: &str) -> String {
    format!("x{}", id_of(exercise))
}

/// Whether there is more to say of it than is in the table.
fn has_more(grade: &Grade) -> bool {
    grade.state != AttemptState::Missing && (!grade.note.is_empty() || !grade.reports.is_empty())
}

fn head(page: &mut Markup, heads: &[&str]) {
    page.element("thead", &[], |it| {
        it.element("tr", &[], |it| heads.iter().for_each(|head| it.leaf("th", &[("scope", "col")], head)));
    });
}

fn overview(page: &mut Markup, grades: &Grades) {
    page.element("div", &[("class", "wide")], |it| {
        it.element("table", &[], |it| {
            it.leaf("caption", &[], "The exercises, each with its points");
            head(it, &["exercise", "points", "result", "checks"]);
            it.element("tbody", &[], |it| {
                for grade in &grades.exercises {
                    it.line();
                    it.element("tr", &[], |it| {
                        it.element("th", &[("scope", "row")], |it| {
                            let text = format!("{} {}", grade.name, grade.title);
                            match has_more(grade) {
                                true => it.leaf("a", &[("href", &format!("#{}", id(&grade.name)))], &text),
                                false => it.text(&text),
                            }
                        });
                        it.leaf("td", &[("class", "number")], &points(grade));
                        it.leaf("td", &[("class", class_of(grade.state))], grade.state.word());
                        let (passed, tried) = grade.passed();
                        let checks = if tried > 0 { format!("{passed} of {tried} pass") } else { String::new() };
                        it.leaf("td", &[], &checks);
                    });
                }
            });
        });
    });
    page.line();
}

fn points(grade: &Grade) -> String {
    format!("{}/{}", decimal(grade.score), decimal(grade.max_score))
}

fn class_of(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Passed => "pass",
        AttemptState::Missing | AttemptState::Untouched => "none",
        AttemptState::Withheld => "skip",
        _ => "fail",
    }
}

/// As [`Grade::explain`] says it: the exercise's own checks, the failures of the others, and how many of those pass.
fn exercise(page: &mut Markup, grade: &Grade, show: Show) {
    page.element("p", &[], |it| {
        it.leaf("span", &[("class", class_of(grade.state))], grade.state.word());
        it.text(&format!(", {} points", points(grade)));
    });
    if !grade.note.is_empty() {
        page.leaf("pre", &[], grade.note.trim_end());
    }
    let (own, others) = grade.reports.split_at(grade.own_checks.min(grade.reports.len()));
    let (mut failed, rest): (Vec<&Report>, Vec<&Report>) =
        grade.reports.iter().partition(|report| report.symptom().is_some());
    failed.sort_by_key(|report| !is_an_end(report));
    failed.into_iter().for_each(|report| failed_check(page, report, show));
    let is_own = |report: &&&Report| own.iter().any(|it| std::ptr::eq(it, **report));
    let own: Vec<String> = rest.iter().filter(is_own).map(|report| in_a_line(report)).collect();
    list(page, "ul", "own", &own);
    let skipped = others.iter().filter(|report| matches!(report.outcome, Outcome::Skip { .. }));
    let skipped: Vec<String> = skipped.map(in_a_line).collect();
    list(page, "ul", "own", &skipped);
    match others.iter().filter(|report| matches!(report.outcome, Outcome::Pass)).count() {
        0 => {}
        n => page.leaf(
            "p",
            &[("class", "quiet")],
            &format!("{} of the rest of the suite pass.", terminal::count(n, "check")),
        ),
    }
}

fn in_a_line(report: &Report) -> String {
    match &report.outcome {
        Outcome::Skip { reason } => format!("skip  {} ({reason})", report.check),
        _ => format!("pass  {}", report.check),
    }
}

fn failed_check(page: &mut Markup, report: &Report, show: Show) {
    let Outcome::Fail(failure) = &report.outcome else { return };
    page.line();
    page.element("article", &[], |it| {
        if failure.what == NOT_RUN {
            return it.leaf("h3", &[], &format!("not run  {}", report.check));
        }
        it.leaf("h3", &[], &format!("FAIL  {}", report.check));
        failure::write(it, report, failure, show, &|_| None);
    });
}

/// The class as a table, for the teacher. The pages of its students are in the folder `students` beside it.
pub fn class(class: &ClassGrades) -> String {
    let students = terminal::count(class.students.len(), "student");
    let part = class.shard.as_ref().map_or_else(String::new, |shard| format!(" of part {shard}"));
    let title = format!("{students}{part}, {}", terminal::count(class.exercises.len(), "exercise"));
    document(&title, |page| {
        page.leaf("h1", &[], &title);
        let (commit, took) = (&class.grader.commit, duration(class.seconds));
        page.leaf("p", &[("class", "quiet")], &format!("Commit {commit}; the checks took {took} together."));
        list(page, "ul", "notes", &class.ignored);
        table(page, class);
        section(page, "notes", "What was found of each student", |it| notes(it, class));
        if !class.alike.is_empty() {
            section(page, "alike", "The same text", |it| alike(it, class));
        }
        let elsewhere = class.to_grade_elsewhere();
        if !elsewhere.is_empty() {
            section(page, "elsewhere", "To be graded again on another machine", |it| {
                for machine in class.machines.iter().filter(|it| !it.lacks.is_empty()) {
                    let lacks: Vec<String> =
                        machine.lacks.iter().map(|what| format!("{} lacks {what}", machine.host)).collect();
                    list(it, "ul", "lacks", &lacks);
                }
                list(it, "ul", "elsewhere", &elsewhere);
            });
        }
    })
}

fn table(page: &mut Markup, class: &ClassGrades) {
    let frame = [("class", "wide"), ("role", "region"), ("aria-label", "Points"), ("tabindex", "0")];
    page.element("div", &frame, |it| {
        it.element("table", &[("class", "class")], |it| {
            it.leaf(
                "caption",
                &[],
                "Points. A student's name leads to the student's page, the number of points to the reasons.",
            );
            it.element("thead", &[], |it| {
                it.element("tr", &[], |it| {
                    it.leaf("th", &[("scope", "col")], "student");
                    it.leaf("th", &[("scope", "col"), ("class", "number")], "total");
                    for exercise in &class.exercises {
                        let title = format!("{}: {}", exercise.name, exercise.title);
                        let number = exercise.name.split('_').next().unwrap_or_default();
                        it.leaf("th", &[("scope", "col"), ("class", "number"), ("title", &title)], number);
                    }
                });
            });
            it.element("tbody", &[], |it| class.students.iter().for_each(|student| row(it, student)));
            it.line();
            it.element("tfoot", &[], |it| passed_by(it, class));
        });
    });
    page.line();
}

/// Where a student's page is, beside the table.
pub fn place(student: &StudentGrades) -> String {
    format!("students/{}.html", student.file)
}

/// As a link. A plain file's name has these signs, and nothing else that a link would not take as it is.
fn link(student: &StudentGrades) -> String {
    place(student).replace('%', "%25").replace('#', "%23").replace('?', "%3F")
}

fn row(page: &mut Markup, student: &StudentGrades) {
    let link = link(student);
    page.line();
    page.element("tr", &[], |it| {
        it.element("th", &[("scope", "row")], |it| {
            it.element("a", &[("href", &link)], |it| name(it, &student.name));
        });
        let total = format!("{}/{}", decimal(student.score), decimal(student.max_score));
        it.leaf("td", &[("class", "number")], &total);
        for grade in &student.exercises {
            it.element("td", &[("class", &format!("number {}", class_of(grade.state)))], |it| {
                let points = if grade.state == AttemptState::Withheld { "-".to_owned() } else { decimal(grade.score) };
                match has_more(grade) {
                    true => it.leaf("a", &[("href", &format!("{link}#{}", id(&grade.name)))], &points),
                    false => it.text(&points),
                }
                if !matches!(grade.state, AttemptState::Passed | AttemptState::Failed) {
                    it.leaf("small", &[], grade.state.word());
                }
            });
        }
    });
}

/// For each exercise, how many have passed it.
fn passed_by(page: &mut Markup, class: &ClassGrades) {
    page.element("tr", &[], |it| {
        it.leaf("th", &[("scope", "row")], "passed by");
        it.leaf("td", &[], "");
        for at in 0..class.exercises.len() {
            let passed = |student: &&StudentGrades| {
                student.exercises.get(at).is_some_and(|grade| grade.state == AttemptState::Passed)
            };
            let count = class.students.iter().filter(passed).count();
            it.leaf("td", &[("class", "number")], &count.to_string());
        }
    });
}

fn notes(page: &mut Markup, class: &ClassGrades) {
    page.element("dl", &[], |it| {
        for student in &class.students {
            it.line();
            it.element("dt", &[], |it| {
                name(it, &student.name);
                if student.name != student.folder {
                    it.text(", folder ");
                    name(it, &student.folder);
                }
            });
            class.notes_on(student).iter().for_each(|note| it.leaf("dd", &[], note));
        }
    });
}

fn alike(page: &mut Markup, class: &ClassGrades) {
    page.leaf(
        "p",
        &[],
        "These attempts are the same token for token. That is a fact and no accusation: a short fix has few forms.",
    );
    page.element("ul", &[], |it| {
        for group in &class.alike {
            it.element("li", &[], |it| {
                it.text(&format!("{}: ", group.exercise));
                for (at, folder) in group.whose.iter().enumerate() {
                    it.text(if at > 0 { ", " } else { "" });
                    name(it, folder);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use harness::{Failure, Symptom};

    use super::super::testing::{HOSTILE, stands_alone};
    use super::*;

    fn report(check: &str, outcome: Outcome) -> Report {
        Report { check: check.into(), clause: 2, seconds: 0.1, outcome }
    }

    fn failure() -> Failure {
        let texts = vec![format!("STEP {HOSTILE}")];
        let (kernel, said) = (vec![format!("KERNEL {HOSTILE}")], vec![format!("SAID {HOSTILE}")]);
        Failure {
            steps: texts,
            kernel,
            said,
            ..Failure::new(Symptom::ReadLost, format!("WHAT {HOSTILE}"), format!("CAUSE {HOSTILE}"))
        }
    }

    fn grades(show: Show) -> Grades {
        let grade = Grade {
            number: 7,
            name: "07_a".into(),
            title: "A".into(),
            state: AttemptState::Failed,
            score: 0.5,
            max_score: 2.0,
            seconds: 0.1,
            note: format!("it does not compile: {HOSTILE}"),
            own_checks: 2,
            reports: vec![
                report("echo::own", Outcome::Fail(failure())),
                report("echo::second", Outcome::Pass),
                report("echo::third", Outcome::Skip { reason: HOSTILE.into() }),
                report("echo::fourth", Outcome::Pass),
                report("echo::fifth", Outcome::Fail(Failure::new(Symptom::Slow, NOT_RUN, ""))),
            ],
        };
        let missing = Grade {
            number: 8,
            name: "08_b".into(),
            state: AttemptState::Missing,
            score: 0.0,
            note: String::new(),
            own_checks: 0,
            reports: Vec::new(),
            ..grade.clone()
        };
        let notes = vec![format!("ignored: {HOSTILE}.rs")];
        Grades { score: 0.5, max_score: 4.0, seconds: 0.2, notes, exercises: vec![grade, missing], show }
    }

    #[test]
    fn a_students_page_shows_as_much_as_it_is_to_show() {
        for (show, has) in [(Show::Names, 0), (Show::Causes, 2), (Show::All, 5)] {
            let page = student(&grades(show), HOSTILE);
            stands_alone(&page);
            let parts = ["WHAT", "CAUSE", "STEP", "KERNEL", "SAID"];
            let shown = parts.iter().filter(|part| page.contains(*part)).count();
            assert_eq!(shown, has, "{show:?}: {page}");
            assert!(page.contains("FAIL  echo::own") && page.contains("pass  echo::second"), "{page}");
            assert!(page.contains("not run  echo::fifth") && page.contains("1 check of the rest"), "{page}");
            assert!(page.contains("0.5 of 4 points"), "{page}");
        }
    }

    #[test]
    fn the_teachers_table_leads_to_each_students_page_and_names_are_text() {
        use crate::class::grader::{GraderId, Machine};
        use crate::class::grades::{ClassId, ExerciseHead, VERSION};
        let digest = || crate::class::digest::Digest::of("");
        let student = |folder: &str, file: &str| {
            let Grades { score, max_score, notes, exercises, .. } = grades(Show::All);
            StudentGrades {
                folder: folder.into(),
                name: folder.into(),
                file: file.into(),
                found: "1 attempt".into(),
                notes,
                host: "here".into(),
                score,
                max_score,
                exercises,
                texts: Vec::new(),
            }
        };
        let exercise = |name: &str| ExerciseHead {
            name: name.into(),
            title: HOSTILE.into(),
            points: 2,
            digest: digest(),
            starter: None,
            solution: None,
        };
        let machine = Machine { host: "here".into(), lacks: Vec::new(), descriptors: None, system: String::new() };
        let all = ClassGrades {
            version: VERSION,
            grader: GraderId { commit: "abc".into(), timeout: 1, quick: true },
            class: ClassId { students: 2, digest: digest() },
            shard: None,
            exercises: vec![exercise("07_a"), exercise("08_b")],
            machines: vec![machine],
            seconds: 1.0,
            ignored: vec![HOSTILE.into()],
            students: vec![student(HOSTILE, "_~1234"), student("bo", "bo")],
            alike: Vec::new(),
        };
        let page = class(&all);
        stands_alone(&page);
        assert!(page.contains("<a href=\"students/_~1234.html\">"), "{page}");
        assert!(page.contains("<a href=\"students/bo.html#x07_a\">0.5</a>"), "{page}");
        assert!(page.contains("2 students, 2 exercises"), "{page}");
    }
}
