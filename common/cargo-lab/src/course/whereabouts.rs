//! Which exercise a command is about, where the student names none; and who is watching one.
//!
//! Invariant: what was taken is said, with the reason. At most one `cargo lab watch` runs in a folder of exercises, and
//! its lock ends with its process, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Course, Exercise, Standing};
use crate::error::LabError;

/// An exercise that a command is about.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// Its place.
    pub at: usize,
    /// Why it was taken, if the student did not name it.
    why: Option<&'static str>,
}

impl Chosen {
    /// `24_ready_flag, which you checked last`, and a new line; nothing if the student named it.
    pub fn said(&self, course: &Course) -> String {
        let name = &course.exercises[self.at].name;
        self.why.map_or_else(String::new, |why| format!("{name}, {why}\n"))
    }
}

impl Course {
    /// The exercise that a word names; without a word, the one that is being watched, or was checked last, or is begun
    /// and does not pass, or comes next.
    pub fn named_or_current(&self, word: Option<&str>) -> Result<Chosen, LabError> {
        if let Some(word) = word {
            return Ok(Chosen { at: self.find(word)?, why: None });
        }
        if let Some(chosen) = self.watched_or_checked() {
            return Ok(chosen);
        }
        let at = self.current().ok_or_else(|| LabError::usage("every exercise passes; name one: cargo lab list"))?;
        let why = match self.standing(at) {
            Standing::New => "the first that is not begun",
            _ => "which is begun and does not pass",
        };
        Ok(Chosen { at, why: Some(why) })
    }

    /// The exercise that a word names; without a word, the one that the student works on lacks its attempt, or the first
    /// that is not begun.
    pub fn named_or_new(&self, word: Option<&str>) -> Result<Chosen, LabError> {
        if let Some(word) = word {
            return Ok(Chosen { at: self.find(word)?, why: None });
        }
        let is_new = |at: &usize| self.standing(*at) == Standing::New;
        if let Some(chosen) = self.watched_or_checked().filter(|chosen| is_new(&chosen.at)) {
            return Ok(chosen);
        }
        let first = (0..self.exercises.len()).find(is_new);
        let at = first.ok_or_else(|| LabError::usage("every exercise is begun; see: cargo lab list"))?;
        Ok(Chosen { at, why: Some("the first that is not begun") })
    }

    /// The exercise that a word names; without a word, one that the student has worked on.
    pub fn named_or_begun(&self, word: Option<&str>) -> Result<Chosen, LabError> {
        let chosen = self.named_or_current(word)?;
        if word.is_none() && self.watched_or_checked().is_none() && self.standing(chosen.at) == Standing::New {
            return Err(LabError::usage(format!("no exercise is begun; name one\n  {}", self.numbers())));
        }
        Ok(chosen)
    }

    fn watched_or_checked(&self) -> Option<Chosen> {
        let place = |name: &str| self.exercises.iter().position(|exercise| exercise.name == name);
        if let Some(at) = watched(&self.exercises).and_then(|name| place(&name)) {
            return Some(Chosen { at, why: Some("which is being watched") });
        }
        let at = place(self.progress.last_checked()?)?;
        Some(Chosen { at, why: Some("which was checked last") })
    }
}

/// The file that a running `cargo lab watch` holds locked. It has the name of the exercise and the number of the process.
#[derive(Debug)]
pub struct WatchLock(File);

impl WatchLock {
    /// Takes the lock; an error that says which exercise is being watched, if another one has it.
    pub fn take(exercises: &[Exercise]) -> Result<Option<Self>, LabError> {
        let Some(path) = path(exercises) else { return Ok(None) };
        // Where no such file can be made, there are no attempts to watch either, and what follows says so.
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let Ok(file) = open else { return Ok(None) };
        // Somebody may be looking just now whether it is locked.
        for _ in 0..20 {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self(file))),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(5)),
                // A file system without locks.
                Err(_) => return Ok(None),
            }
        }
        let (name, process) = read(&path).unwrap_or_default();
        Err(LabError::failed(format!(
            "cargo lab watch runs already: process {process}, on {name}\n  there, n and p go to another exercise, and q ends it"
        )))
    }

    /// Writes down which exercise is being watched.
    pub fn watches(&self, exercise: &Exercise) {
        let text = format!("{}\n{}\n", exercise.name, std::process::id());
        // Who cannot read it learns a little less.
        let mut file = &self.0;
        let _ =
            file.set_len(0).and_then(|()| io::Seek::rewind(&mut file)).and_then(|()| file.write_all(text.as_bytes()));
    }
}

fn path(exercises: &[Exercise]) -> Option<PathBuf> {
    Some(exercises.first()?.attempt().with_file_name(".watch"))
}

/// The exercise that is being watched, if one is.
fn watched(exercises: &[Exercise]) -> Option<String> {
    let path = path(exercises)?;
    let file = File::open(&path).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(read(&path)?.0),
        _ => None,
    }
}

/// The exercise's name and the process.
fn read(path: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(path).ok()?;
    let (name, process) = text.trim_end().split_once('\n')?;
    Some((name.to_owned(), process.to_owned()))
}
