//! An attempt for a test: a folder with one file, made from an exercise's solution, and the lab's grade for it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use lab::course::{self, Exercise};
use serde_json::Value;

/// Graders that run at once need a build folder each. One after the other, all tests need one.
pub static TURN: Mutex<()> = Mutex::new(());

/// A folder with one attempt; gone with the test.
pub struct Attempt {
    pub exercise: Exercise,
    pub folder: PathBuf,
}

impl Attempt {
    pub fn new(test: &str, source: impl FnOnce(&str) -> String) -> Self {
        Self::of(exercise(), test, source)
    }

    pub fn of(exercise: Exercise, test: &str, source: impl FnOnce(&str) -> String) -> Self {
        let folder = std::env::temp_dir().join(format!("lab-grade-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let solution = fs::read_to_string(exercise.file("solution.rs")).expect("it has a solution");
        fs::write(folder.join(format!("{}.rs", exercise.name)), source(&solution)).expect("written");
        Self { exercise, folder }
    }

    /// The solution, with this done first.
    pub fn that_first(test: &str, code: &str) -> Self {
        Self::new(test, |solution| {
            let (before, after) =
                solution.split_once("pub fn main() -> ExitCode {\n").expect("every server has a main");
            format!("{before}pub fn main() -> ExitCode {{\n{code}\n{after}")
        })
    }

    pub fn run(&self, options: &[&str]) -> Output {
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
        // The whole suite would take minutes for all tests here; what it does to the points is tried in judging.rs.
        lab.args(["grade", "--quick", "--only", &self.exercise.name, "--attempts"]).arg(&self.folder).args(options);
        // As in CI: there are things in the environment that are nobody's business.
        lab.env("SECRET_TOKEN", "hunter2").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = lab.spawn().expect("the lab starts");
        let id = lab.id();
        let output = lab.wait_with_output().expect("the lab ends");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(left_behind(id), Vec::<String>::new());
        output
    }

    pub fn grade(&self, options: &[&str]) -> Value {
        let output = self.run(&[&["--format", "json"], options].concat());
        let grades: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout and nothing else");
        let grade = grades["exercises"][0].clone();
        assert_eq!(grades["exercises"].as_array().map(Vec::len), Some(1));
        assert_eq!(grades["score"], grade["score"]);
        grade
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One that is edge-triggered epoll's; any would do.
pub fn exercise() -> Exercise {
    let found = exercises().find(|exercise| exercise.about.chapter == "04-epoll-et");
    found.expect("epoll has exercises")
}

pub fn exercises() -> impl Iterator<Item = Exercise> {
    course::load(&root().join("exercises")).expect("the exercises are whole").into_iter()
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// The processes that run an attempt's program, as this lab has started it.
pub fn left_behind(lab: u32) -> Vec<String> {
    let program = |entry: fs::DirEntry| fs::read_link(entry.path().join("exe")).ok();
    let programs = fs::read_dir("/proc").expect("Linux").flatten().filter_map(program);
    let of_this_lab = format!("/lab-grade-{lab}/");
    programs.map(|path| path.to_string_lossy().into_owned()).filter(|path| path.contains(&of_this_lab)).collect()
}

pub fn has(value: &Value, words: &str) -> bool {
    value.to_string().contains(words)
}
