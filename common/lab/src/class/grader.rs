//! Who grades: the course's commit, the options, and what the machine can do.
//!
//! Invariant: two grades of the same text may stand for each other if [`GraderId`], the exercise's digest and the machine's
//! facilities are the same.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Digester};
use crate::course::Exercise;
use crate::grading::confine::Confinement;

/// What a grade depends on, beside the exercise and the machine. All parts of a class have the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraderId {
    /// The course's commit, with a digest of what was changed since. Without git, a digest of the sources.
    pub commit: String,
    /// How long the checks of an attempt may take, in seconds.
    pub timeout: u64,
    /// Not the whole suite was run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick: bool,
}

/// A machine that grades.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// What checks need and this machine does not have, and which limits of servers do not hold.
    pub lacks: Vec<String>,
    /// How many descriptors a process may have.
    pub descriptors: Option<u64>,
    /// The system and the processor.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn here(confined: &Confinement) -> Self {
        let name = rustix::system::uname();
        let mut lacks: Vec<String> = Vec::new();
        lacks.extend(confined.no_io_uring.as_ref().map(|why| format!("io_uring: {why}")));
        lacks.extend(explorer::possible().err().map(|why| format!("ptrace: {why}")));
        lacks.extend(confined.missing.iter().map(|what| format!("not confined: {what}")));
        Self {
            host: name.nodename().to_string_lossy().into_owned(),
            lacks,
            descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
            system: format!("{} {}", name.sysname().to_string_lossy(), name.machine().to_string_lossy()),
        }
    }
}

/// Stands for all that a grade of this exercise depends on, but for the attempt.
pub fn circumstances(grader: &GraderId, machine: &Machine, exercise: &Exercise) -> Digest {
    let mut digester = Digester::default();
    digester.add(&grader.commit).add(grader.timeout.to_string()).add(if grader.quick { "quick" } else { "whole" });
    digester.add(exercise_digest(exercise).to_string());
    digester.add_all(&machine.lacks);
    digester.add(format!("{:?}", machine.descriptors)).add(&machine.system).digest()
}

/// Stands for an exercise: its checks, its points, its starter.
pub fn exercise_digest(exercise: &Exercise) -> Digest {
    let mut digester = Digester::default();
    for file in ["exercise.toml", "starter.rs"] {
        digester.add(std::fs::read(exercise.file(file)).unwrap_or_default());
    }
    digester.add_all(&exercise.starter_fails).digest()
}

/// The commit of the workspace, as in `3e8452c81a02` or `3e8452c81a02 with changes 5d1f..`.
pub fn commit(root: &Path) -> String {
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(root).args(words).stdin(Stdio::null()).stderr(Stdio::null());
        // A grader in a container is often not the owner of the files.
        git.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
        git.output().ok().filter(|output| output.status.success()).map(|output| output.stdout)
    };
    // The workspace may lie in a repository that has nothing to do with it.
    let is_ours = git(&["ls-files", "--error-unmatch", "Cargo.toml"]).is_some();
    let head = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_ours);
    let Some(head) = head else { return format!("sources {}", sources(root).short()) };
    let head = String::from_utf8_lossy(&head).trim().to_owned();
    // Attempts are no part of the course.
    let changed = git(&["diff", "HEAD", "--", ".", ":!exercises/attempts"]).unwrap_or_default();
    match changed.is_empty() {
        true => head,
        false => format!("{head} with changes {}", Digest::of(changed).short()),
    }
}

/// Stands for all sources, where there is no git.
fn sources(root: &Path) -> Digest {
    let (mut digester, mut folders) = (Digester::default(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !name.starts_with('.') && !["target", "attempts"].contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file() && [".rs", ".toml", ".lock"].iter().any(|end| name.ends_with(end)) {
                digester.add(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().as_bytes());
                digester.add(std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    digester.digest()
}
