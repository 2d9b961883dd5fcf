//! Where the attempts of each student lie. Course systems and students pack them in different ways.
//!
//! Invariant: each file of a student is used, or is named with the reason why it is not. A symbolic link is never
//! followed: it could lead to the solutions, or to another student.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_lab::course::handout::Handout;

use crate::error::LabError;
use crate::terminal;

/// A zip file adds a folder, and a system another: attempts are looked for in a folder that is alone in its folder, so
/// many levels down.
const LEVELS: usize = 4;
/// So many files that are no attempts are named; of more, the number is.
const NAMED: usize = 5;

/// One student's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Student {
    /// The folder's name, as it is on the disk.
    pub folder: String,
    /// The folder.
    pub path: PathBuf,
    /// Who that is, as far as the course system says.
    pub name: String,
    /// The attempts: the exercise's name, and the file.
    pub attempts: BTreeMap<String, PathBuf>,
    /// Where they were found: a sentence.
    pub found: String,
    /// What was not used, and why.
    pub ignored: Vec<String>,
    /// What the student got, if that is here too.
    pub handout: Option<Handout>,
}

/// A class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Class {
    /// In the order of their folders' names.
    pub students: Vec<Student>,
    /// What lies beside the students' folders, and is none.
    pub ignored: Vec<String>,
}

/// How the attempts lie in a student's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `19_accept_queue.rs`.
    Files,
    /// A clone of the course: `exercises/attempts/19_accept_queue.rs`.
    Clone,
    /// `19_accept_queue/solution.rs`, or another file that is alone in the folder.
    Folders,
}

/// The students of a class folder. `exercises` are the names of all exercises.
///
/// # Errors
/// If the folder cannot be read, or has no folder in it.
pub fn find(class: &Path, exercises: &[String]) -> Result<Class, LabError> {
    let cannot = |what: &str| LabError::usage(format!("--class {}: {what}", class.display()));
    if !class.is_dir() {
        return Err(cannot("there is no such folder; give the folder that has a folder for each student"));
    }
    let entries = entries(class).map_err(|error| cannot(&error.to_string()))?;
    let submitters = submitters(class);
    let mut found = Class::default();
    for (name, path) in entries {
        let kind = fs::symlink_metadata(&path).map(|it| it.file_type());
        match kind {
            Ok(kind) if kind.is_symlink() => found.ignored.push(ignored(&name, "it is a symbolic link")),
            _ if name.starts_with('.') => {}
            Ok(kind) if kind.is_dir() => {
                let mut student = student(&path, &name, exercises);
                if let Some(who) = submitters.get(&name) {
                    student.name = who.clone();
                }
                found.students.push(student);
            }
            _ if name == METADATA => {}
            _ => found.ignored.push(ignored(&name, "it is no folder; each student has a folder")),
        }
    }
    if found.students.is_empty() {
        let hint = match found.ignored.iter().any(|it| it.contains(".rs")) {
            true => "; for the folder of one student, use --attempts",
            false => "",
        };
        return Err(cannot(&format!("there is no folder in it, so no student{hint}")));
    }
    without_the_assignment(&mut found.students);
    Ok(found)
}

/// What one student's folder holds.
fn student(folder: &Path, name: &str, exercises: &[String]) -> Student {
    let mut student = Student {
        folder: name.to_owned(),
        path: folder.to_path_buf(),
        name: moodle_name(name).unwrap_or(name).to_owned(),
        attempts: BTreeMap::new(),
        found: String::new(),
        ignored: Vec::new(),
        handout: None,
    };
    let mut at = folder.to_path_buf();
    for _ in 0..LEVELS {
        if let Some((layout, place)) = layout(&at, exercises) {
            let below = place.strip_prefix(folder).unwrap_or(&place);
            let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
            take(&mut student, layout, &place, exercises);
            if layout == Layout::Clone {
                student.handout = handout(&at.join("exercises"));
            }
            let how = match layout {
                Layout::Files => "files named after exercises",
                Layout::Clone => "a clone of the course",
                Layout::Folders => "a folder for each exercise",
            };
            let count = terminal::count(student.attempts.len(), "attempt");
            student.found = format!("{count} in {} ({how})", shown(&below.to_string_lossy()));
            return student;
        }
        match only_folder(&at) {
            Some(inner) => at = inner,
            None => break,
        }
    }
    student.found = "no attempt: no file or folder is named after an exercise".into();
    note_others(&mut student, &at, exercises, |_| false);
    student
}

/// What a student's clone says of the handout. Whatever else the student has written there, it is only shown.
fn handout(exercises: &Path) -> Option<Handout> {
    let file = exercises.join(cargo_lab::course::handout::FILE);
    let is_small = fs::symlink_metadata(&file).is_ok_and(|it| it.is_file() && it.len() < 1 << 20);
    let handout = is_small.then(|| Handout::load(exercises).ok().flatten()).flatten()?;
    Some(Handout { commit: terminal::clean(&handout.commit, 80), ..handout })
}

/// How the attempts lie in this very folder, and where.
fn layout(folder: &Path, exercises: &[String]) -> Option<(Layout, PathBuf)> {
    let clone = folder.join("exercises/attempts");
    // A clone has folders with the exercises' names too: ours, with our solutions.
    if is_real_folder(&folder.join("exercises")) && is_real_folder(&clone) {
        return Some((Layout::Clone, clone));
    }
    let entries = entries(folder).ok()?;
    let is = |wanted: &dyn Fn(&str, &Path) -> bool| entries.iter().any(|(name, path)| wanted(name, path));
    if is(&|name, path| is_attempt(name, exercises).is_some() && is_real_file(path)) {
        return Some((Layout::Files, folder.to_path_buf()));
    }
    if is(&|name, path| exercises.iter().any(|it| it == name) && is_real_folder(path)) {
        return Some((Layout::Folders, folder.to_path_buf()));
    }
    None
}

fn take(student: &mut Student, layout: Layout, place: &Path, exercises: &[String]) {
    for (name, path) in entries(place).unwrap_or_default() {
        let (exercise, file) = match layout {
            Layout::Files | Layout::Clone => match is_attempt(&name, exercises) {
                Some(exercise) => (exercise, path),
                None => continue,
            },
            Layout::Folders => match exercises.iter().find(|it| **it == name) {
                Some(exercise) if is_real_folder(&path) => match the_file(&path, exercise) {
                    Ok(file) => (exercise.as_str(), file),
                    Err(why) => {
                        student.ignored.push(ignored(&name, &why));
                        continue;
                    }
                },
                _ => continue,
            },
        };
        if is_real_file(&file) {
            student.attempts.insert(exercise.to_owned(), file);
        } else {
            student.ignored.push(ignored(&name, "it is a symbolic link or no file"));
        }
    }
    // The files of our own that lie beside attempts in a clone.
    let ours =
        |name: &str| layout == Layout::Clone && ["Cargo.toml", "Cargo.lock", "README.md", "examples"].contains(&name);
    note_others(student, place, exercises, ours);
}

/// Says which files are no attempts.
fn note_others(student: &mut Student, place: &Path, exercises: &[String], known: impl Fn(&str) -> bool) {
    let is_other = |name: &String| {
        let is_exercise = is_attempt(name, exercises).is_some() || exercises.contains(name);
        !name.starts_with('.') && !is_exercise && !known(name)
    };
    let others: Vec<String> =
        entries(place).unwrap_or_default().into_iter().map(|(name, _)| name).filter(is_other).collect();
    for name in others.iter().take(NAMED) {
        student.ignored.push(ignored(name, "it is not named after an exercise"));
    }
    if others.len() > NAMED {
        student.ignored.push(format!("ignored: {} more", others.len() - NAMED));
    }
}

/// The one file of an exercise's folder that can be the attempt.
fn the_file(folder: &Path, exercise: &str) -> Result<PathBuf, String> {
    let files: Vec<(String, PathBuf)> =
        entries(folder).unwrap_or_default().into_iter().filter(|(name, _)| name.ends_with(".rs")).collect();
    let called = |wanted: &str| files.iter().find(|(name, _)| name == wanted).map(|(_, path)| path.clone());
    let named = called("solution.rs").or_else(|| called(&format!("{exercise}.rs"))).or_else(|| called("attempt.rs"));
    match (named, files.as_slice()) {
        (Some(file), _) => Ok(file),
        (None, [(_, only)]) => Ok(only.clone()),
        (None, []) => Err("there is no .rs file in it".into()),
        (None, more) => Err(format!("{} .rs files are in it, and none is solution.rs", more.len())),
    }
}

/// The exercise that a file's name names.
fn is_attempt<'a>(file: &str, exercises: &'a [String]) -> Option<&'a str> {
    let stem = file.strip_suffix(".rs")?;
    exercises.iter().find(|it| *it == stem).map(String::as_str)
}

/// The folder that is alone in this one, as an archive leaves it. Hidden files and those of macOS do not count.
fn only_folder(folder: &Path) -> Option<PathBuf> {
    let mut visible = entries(folder).ok()?;
    visible.retain(|(name, _)| !name.starts_with('.') && name != "__MACOSX");
    match visible.as_slice() {
        [(_, path)] if is_real_folder(path) => Some(path.clone()),
        _ => None,
    }
}

/// Names and paths, by name.
fn entries(folder: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Names that are no UTF-8 stay different from each other.
        let name = entry.file_name();
        let name = name.to_str().map_or_else(|| name.as_encoded_bytes().escape_ascii().to_string(), str::to_owned);
        found.push((name, entry.path()));
    }
    found.sort();
    Ok(found)
}

fn is_real_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_dir())
}

fn is_real_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_file())
}

fn ignored(name: &str, why: &str) -> String {
    format!("ignored: {}: {why}", shown(name))
}

/// A name may have anything in it.
fn shown(name: &str) -> String {
    terminal::clean(&name.escape_debug().to_string(), 80)
}

/// `Ada Lovelace_1234567_assignsubmission_file`, as Moodle names a folder.
fn moodle_name(folder: &str) -> Option<&str> {
    let (before, _) = folder.split_once("_assignsubmission_")?;
    let (name, id) = before.rsplit_once('_')?;
    (!name.is_empty() && !id.is_empty() && id.bytes().all(|it| it.is_ascii_digit())).then_some(name)
}

/// `lab-ada`, `lab-grace`: GitHub Classroom begins each clone with the assignment. One student's name cannot tell.
fn without_the_assignment(students: &mut [Student]) {
    let Some((first, others)) = students.split_first() else { return };
    if others.is_empty() || students.iter().any(|it| it.name != it.folder) {
        return;
    }
    let mut prefixes = first.name.match_indices('-').map(|(at, _)| first.name[..=at].to_owned());
    let common =
        |prefix: &String| students.iter().all(|it| it.name.len() > prefix.len() && it.name.starts_with(prefix));
    let Some(prefix) = prefixes.rfind(common) else { return };
    for student in students {
        student.name = student.name[prefix.len()..].to_owned();
    }
}

/// The file that lies beside the folders of Gradescope's export.
const METADATA: &str = "submission_metadata.yml";

/// Who has submitted each folder, from Gradescope's export. The file is YAML with Ruby's symbols as keys:
///
/// ```text
/// submission_4321:
///   :submitters:
///   - :name: Ada Lovelace
///     :sid: '1815'
///     :email: ada@example.org
/// ```
///
/// Only these lines are read. A file of another form names nobody, and the folders keep their names.
fn submitters(class: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(class.join(METADATA)).unwrap_or_default();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let (mut folder, mut among) = (None, false);
    for line in text.lines() {
        let indented = line.starts_with([' ', '-', '\t']);
        let words = line.trim();
        if !indented && words.ends_with(':') {
            folder = Some(words.trim_end_matches(':').trim_matches(['"', '\'']).to_owned());
            among = false;
        } else if words == ":submitters:" {
            among = true;
        } else if words.starts_with(':') && line.starts_with("  :") {
            // Another key of the submission: its events name people too.
            among = false;
        }
        let name = words.trim_start_matches("- ").trim().strip_prefix(":name:");
        if let (true, Some(folder), Some(name)) = (among, &folder, name) {
            let name = name.trim().trim_matches(['"', '\'']);
            let names = found.entry(folder.clone()).or_default();
            *names = if names.is_empty() { name.to_owned() } else { format!("{names} and {name}") };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lab-class-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn put(&self, file: &str) -> PathBuf {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "fn main() {}\n").unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn exercises() -> Vec<String> {
        ["08_nfds", "19_accept_queue"].map(String::from).to_vec()
    }

    fn found(class: &Folder) -> Class {
        find(&class.0, &exercises()).unwrap()
    }

    #[test]
    fn each_layout_is_found() {
        let class = Folder::new("layouts");
        class.put("files/08_nfds.rs");
        class.put("zip/inner/08_nfds.rs");
        class.put("zip/__MACOSX/inner/x");
        class.put("clone/exercises/attempts/19_accept_queue.rs");
        class.put("clone/exercises/attempts/Cargo.toml");
        class.put("clone/exercises/08_nfds/solution.rs");
        class.put("folders/19_accept_queue/solution.rs");
        class.put("folders/08_nfds/main.rs");
        class.put("empty/notes.txt");
        let students = found(&class).students;
        let told: Vec<(&str, Vec<&str>, &str)> = students
            .iter()
            .map(|it| (it.folder.as_str(), it.attempts.keys().map(String::as_str).collect(), it.found.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("clone", vec!["19_accept_queue"], "1 attempt in exercises/attempts (a clone of the course)"),
                ("empty", vec![], "no attempt: no file or folder is named after an exercise"),
                ("files", vec!["08_nfds"], "1 attempt in . (files named after exercises)"),
                ("folders", vec!["08_nfds", "19_accept_queue"], "2 attempts in . (a folder for each exercise)"),
                ("zip", vec!["08_nfds"], "1 attempt in inner (files named after exercises)"),
            ]
        );
        assert_eq!(students[1].ignored, ["ignored: notes.txt: it is not named after an exercise"]);
        assert_eq!(students[0].ignored, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let class = Folder::new("ignored");
        class.put("a/08_nfds.rs");
        class.put("a/12_slot.rs");
        class.put("b/19_accept_queue/one.rs");
        class.put("b/19_accept_queue/two.rs");
        class.put("readme.txt");
        std::os::unix::fs::symlink("/etc", class.0.join("c")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", class.0.join("a/19_accept_queue.rs")).unwrap();
        let class = found(&class);
        assert_eq!(
            class.ignored,
            ["ignored: c: it is a symbolic link", "ignored: readme.txt: it is no folder; each student has a folder"]
        );
        assert_eq!(
            class.students[0].ignored,
            [
                "ignored: 19_accept_queue.rs: it is a symbolic link or no file",
                "ignored: 12_slot.rs: it is not named after an exercise"
            ]
        );
        assert_eq!(class.students[0].attempts.len(), 1);
        assert_eq!(
            class.students[1].ignored,
            ["ignored: 19_accept_queue: 2 .rs files are in it, and none is solution.rs"]
        );
    }

    #[test]
    fn students_have_their_names_back() {
        let moodle = Folder::new("moodle");
        moodle.put("Ada Lovelace_1815_assignsubmission_file/08_nfds.rs");
        assert_eq!(found(&moodle).students[0].name, "Ada Lovelace");
        let github = Folder::new("github");
        github.put("lab-1-ada/08_nfds.rs");
        github.put("lab-1-grace-hopper/08_nfds.rs");
        let names: Vec<String> = found(&github).students.into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["ada", "grace-hopper"]);
        let gradescope = Folder::new("gradescope");
        gradescope.put("submission_4321/08_nfds.rs");
        gradescope.put("submission_4322/08_nfds.rs");
        let metadata = "submission_4321:\n  :submitters:\n  - :name: Ada Lovelace\n    :sid: '1815'\n  - :name: Grace Hopper\n  \
                        :created_at: 2026-11-28\n  :history:\n  - :name: Somebody Else\nsubmission_4322:\n  :submitters:\n  - \
                        :name: \"Alan Turing\"\n";
        fs::write(gradescope.0.join(METADATA), metadata).unwrap();
        let class = found(&gradescope);
        let names: Vec<&str> = class.students.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["Ada Lovelace and Grace Hopper", "Alan Turing"]);
        assert_eq!(class.ignored, Vec::<String>::new());
    }

    #[test]
    fn a_folder_without_students_is_refused() {
        let class = Folder::new("none");
        class.put("08_nfds.rs");
        let error = find(&class.0, &exercises()).unwrap_err();
        assert!(
            error.message.ends_with("so no student; for the folder of one student, use --attempts"),
            "{}",
            error.message
        );
        assert_eq!(error.code, 2);
        assert!(find(&class.0.join("nowhere"), &exercises()).is_err());
    }
}
