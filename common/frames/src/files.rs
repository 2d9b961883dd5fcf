//! The files that the debug information names: how a reader knows them, and whose they are.
//!
//! Invariant: what comes out has no path of this machine: a path from the root of the workspace that the file lies in, or
//! the file's name. The text is that of the lesson's files alone, and only if it is not younger than the program.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

/// A longer file is no lesson.
const LONGEST: u64 = 512 * 1024;

/// A file of the lesson.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// From the root of the workspace.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// What a file is to the reader of a lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The lesson's own: the server, the exercise, a program of the reader.
    Lesson,
    /// What the lesson builds on, and does not show first.
    Beside,
}

/// A file, as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub part: Part,
    /// Where it lies, if its text may be shown.
    shown_from: Option<PathBuf>,
}

/// The files that were met, by the names that the debug information has for them.
#[derive(Default)]
pub struct Files {
    known: HashMap<String, Option<Rc<File>>>,
    /// When the program was made.
    made: Option<SystemTime>,
}

impl Files {
    pub fn new(program: &Path) -> Self {
        Self { known: HashMap::new(), made: modified(program) }
    }

    /// What a file is; `None` for those of the compiler, of libraries and of the system. `own`: it is the program's, and
    /// not that of a library that the program has loaded.
    pub fn get(&mut self, name: &str, own: bool) -> Option<Rc<File>> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let found = find(name, own).map(Rc::new);
        self.known.insert(name.to_owned(), found.clone());
        found
    }

    /// Its text. Lines of a file that was changed after the program was made would be other lines.
    pub fn source(&self, file: &File) -> Option<Source> {
        let path = file.shown_from.as_deref()?;
        let about = fs::metadata(path).ok()?;
        if !about.is_file() || about.len() > LONGEST || self.made.is_some_and(|made| modified(path) > Some(made)) {
            return None;
        }
        let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
        Some(Source { path: file.path.clone(), text })
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|about| about.modified()).ok()
}

fn find(name: &str, own: bool) -> Option<File> {
    let path = cleaned(Path::new(name));
    if is_foreign(&path) {
        return None;
    }
    // A relative name leads somewhere else from here.
    let there = if path.is_absolute() { fs::canonicalize(&path).ok() } else { None };
    let Some(there) = there.filter(|it| !is_foreign(it)) else {
        // Built elsewhere: the line is known, and the text is not.
        let path = path.file_name().filter(|_| own)?.to_string_lossy().into_owned();
        return Some(File { path, part: Part::Lesson, shown_from: None });
    };
    let root = root(&there);
    let path = there.strip_prefix(&root).unwrap_or(&there).to_string_lossy().into_owned();
    let part = if is_course(&root) { part_of_course(&path) } else { Part::Lesson };
    Some(File { path, part, shown_from: (part == Part::Lesson).then_some(there) })
}

/// Without `.` and `..`: `exercises/src/../24/solution.rs`.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean
}

/// The compiler's library, a crate of a registry, the system's own.
fn is_foreign(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let within = ["/rustlib/src/", "/registry/src/", "/git/checkouts/", "/.rustup/"];
    ["/rustc/", "/usr/include/", "/usr/lib", "/usr/local/", "/usr/share/", "library/"]
        .iter()
        .any(|start| text.starts_with(start))
        || within.iter().any(|part| text.contains(part))
        || text.starts_with("..")
}

/// The outermost workspace of cargo that the file lies in; else its package, or its folder.
fn root(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(file);
    let manifests = || folder.ancestors().filter(|folder| folder.join("Cargo.toml").is_file());
    let is_workspace =
        |folder: &&Path| fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|it| it.contains("[workspace]"));
    manifests().filter(is_workspace).last().or_else(|| manifests().next()).unwrap_or(folder).to_owned()
}

/// The workspace that this crate belongs to.
fn is_course(root: &Path) -> bool {
    root.join("common/frames/Cargo.toml").is_file() && root.join("exercises").is_dir()
}

/// In a chapter, `src/server.rs` and the examples are the lesson. The rest of `src` is what they build on: the stand-in for
/// kqueue, the queues of a ring. So is what servers and exercises share.
fn part_of_course(path: &str) -> Part {
    let mut parts = path.split('/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_chapter = first.len() > 3 && first.as_bytes()[2] == b'-' && first[..2].bytes().all(|it| it.is_ascii_digit());
    match (first, second) {
        (_, "src") if is_chapter && !path.ends_with("/src/server.rs") => Part::Beside,
        ("exercises", "src") | ("common", "server" | "subject") => Part::Beside,
        _ => Part::Lesson,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> PathBuf {
        fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).expect("the workspace")
    }

    #[test]
    fn a_file_is_named_from_the_root_of_its_workspace() {
        let own = here().join("exercises/src/../24_ready_flag/./starter.rs");
        let file = find(&own.to_string_lossy(), true).expect("it is there");
        assert_eq!((file.path.as_str(), file.part), ("exercises/24_ready_flag/starter.rs", Part::Lesson));
        let file = find(&here().join("exercises/attempts/examples/Cargo.toml").to_string_lossy(), true);
        assert_eq!(file.map(|file| file.path), Some("exercises/attempts/Cargo.toml".into()), "not by its link");
    }

    #[test]
    fn the_lesson_is_the_server_and_not_what_it_builds_on() {
        for (path, part) in [
            ("04-epoll-et/src/server.rs", Part::Lesson),
            ("04-epoll-et/examples/oneshot.rs", Part::Lesson),
            ("04-epoll-et/src/main.rs", Part::Beside),
            ("05-kqueue/src/sys/linux.rs", Part::Beside),
            ("06-io-uring/src/flight.rs", Part::Beside),
            ("exercises/attempts/24_ready_flag.rs", Part::Lesson),
            ("exercises/src/epoll.rs", Part::Beside),
            ("common/server/src/socket.rs", Part::Beside),
            ("common/explorer/tests/mutants/edge.rs", Part::Lesson),
        ] {
            assert_eq!(part_of_course(path), part, "{path}");
        }
    }

    #[test]
    fn a_foreign_file_has_its_name_and_no_path() {
        for foreign in [
            "/rustc/0123abc/library/std/src/net/tcp.rs",
            "/home/somebody/.cargo/registry/src/index.crates.io-0123abc/io-uring-0.7.11/src/submit.rs",
            "/usr/include/x86_64-linux-gnu/bits/unistd.h",
            "../sysdeps/unix/sysv/linux/accept4.c",
        ] {
            assert_eq!(find(foreign, true), None, "{foreign}");
        }
        let file = find("/home/somebody/far/away/server.c", true).expect("its name");
        assert_eq!((file.path.as_str(), file.shown_from), ("server.c", None));
        assert_eq!(find("/home/somebody/far/away/server.c", false), None, "of a library of the system");
        assert_eq!(find("src/main.rs", true).expect("its name").path, "main.rs", "not what lies there from here");
    }

    #[test]
    fn a_program_outside_of_any_workspace_is_named_by_its_file() {
        let folder = std::env::temp_dir().join(format!("frames-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let (path, program) = (folder.join("server.c"), folder.join("server"));
        fs::write(&path, "int main(void) { return 0; }\n").expect("written");
        fs::write(&program, "a program").expect("written");
        let mut files = Files::new(&program);
        let file = files.get(&path.to_string_lossy(), true).expect("it is there");
        let source = files.source(&file).expect("it is as old as the program");
        assert_eq!((source.path.as_str(), source.text.lines().count()), ("server.c", 1));
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(later)).expect("touched");
        assert_eq!(files.source(&file), None, "a source that was changed since has other lines");
        fs::remove_dir_all(folder).expect("removed");
    }
}
