//! An attempt as a program, compiled from a copy.
//!
//! Invariant: a program that comes from here was made of one file of the student and of this workspace's crates. Where
//! the kernel has Landlock, the compiler cannot read the exercises. Elsewhere the compiler's own list of the files that
//! it read is checked.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::supervise::{self, EndCause, ProcessLimits};
use crate::cargo::{self, BuildMessages};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::terminal;
use crate::workspace;

/// A larger file is refused: a server of an exercise has 150 lines.
const LARGEST: u64 = 256 << 10;
/// For the attempt alone: its dependencies are compiled before.
const TIME: Duration = Duration::from_secs(120);
const MEMORY: u64 = 4 << 30;
/// The beginning of a line, by which it is looked for.
const KEY: usize = 16;
/// The compiler's errors are cut after so many characters.
const SAID: usize = 6000;
/// All that cargo and the compiler get of the environment: `env!` could put the rest into an attempt's program.
const ENVIRONMENT: &[&str] =
    &["PATH", "HOME", "CARGO", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "RUSTUP_DIST_SERVER", "LANG"];

/// Compiles attempts, once their dependencies are compiled.
#[derive(Debug)]
pub struct AttemptCompiler {
    folder: PathBuf,
    manifest: toml::Table,
    lock: PathBuf,
    /// Held until the end: two graders must not compile into one folder.
    _lock: File,
    wrapper: Option<PathBuf>,
}

/// How a build ended.
#[derive(Debug)]
struct Built {
    end: EndCause,
    /// The compiler's errors, or cargo's own.
    said: String,
    /// They are the compiler's.
    rejected: bool,
}

/// What became of an attempt.
#[derive(Debug)]
pub enum Compilation {
    /// Its program.
    Program(PathBuf),
    /// There is no attempt.
    Missing,
    /// It was not compiled, or its program is not used, for this reason.
    Refused(String),
    /// It does not compile; the compiler's errors.
    Wrong(String),
}

impl AttemptCompiler {
    /// Compiles the dependencies of attempts.
    pub fn prepare(interrupt: &Interrupt, landlock: bool) -> Result<Self, LabError> {
        let root = workspace::root()?;
        let attempts = root.join("exercises/attempts");
        let (folder, lock) = folder()?;
        let cannot = |path: &Path, error: &dyn std::fmt::Display| {
            LabError::failed(format!("{}: {error}; grading needs it to compile attempts", path.display()))
        };
        let path = attempts.join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(|error| cannot(&path, &error))?;
        let mut manifest: toml::Table = toml::from_str(&text).map_err(|error| cannot(&path, &error))?;
        absolute(&mut manifest, &attempts);
        let mut compiler = Self { folder, manifest, lock: attempts.join("Cargo.lock"), _lock: lock, wrapper: None };
        if landlock && cfg!(target_os = "linux") {
            compiler.wrapper = Some(compiler.wrapper().map_err(|error| cannot(&compiler.folder, &error))?);
        }
        compiler.package("nothing", b"fn main() {}\n").map_err(|error| cannot(&compiler.folder, &error))?;
        let Built { end, said, .. } = compiler.cargo("nothing", &["--locked"], Duration::from_secs(3600), interrupt)?;
        match end {
            EndCause::Exited(status) if status.success() => Ok(compiler),
            _ => Err(LabError::failed(format!(
                "the dependencies of attempts could not be compiled ({}/nothing); grading needs the crates of \
                 exercises/attempts/Cargo.lock: run 'cargo fetch --manifest-path exercises/attempts/Cargo.toml' where \
                 there is a network\n{said}",
                compiler.folder.display()
            ))),
        }
    }

    /// Compiles one attempt.
    pub fn compile(&self, name: &str, attempt: &Path, interrupt: &Interrupt) -> Result<Compilation, LabError> {
        let source = match read(attempt) {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(Compilation::Missing),
            Err(refused) => return Ok(Compilation::Refused(refused)),
        };
        let cannot = |error| LabError::failed(format!("{}: {error}", self.folder.display()));
        // An attempt's compiler may find nothing of another student; and the lists of an earlier run would be taken for
        // lists of this run.
        self.forget_all().map_err(cannot)?;
        let copy = self.package(name, &source).map_err(cannot)?;
        let Built { end, said, rejected } = self.cargo(name, &["--locked", "--offline"], TIME, interrupt)?;
        match end {
            EndCause::TimeUp => {
                return Ok(Compilation::Refused(format!("the compiler did not finish within {} s", TIME.as_secs())));
            }
            EndCause::OutOfMemory => {
                return Ok(Compilation::Refused(format!("the compiler needed more than {} GiB", MEMORY >> 30)));
            }
            EndCause::Flooded => return Ok(Compilation::Refused("the compiler wrote errors without end".into())),
            EndCause::Exited(_) => {}
        }
        // Also when it did not compile, because errors quote what was read.
        for list in self.dependency_files(name) {
            let list = fs::read_to_string(list).map_err(cannot)?;
            if let Some(other) = dependencies(&list).into_iter().find(|path| !same(&copy, Path::new(path))) {
                return Ok(Compilation::Refused(format!(
                    "the compiler read '{other}'; an attempt is one file, without include! and without other modules"
                )));
            }
        }
        match end {
            EndCause::Exited(status) if status.success() => {
                // The folder is locked and the name is fixed, so this is the program that was just made.
                let program = self.folder.join("target/debug").join(name);
                if let Some(quoted) = self.quoted_solution(&program).map_err(cannot)? {
                    return Ok(Compilation::Refused(format!(
                        "the program has lines of source text in it that stand in {quoted}, and may stand in the attempt \
                         too; an attempt is one file, and reads none: no .incbin"
                    )));
                }
                Ok(Compilation::Program(program))
            }
            _ if !rejected => self.still_compiles(said, interrupt),
            _ => Ok(Compilation::Wrong(said)),
        }
    }

    /// The compiler has named no error in the attempt. If it can compile nothing else either, the machine is at fault (a
    /// full disk, a toolchain that is gone).
    fn still_compiles(&self, said: String, interrupt: &Interrupt) -> Result<Compilation, LabError> {
        let cannot = |error| LabError::failed(format!("{}: {error}", self.folder.display()));
        self.package("nothing", b"fn main() { let _ = 1; }\n").map_err(cannot)?;
        let Built { end, said: nothing, .. } = self.cargo("nothing", &["--locked", "--offline"], TIME, interrupt)?;
        match end {
            EndCause::Exited(status) if status.success() => Ok(Compilation::Wrong(said)),
            _ => Err(LabError::failed(format!(
                "nothing can be compiled on this machine any more, so nobody gets a grade: {nothing}"
            ))),
        }
    }

    /// The folder in which an attempt of this name is compiled.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.join("attempts").join(name)
    }

    /// Removes what is left of all attempts: their texts, and their programs.
    fn forget_all(&self) -> std::io::Result<()> {
        let attempts = self.folder.join("attempts");
        let Ok(entries) = fs::read_dir(&attempts) else { return Ok(()) };
        for name in entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()) {
            fs::remove_dir_all(attempts.join(&name))?;
            let debug = self.folder.join("target/debug");
            for folder in [debug.join("deps"), debug] {
                let is_of = |file: &str| {
                    let stem = file.split('.').next().unwrap_or_default();
                    stem == name || stem.rsplit_once('-').is_some_and(|(it, _)| it == name)
                };
                for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                    if entry.path().is_file() && is_of(&entry.file_name().to_string_lossy()) {
                        fs::remove_file(entry.path())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a package of one file; returns the file's path.
    fn package(&self, name: &str, source: &[u8]) -> std::io::Result<PathBuf> {
        let folder = self.folder.join("attempts").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut manifest = self.manifest.clone();
        let file = format!("{name}.rs");
        let bin = toml::Table::from_iter([("name".into(), name.into()), ("path".into(), file.clone().into())]);
        manifest.insert("bin".into(), vec![bin].into());
        fs::write(folder.join("Cargo.toml"), manifest.to_string())?;
        fs::copy(&self.lock, folder.join("Cargo.lock"))?;
        fs::write(folder.join(&file), source)?;
        Ok(folder.join(file))
    }

    /// Runs cargo on one package.
    fn cargo(&self, name: &str, options: &[&str], time: Duration, interrupt: &Interrupt) -> Result<Built, LabError> {
        let folder = self.folder.join("attempts").join(name);
        let mut command = cargo::cargo();
        command.env_clear().envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("CARGO_TARGET_DIR", self.folder.join("target")).env("TMPDIR", self.folder.join("tmp"));
        command.env("CARGO_INCREMENTAL", "0");
        if let Some(wrapper) = &self.wrapper {
            command.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
        }
        command.current_dir(&folder).args(["build", "--quiet", "--message-format=json", "--bin", name]).args(options);
        command.stderr(Stdio::piped());
        let mut messages = BuildMessages::default();
        let limits = ProcessLimits { time, memory: MEMORY, uid: None };
        let outcome = supervise::run(&mut command, "", limits, interrupt, |line| messages.add_line(&line))?;
        // Warnings cost no points.
        let mut said: String = messages.errors().filter_map(|error| error.rendered.as_deref()).collect();
        let mut quoted = messages.errors().flat_map(cargo::quoted_files);
        let rejected = !said.is_empty();
        let copy = folder.join(format!("{name}.rs"));
        if let Some(other) = quoted.find(|path| self.is_of_the_exercises(&folder.join(path), &copy)) {
            said = format!("the compiler quotes '{other}', which is not the attempt's file");
        }
        if said.is_empty() {
            said.clone_from(&outcome.said);
        }
        Ok(Built { end: outcome.end, said: terminal::clean(&said, SAID), rejected })
    }

    /// Whether a message must not quote this file: it lies in the exercises and is not the attempt.
    fn is_of_the_exercises(&self, path: &Path, copy: &Path) -> bool {
        let exercises = self.lock.ancestors().nth(2).expect("in exercises/attempts");
        path.canonicalize().is_ok_and(|path| path.starts_with(exercises) && !same(copy, &path))
    }

    /// The solution of which the program has whole lines: an assembler's `.incbin` stands in no list of files. With
    /// Landlock the compiler has not seen one, unless the workspace lies among the system's programs.
    fn quoted_solution(&self, program: &Path) -> std::io::Result<Option<String>> {
        /// A program has no lines of its own source in it, so that a few are enough.
        const ENOUGH: usize = 3;
        let exercises = self.lock.ancestors().nth(2).expect("in exercises/attempts");
        let mut names = Vec::new();
        let mut lines: HashMap<Vec<u8>, Vec<(usize, Vec<u8>)>> = HashMap::new();
        for entry in fs::read_dir(exercises)?.flatten() {
            let Ok(solution) = fs::read_to_string(entry.path().join("solution.rs")) else { continue };
            for line in solution.lines().map(str::trim_start).filter(|line| line.len() >= 2 * KEY) {
                let line = line.as_bytes();
                lines.entry(line[..KEY].to_vec()).or_default().push((names.len(), line.to_vec()));
            }
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        let bytes = fs::read(program)?;
        let mut found = vec![HashSet::new(); names.len()];
        for (at, key) in bytes.windows(KEY).enumerate() {
            for (of, line) in lines.get(key).into_iter().flatten().filter(|(_, line)| bytes[at..].starts_with(line)) {
                found[*of].insert(line);
            }
        }
        Ok(found.iter().position(|lines| lines.len() >= ENOUGH).map(|of| format!("the solution of {}", names[of])))
    }

    /// The compiler's lists of the files that it read for this program.
    fn dependency_files(&self, name: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder.join("target/debug/deps")) else { return Vec::new() };
        let is = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            path.extension().is_some_and(|it| it == "d") && stem.rsplit_once('-').is_some_and(|(it, _)| it == name)
        };
        entries.flatten().map(|entry| entry.path()).filter(is).collect()
    }

    /// Writes a script that cargo calls instead of the compiler, for the attempt but not for its dependencies.
    fn wrapper(&self) -> std::io::Result<PathBuf> {
        let lab = std::env::current_exe()?;
        let rustc = Command::new("rustc").args(["--print", "sysroot"]).stderr(Stdio::null()).output()?;
        let home = |variable: &str, usual: &str| {
            let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(usual));
            std::env::var_os(variable).map(PathBuf::from).or(home)
        };
        let cargo_home = home("CARGO_HOME", ".cargo");
        let mut read: Vec<PathBuf> = [home("RUSTUP_HOME", ".rustup")].into_iter().flatten().collect();
        read.push(String::from_utf8_lossy(&rustc.stdout).trim().into());
        // Not the whole folder: it may hold the grader's credentials.
        read.extend(cargo_home.iter().flat_map(|home| [home.join("bin"), home.join("registry"), home.join("git")]));
        fs::create_dir_all(self.folder.join("attempts"))?;
        let mut words = vec![lab.to_string_lossy().into_owned(), "confine".into(), "--compiler".into()];
        for path in read {
            words.extend(["--read".into(), path.to_string_lossy().into_owned()]);
        }
        words.extend(["--read".into(), self.folder.join("attempts").to_string_lossy().into_owned()]);
        for folder in ["target", "tmp"] {
            fs::create_dir_all(self.folder.join(folder))?;
            words.extend(["--write".into(), self.folder.join(folder).to_string_lossy().into_owned()]);
        }
        words.push("--".into());
        let path = self.folder.join("rustc-confined");
        fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", shell_words::join(words)))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

/// A folder for attempts, below the target directory that this program lies in: the first one that no other grader uses.
/// It is this grader's until the file is closed.
fn folder() -> Result<(PathBuf, File), LabError> {
    /// More graders than that on one machine only get in each other's way.
    const MOST: usize = 256;
    let lab = std::env::current_exe().ok();
    let target = lab.as_deref().and_then(Path::parent).and_then(Path::parent);
    let target = target
        .ok_or_else(|| LabError::failed("the lab's program is not in a target directory; call it as 'cargo lab'"))?;
    for at in 1..=MOST {
        let folder = target.join(if at == 1 { "grade".to_owned() } else { format!("grade-{at}") });
        let created = fs::create_dir_all(folder.join("tmp"));
        created.map_err(|error| LabError::failed(format!("create {}: {error}", folder.display())))?;
        let path = folder.join("lock");
        let cannot = |error: std::io::Error| LabError::failed(format!("lock {}: {error}", path.display()));
        let file = File::create(&path).map_err(cannot)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok((folder, file)),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(cannot(error.into())),
        }
    }
    Err(LabError::failed(format!("{MOST} graders run in {} already", target.display())))
}

/// The attempt's text; nothing if there is no attempt, or why it is refused.
pub fn read(attempt: &Path) -> Result<Option<Vec<u8>>, String> {
    const NOT_A_FILE: &str = "it is not a regular file (a link could point anywhere); hand in the file itself";
    // Looked at after it is open, because a path can come to name another file meanwhile. A pipe is not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(attempt, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(NOT_A_FILE.into()),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    };
    if !file.metadata().is_ok_and(|it| it.is_file()) {
        return Err(NOT_A_FILE.into());
    }
    let mut source = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut source);
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if source.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} KiB", LARGEST >> 10));
    }
    Ok(Some(source))
}

/// Makes the paths of dependencies absolute, because the copy lies in another folder.
fn absolute(table: &mut toml::Table, base: &Path) {
    for (key, value) in table.iter_mut() {
        match value {
            toml::Value::String(path) if key == "path" => {
                let absolute = base.join(path.as_str());
                *path = absolute.canonicalize().unwrap_or(absolute).to_string_lossy().into_owned();
            }
            toml::Value::Table(table) => absolute(table, base),
            _ => {}
        }
    }
}

/// The files in one of the compiler's lists. They stand behind colons, with `\ ` for a space.
fn dependencies(list: &str) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, names)) = line.split_once(": ") else { continue };
        let names = names.replace("\\ ", "\0");
        files.extend(names.split_whitespace().map(|name| name.replace('\0', " ")));
    }
    files.sort();
    files.dedup();
    files
}

/// Whether a path of a list, which starts at the package's folder, is the copy.
fn same(copy: &Path, path: &Path) -> bool {
    let folder = copy.parent().expect("a file in a folder");
    match (copy.canonicalize(), folder.join(path).canonicalize()) {
        (Ok(copy), Ok(path)) => copy == path,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_dependencies_is_read_as_the_compiler_writes_it() {
        let list = "/t/a-1.d: a.rs ../b\\ c.rs\n\n/t/a-1: a.rs ../b\\ c.rs\n\na.rs:\n../b\\ c.rs:\n# env-dep:X=1: 2\n";
        assert_eq!(dependencies(list), ["../b c.rs", "a.rs"]);
    }

    #[test]
    fn paths_of_dependencies_become_absolute_and_nothing_else_changes() {
        let mut manifest: toml::Table =
            toml::from_str("[dependencies]\na = { path = \"../src\" }\nb = \"1\"\n[target.'cfg(unix)'.dependencies]\n")
                .unwrap();
        absolute(&mut manifest, Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
        assert_eq!(manifest["dependencies"]["a"]["path"].as_str(), Some(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
        assert_eq!(manifest["dependencies"]["b"].as_str(), Some("1"));
    }

    #[test]
    fn a_link_is_no_attempt_whatever_it_shows() {
        let folder = std::env::temp_dir().join(format!("lab-link-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(file!(), folder.join("a.rs")).unwrap();
        assert!(read(&folder.join("a.rs")).unwrap_err().contains("not a regular file"));
        assert_eq!(read(&folder.join("b.rs")), Ok(None));
        fs::remove_dir_all(&folder).unwrap();
    }
}
