//! Which files of the course a handout has, and how they differ there.
//!
//! Invariant: whatever has an answer in it is left out: a solution, a fix, a mutant, a test that quotes one, a page for
//! instructors. What is left is a workspace that builds.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_lab::course::settings::{self, CourseSettings};

use super::digest::{Digest, Digester};
use crate::course::{Exercise, StarterRecord};
use crate::error::LabError;

/// Not handed out: whole folders and files.
const LEFT_OUT: &[&str] = &[
    ".ci",
    ".github",
    "exercises/INSTRUCTORS.md",
    "exercises/fixes",
    "exercises/grading",
    // All starters and solutions in one program, and its test.
    "exercises/src/main.rs",
    "exercises/src/servers.rs",
    // Servers with a bug, and the record of what becomes of a solution that is changed.
    "common/harness/mutate.py",
    "common/harness/survivors.toml",
];
/// The tests of the tools themselves, which quote solutions and have mutants. Those of the chapters stay.
const WITHOUT_TESTS: &[&str] = &["exercises", "common/harness", "common/explorer", "common/lab", "common/cargo-lab"];

/// A file of a handout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Its bytes, and whether it is a program.
    File(Vec<u8>, bool),
    /// Where it leads.
    Link(PathBuf),
}

impl Piece {
    /// What is there; nothing if nothing is.
    pub fn on_disk(path: &Path) -> Option<Self> {
        let about = fs::symlink_metadata(path).ok()?;
        if about.is_symlink() {
            return fs::read_link(path).ok().map(Self::Link);
        }
        fs::read(path).ok().map(|bytes| Self::File(bytes, about.permissions().mode() & 0o111 != 0))
    }

    /// Stands for what is in it.
    pub fn digest(&self) -> Digest {
        match self {
            Self::File(bytes, _) => Digest::of(bytes),
            Self::Link(to) => Digester::default().add("link").add(to.as_os_str().as_encoded_bytes()).digest(),
        }
    }

    /// Writes it, in the place of what is there.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match self {
            Self::File(bytes, is_program) => {
                // Not through a link that somebody has put there.
                if fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) {
                    fs::remove_file(path)?;
                }
                fs::write(path, bytes)?;
                let mode = if *is_program { 0o755 } else { 0o644 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode))
            }
            Self::Link(to) => {
                let _ = fs::remove_file(path);
                std::os::unix::fs::symlink(to, path)
            }
        }
    }
}

/// The files of a handout with these exercises, by their paths in it.
///
/// # Errors
/// If a file of the course cannot be read.
pub fn pieces(root: &Path, exercises: &[String]) -> Result<BTreeMap<String, Piece>, LabError> {
    let mut pieces = BTreeMap::new();
    for name in files(root).into_iter().filter(|name| is_handed_out(name, exercises)) {
        // A file that git knows and that was deleted.
        let Some(piece) = Piece::on_disk(&root.join(&name)) else { continue };
        let piece = match piece {
            Piece::File(bytes, is_program) => Piece::File(changed(&name, bytes, exercises)?, is_program),
            link @ Piece::Link(_) => link,
        };
        pieces.insert(name, piece);
    }
    Ok(pieces)
}

/// The files with the teacher's own exercises, and what `course.toml` says of all of them.
///
/// # Errors
/// If a file cannot be read.
pub fn with_own(
    mut pieces: BTreeMap<String, Piece>,
    folder: &Path,
    exercises: &[Exercise],
) -> Result<BTreeMap<String, Piece>, LabError> {
    let cannot = |path: &Path, error: &dyn std::fmt::Display| LabError::failed(format!("{}: {error}", path.display()));
    for exercise in exercises.iter().filter(|exercise| !exercise.folder.starts_with(folder)) {
        for entry in fs::read_dir(&exercise.folder).map_err(|error| cannot(&exercise.folder, &error))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_kept = ["solution.rs", "fixes.toml"].contains(&name.as_str()) || name.starts_with('.');
            if let (false, Some(piece @ Piece::File(..))) = (is_kept, Piece::on_disk(&entry.path())) {
                pieces.insert(format!("exercises/{}/{name}", exercise.name), piece);
            }
        }
    }
    let record = "exercises/starters.toml";
    if let Some(Piece::File(text, _)) = pieces.get_mut(record) {
        let path = folder.join("starters.toml");
        let old = String::from_utf8_lossy(text);
        let mut known: StarterRecord = toml::from_str(&old).map_err(|error| cannot(&path, &error))?;
        for exercise in exercises.iter().filter(|exercise| !exercise.starter_fails.is_empty()) {
            known.fails.insert(exercise.name.clone(), exercise.starter_fails.clone());
        }
        *text = toml::to_string_pretty(&known).map_err(|error| cannot(&path, &error))?.into_bytes();
    }
    let mut settings = CourseSettings::load(folder)?;
    if settings != CourseSettings::default() {
        // In the handout all exercises lie in one folder, and only those that are handed out.
        settings.folders.clear();
        settings.exercises = exercises.iter().map(|it| it.name.clone()).collect();
        let is_there = |word: &String| exercises.iter().any(|it| it.named_by(word).is_some());
        settings.points.retain(|word, _| is_there(word));
        settings.titles.retain(|word, _| is_there(word));
        let text = toml::to_string_pretty(&settings).map_err(|error| cannot(folder, &error))?;
        pieces.insert(settings::FILE.to_owned(), Piece::File(text.into_bytes(), false));
    }
    Ok(pieces)
}

/// The course's files: those that git knows; without git all, but for what was built and attempts.
fn files(root: &Path) -> Vec<String> {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(root)
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if let Ok(output) = git.output()
        && output.status.success()
    {
        let names: Vec<String> =
            String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(str::to_owned).collect();
        if names.iter().any(|name| name == "Cargo.toml") {
            return names;
        }
    }
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && name != "target" && name != ".git" => folders.push(path),
                Ok(kind) if !kind.is_dir() => {
                    found.extend(path.strip_prefix(root).ok().map(|it| it.to_string_lossy().into_owned()));
                }
                _ => {}
            }
        }
    }
    found
}

fn is_handed_out(name: &str, exercises: &[String]) -> bool {
    let below = |folder: &str| name.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if LEFT_OUT.iter().any(|it| below(it)) || WITHOUT_TESTS.iter().any(|it| below(&format!("{it}/tests"))) {
        return false;
    }
    let Some((folder, file)) = name.strip_prefix("exercises/").and_then(|rest| rest.split_once('/')) else {
        return true;
    };
    match folder {
        "attempts" => ["Cargo.toml", "Cargo.lock", "README.md", "examples"].contains(&file),
        _ if folder.starts_with(|it: char| it.is_ascii_digit()) => {
            exercises.iter().any(|it| it == folder) && !["solution.rs", "fixes.toml"].contains(&file)
        }
        _ => true,
    }
}

/// The text of a file in a handout.
fn changed(name: &str, bytes: Vec<u8>, exercises: &[String]) -> Result<Vec<u8>, LabError> {
    let is_manifest = WITHOUT_TESTS.iter().any(|it| name.strip_prefix(it) == Some("/Cargo.toml"));
    let is_changed = is_manifest || ["Cargo.toml", "Cargo.lock", "exercises/starters.toml"].contains(&name);
    if !is_changed {
        return Ok(bytes);
    }
    let wrong = |error: &dyn std::fmt::Display| LabError::failed(format!("{name}: {error}"));
    let text = String::from_utf8(bytes).map_err(|error| wrong(&error))?;
    let text = match name {
        "Cargo.toml" => {
            // What stands there of the fixes: the member, and how they are compiled, with its comment.
            let is_of_fixes =
                |it: &&str| it.trim() == "\"exercises/fixes\"," || it.starts_with("# Two hundred servers in");
            let text = text.lines().filter(|it| !is_of_fixes(it)).fold(String::new(), add_line);
            without_sections(&text, |lines| lines[0] == "[profile.dev.package.fixes]")
        }
        "Cargo.lock" => without_sections(&text, |lines| {
            lines.first() == Some(&"[[package]]") && lines.get(1) == Some(&"name = \"fixes\"")
        }),
        "exercises/starters.toml" => starters(&text, exercises).map_err(|error| wrong(&error))?,
        _ => without_sections(&text, |lines| {
            matches!(lines.first(), Some(&"[[test]]" | &"[[bin]]")) && is_of_tests(lines, name)
        }),
    };
    Ok(text.into_bytes())
}

/// A section that names a test; or the program of all exercises.
fn is_of_tests(section: &[&str], manifest: &str) -> bool {
    section[0] == "[[test]]" || manifest == "exercises/Cargo.toml"
}

fn add_line(text: String, line: &str) -> String {
    text + line + "\n"
}

/// The text without those of its sections that a test of their lines takes. A section begins with a bracket in the first
/// column.
fn without_sections(text: &str, is_dropped: impl Fn(&[&str]) -> bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|at| *at == 0 || lines[*at].starts_with('[')).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let sections = starts.iter().zip(ends).map(|(start, end)| &lines[*start..end]);
    sections.filter(|section| !is_dropped(section)).flatten().fold(String::new(), |text, line| add_line(text, line))
}

/// What starters fail, of these exercises.
fn starters(text: &str, exercises: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let mut record: toml::Table = toml::from_str(text)?;
    if let Some(toml::Value::Table(fails)) = record.get_mut("fails") {
        fails.retain(|name, _| exercises.iter().any(|it| it == name));
    }
    Ok(toml::to_string_pretty(&record)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let text = "a = 1\n[[test]]\nname = \"x\"\n\n[[bin]]\nname = \"y\"\n";
        assert_eq!(without_sections(text, |it| it[0] == "[[test]]"), "a = 1\n[[bin]]\nname = \"y\"\n");
    }
}
