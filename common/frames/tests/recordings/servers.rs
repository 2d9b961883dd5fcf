//! The servers that are recorded: the chapters, built by cargo, and foreign ones that are compiled here.
//!
//! Invariant: what this machine lacks is `None`, and the test says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use explorer::record::{Event, Recording, ServerCall};
use explorer::{Faults, Run, Schedule, Script, Subject};
use serde_json::Value;

/// The chapters: the package, which is also the program, and its folder.
pub const CHAPTERS: [(&str, &str); 6] = [
    ("select", "01-select"),
    ("poll", "02-poll"),
    ("epoll-lt", "03-epoll-lt"),
    ("epoll-et", "04-epoll-et"),
    ("kqueue", "05-kqueue"),
    ("uring", "06-io-uring"),
];

pub fn workspace() -> PathBuf {
    std::fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).expect("the workspace")
}

/// The program of a chapter.
pub fn chapter(name: &str) -> Subject {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let program = &BUILT.get_or_init(build)[name];
    let argv = vec![program.to_string_lossy().into_owned(), "--addr".into(), "127.0.0.1:0".into()];
    Subject { name: name.to_owned(), argv, own: true }
}

fn build() -> BTreeMap<String, PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--bins", "--locked", "--message-format", "json-render-diagnostics"]);
    command.args(CHAPTERS.iter().flat_map(|(package, _)| ["--package", package]));
    command.current_dir(workspace()).env_remove("CARGO_MANIFEST_DIR").stderr(Stdio::inherit());
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "the chapters are built");
    let messages = String::from_utf8(output.stdout).expect("JSON");
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(message["executable"].as_str()?)))
    };
    messages.lines().filter_map(program).collect()
}

/// A server in a folder of its own, outside of any workspace.
pub struct Foreign {
    folder: PathBuf,
    pub subject: Subject,
}

impl Foreign {
    /// Compiles a server in C. `None` without a C compiler.
    pub fn c(name: &str, flags: &[&str]) -> Option<Self> {
        let folder = folder(name);
        let (source, program) = (folder.join("server.c"), folder.join("server"));
        std::fs::write(&source, include_str!("server.c")).expect("written");
        let compiled = Command::new("cc").args(flags).arg("-o").arg(&program).arg(&source).status().ok();
        let made =
            Self { subject: subject(name, vec![program.to_string_lossy().into_owned(), "{port}".into()]), folder };
        compiled.filter(|status| status.success()).map(|_| made)
    }

    /// A server in Python. `None` without Python.
    pub fn python(name: &str) -> Option<Self> {
        // The program itself: the command on the path may be a script that looks for it.
        let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
        let program = String::from_utf8(found.stdout).ok().filter(|_| found.status.success())?;
        let folder = folder(name);
        let source = folder.join("server.py");
        std::fs::write(&source, include_str!("server.py")).expect("written");
        let argv = [program.trim(), "-S", "-E", &source.to_string_lossy(), "{port}"].map(str::to_owned).to_vec();
        Some(Self { subject: subject(name, argv), folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("frames-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn subject(name: &str, argv: Vec<String>) -> Subject {
    Subject { name: name.to_owned(), argv, own: false }
}

/// One run, with all that happens in it.
pub fn run(subject: &Subject, script: &str) -> Run {
    let script = Script::standard(script).expect("it ships");
    let run = explorer::replay(subject, &script, Faults::default(), &Schedule::default(), &AtomicBool::new(false));
    run.unwrap_or_else(|error| panic!("{}: {error}", subject.name))
}

pub fn recording(subject: &Subject, script: &str) -> Recording {
    let standard = Script::standard(script).expect("it ships");
    Recording::new(&subject.name, &standard, Faults::default(), &run(subject, script), None)
}

pub fn calls(recording: &Recording) -> impl Iterator<Item = &ServerCall> {
    recording.runs.iter().flat_map(|run| &run.events).filter_map(|event| match event {
        Event::Call(call) => Some(call),
        _ => None,
    })
}

/// Whether anything can be recorded here; says why not.
pub fn possible() -> bool {
    let possible = explorer::possible();
    if let Err(why) = &possible {
        eprintln!("skipped: {why}");
    }
    possible.is_ok()
}
