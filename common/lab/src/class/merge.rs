//! The parts of a class, put together.
//!
//! Invariant: what comes out is what one machine would have written, but for times and hosts; or it is an error that names the
//! file. Nothing is graded here.

use super::grades::{ClassGrades, VERSION};
use crate::error::LabError;
use crate::parts::{in_order, refuse};

/// The whole class, from its parts. Each comes with the name of its file.
///
/// # Errors
/// If a part is missing, is there twice, or is of another class, grader or set of exercises.
pub fn merge(parts: Vec<(String, ClassGrades)>) -> Result<ClassGrades, LabError> {
    let Some((first_file, first)) = parts.first().cloned() else {
        return Err(LabError::usage("no file to merge; give the JSON of every part"));
    };
    for (file, part) in &parts {
        if part.version != VERSION {
            return refuse(format!("{file} has version {} of the format, and this lab reads {VERSION}", part.version));
        }
        if let Some(difference) = difference(&first, part) {
            return refuse(format!("{file} and {first_file} do not belong together: {difference}"));
        }
    }
    let said: Vec<(&str, Option<&str>)> =
        parts.iter().map(|(file, part)| (file.as_str(), part.shard.as_deref())).collect();
    let order = in_order(&said)?;
    let mut whole = ClassGrades { shard: None, students: Vec::new(), machines: Vec::new(), ..first };
    for place in order {
        let part = parts[place].1.clone();
        for machine in part.machines {
            if !whole.machines.contains(&machine) {
                whole.machines.push(machine);
            }
        }
        whole.students.extend(part.students);
    }
    let whole = whole.completed();
    let twice = whole.students.windows(2).find(|pair| pair[0].folder == pair[1].folder);
    if let Some(pair) = twice {
        return refuse(format!("{} is in two parts", pair[0].folder));
    }
    if whole.students.len() != whole.class.students {
        return refuse(format!("the class has {} students, the parts {}", whole.class.students, whole.students.len()));
    }
    Ok(whole)
}

/// Why two parts do not belong together.
fn difference(a: &ClassGrades, b: &ClassGrades) -> Option<String> {
    let differs = |what: &str, a: &str, b: &str| (a != b).then(|| format!("{what} is {b} and {a}"));
    let seconds = |it: &ClassGrades| format!("{} s", it.grader.timeout);
    let extent = |it: &ClassGrades| if it.grader.quick { "quick" } else { "the whole suite" };
    let class = |it: &ClassGrades| format!("{} students ({})", it.class.students, it.class.digest.short());
    let names = |it: &ClassGrades| it.exercises.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(" ");
    differs("the grader's commit", &a.grader.commit, &b.grader.commit)
        .or_else(|| differs("--timeout", &seconds(a), &seconds(b)))
        .or_else(|| differs("the extent", extent(a), extent(b)))
        .or_else(|| differs("the class", &class(a), &class(b)))
        .or_else(|| differs("the list of exercises", &names(a), &names(b)))
        .or_else(|| {
            let other = a.exercises.iter().zip(&b.exercises).find(|(a, b)| a != b);
            other.map(|(a, _)| format!("the exercise {} is another one there", a.name))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::digest::Digest;
    use crate::class::grader::{GraderId, Machine};
    use crate::class::grades::{ClassId, StudentGrades};

    fn part(shard: &str, students: &[&str]) -> (String, ClassGrades) {
        let student = |folder: &&str| StudentGrades {
            folder: (*folder).into(),
            name: (*folder).into(),
            file: (*folder).into(),
            found: String::new(),
            notes: Vec::new(),
            host: "here".into(),
            score: 0.0,
            max_score: 0.0,
            exercises: Vec::new(),
            texts: Vec::new(),
        };
        let machine = Machine { host: shard.into(), lacks: Vec::new(), descriptors: None, system: "Linux".into() };
        let grades = ClassGrades {
            version: VERSION,
            grader: GraderId { commit: "c".into(), timeout: 300, quick: false },
            class: ClassId { students: 3, digest: Digest::of("class") },
            shard: Some(shard.into()),
            exercises: Vec::new(),
            machines: vec![machine],
            seconds: 0.0,
            ignored: Vec::new(),
            students: students.iter().map(student).collect(),
            alike: Vec::new(),
        };
        (format!("{}.json", shard.replace('/', "-")), grades)
    }

    fn refused(parts: &[(String, ClassGrades)]) -> String {
        merge(parts.to_vec()).unwrap_err().message
    }

    #[test]
    fn parts_in_any_order_make_the_class() {
        let whole = merge(vec![part("2/2", &["b"]), part("1/2", &["a", "c"])]).unwrap();
        assert_eq!(whole.students.iter().map(|it| it.folder.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(whole.machines.iter().map(|it| it.host.as_str()).collect::<Vec<_>>(), ["1/2", "2/2"]);
        assert_eq!(whole.shard, None);
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let (a, b) = (part("1/2", &["a", "c"]), part("2/2", &["b"]));
        let changed = |change: fn(&mut ClassGrades)| {
            let mut b = b.clone();
            change(&mut b.1);
            refused(&[a.clone(), b])
        };
        let refusals = [
            (refused(std::slice::from_ref(&a)), "of 2 parts these are missing: 2/2"),
            (refused(&[a.clone(), a.clone()]), "part 1/2 is there twice: 1-2.json and 1-2.json"),
            (changed(|it| it.grader.commit = "d".into()), "the grader's commit is d and c"),
            (changed(|it| it.grader.timeout = 5), "--timeout is 5 s and 300 s"),
            (changed(|it| it.class.students = 4), "the class is 4 students"),
            (changed(|it| it.shard = None), "2-2.json is no part: it was written without --shard"),
            (changed(|it| it.shard = Some("3/3".into())), "two divisions"),
            (changed(|it| it.version = 9), "has version 9"),
            (changed(|it| it.students.clear()), "the class has 3 students, the parts 2"),
        ];
        for (refusal, words) in refusals {
            assert!(refusal.contains(words) && refusal.ends_with("nothing was merged"), "{words}: {refusal}");
        }
        assert_eq!(merge(Vec::new()).unwrap_err().code, 2);
    }
}
