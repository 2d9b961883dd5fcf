//! A student's result as a file, so that a run that was ended goes on where it was.
//!
//! Invariant: a file is either the old one or the new one, whole, whenever the machine stops. What it says of an attempt is
//! used only if the attempt, the exercise, the grader and the machine are the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::alike;
use super::digest::Digest;
use super::layout::Student;
use crate::error::LabError;
use crate::grading::{Grade, compile};
use crate::terminal;

/// A longer name gets a digest: a file system takes 255 bytes.
const LONGEST: usize = 100;

/// What is known of one student.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The name of the student's folder.
    pub folder: String,
    /// By exercise.
    pub attempts: BTreeMap<String, RecordedAttempt>,
}

/// A grade, and what it was given for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedAttempt {
    /// The attempt.
    pub text: AttemptText,
    /// Exercise, grader and machine.
    pub circumstances: Digest,
    /// The machine's name.
    pub host: String,
    /// The grade.
    pub grade: Grade,
}

/// What stands for an attempt's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptText {
    /// Of its bytes; or of the reason why it cannot be read. None without an attempt.
    pub digest: Option<Digest>,
    /// Of its form; none if it is no text.
    pub form: Option<Digest>,
}

impl AttemptText {
    /// The text of an attempt.
    pub fn of(attempt: Option<&Path>) -> Self {
        match attempt.map(compile::read) {
            None | Some(Ok(None)) => Self { digest: None, form: None },
            Some(Ok(Some(source))) => {
                let form = std::str::from_utf8(&source).ok().map(alike::form);
                Self { digest: Some(Digest::of(source)), form }
            }
            Some(Err(why)) => Self { digest: Some(Digest::of(why)), form: None },
        }
    }
}

/// The folder of the results.
#[derive(Debug)]
pub struct ResultsFolder(PathBuf);

impl ResultsFolder {
    /// Makes it, if it is not there.
    ///
    /// # Errors
    /// If it cannot be made, or nothing can be written in it.
    pub fn open(path: &Path) -> Result<Self, LabError> {
        let students = path.join("students");
        fs::create_dir_all(&students).map_err(|error| {
            LabError::usage(format!("--results {}: {error}; give a folder that can be written to", path.display()))
        })?;
        Ok(Self(students))
    }

    /// Where a student's result is.
    pub fn file(&self, student: &Student) -> PathBuf {
        self.0.join(format!("{}.json", file_name(&student.path)))
    }

    /// What is known of a student; nothing if the file is another's, or cannot be read.
    pub fn load(&self, student: &Student) -> Record {
        let path = self.file(student);
        let nothing = || Record { folder: student.folder.clone(), attempts: BTreeMap::new() };
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice::<Record>(&text) {
                Ok(record) if record.folder == student.folder => record,
                Ok(_) => nothing(),
                Err(error) => {
                    terminal::complain(&format!("{}: {error}; it is written anew", path.display()));
                    nothing()
                }
            },
            Err(_) => nothing(),
        }
    }

    /// Writes what is known of a student.
    ///
    /// # Errors
    /// If the disk is full, say.
    pub fn save(&self, student: &Student, record: &Record) -> Result<(), LabError> {
        let text = serde_json::to_string_pretty(record).expect("strings and numbers only") + "\n";
        write_whole(&self.file(student), text.as_bytes())
    }
}

/// Writes a file that is whole at any time: under another name first, onto the disk, and then in the place of the old one.
///
/// # Errors
/// If it cannot be written. The old file is then still there.
pub fn write_whole(path: &Path, text: &[u8]) -> Result<(), LabError> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The name is on the disk too. Not every file system does that for folders.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    };
    write().map_err(|error: std::io::Error| {
        let _ = fs::remove_file(&temporary);
        let hint = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "; make room and call the same command again: what is graded is kept"
            }
            _ => "",
        };
        LabError::failed(format!("{} cannot be written: {error}{hint}", path.display()))
    })
}

/// A name for a student's file. A folder's name may have anything in it; then a digest tells it from others.
pub fn file_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.' | '@' | '+');
    let text = name.to_string_lossy();
    if text.chars().all(is_plain) && !text.starts_with(['.', '-']) && text.len() <= LONGEST && !text.is_empty() {
        return text.into_owned();
    }
    let cleaned: String = text
        .trim_start_matches(['.', '-'])
        .chars()
        .map(|it| if is_plain(it) { it } else { '_' })
        .take(LONGEST)
        .collect();
    // `~` is in no plain name.
    format!("{cleaned}~{}", Digest::of(name.as_bytes()).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_has_a_file_of_its_own() {
        let name = |folder: &str| file_name(Path::new(folder));
        assert_eq!(name("class/ada"), "ada");
        assert_eq!(name("class/lab-1_ada@example.org"), "lab-1_ada@example.org");
        for hostile in ["a b", "..x", "a\nb", "é", "-rf", &"x".repeat(250)] {
            let name = name(hostile);
            assert!(name.len() < 130 && name.contains('~') && !name.starts_with(['.', '-']), "{name}");
            assert!(!name.contains(['/', '\n', ' ']), "{name}");
        }
        assert_ne!(name("a b"), name("a_b"));
        assert_ne!(name("a b"), name("a?b"));
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("lab-whole-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.json");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // A folder cannot be replaced by a file.
        fs::create_dir(folder.join("b")).unwrap();
        fs::write(folder.join("b/x"), "").unwrap();
        assert!(write_whole(&folder.join("b"), b"new").is_err());
        let left: Vec<_> = fs::read_dir(&folder).unwrap().flatten().map(|it| it.file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
