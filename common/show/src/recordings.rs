//! Recordings as files: those that `explore --record` writes, and those that are committed.
//!
//! The committed ones, in `common/page/recordings`, are what a reader can look at where nothing can be explored. They are
//! compressed by gzip. A test makes each anew and compares.
//!
//! Invariant: a file that is no recording is refused with what is wrong and what to do.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use explorer::record::{Event, Frame};
use explorer::{Faults, Plan, Recording, Script, Subject};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use lab::cargo::{self, Program, ProgramKind};
use lab::error::LabError;
use lab::explored::{self, WithoutAttempt, failure};
use lab::interrupt::Interrupt;
use lab::{terminal, workspace};

/// Where they are, from the workspace's root.
const FOLDER: &str = "common/page/recordings";
/// What a file may have when it is unpacked. No run that anybody reads comes near.
const LARGEST: u64 = 256 << 20;
/// For the gaps of one server.
const TIME: Duration = Duration::from_secs(60);

/// A recording that is committed.
#[derive(Debug)]
pub struct Committed {
    /// Its name: that of its file, without the ending.
    pub name: &'static str,
    /// Who serves.
    pub server: Server,
    /// A standard script, or the steps.
    pub script: &'static str,
    /// Placements at most. A run that stands alone has none.
    pub placements: usize,
}

/// A server of this workspace.
#[derive(Debug, Clone, Copy)]
pub enum Server {
    /// A chapter or a variant.
    Ours(&'static str),
    /// An example that is a server: its package's folder, its package, its name, and its arguments.
    Example(&'static str, &'static str, &'static str, &'static [&'static str]),
    /// One of the explorer's mutants, or the correct server that they are made of.
    Mutant(&'static str),
}

const fn chapter(name: &'static str) -> Committed {
    Committed { name, server: Server::Ours(name), script: "close", placements: 1 }
}

const fn of(name: &'static str, server: Server, script: &'static str, placements: usize) -> Committed {
    Committed { name, server, script, placements }
}

const OUT_OF_DESCRIPTORS: &str =
    "c0 connect; c0 send 3; fds none; c1 connect; fds free; c1 send 4; c0 shutdown; c1 shutdown";
const TWO_AT_ONCE: &str = "c0 connect; c1 connect; c0 send 5 & c1 send 7; c0 shutdown; c1 shutdown";
const IN_ONE_PIECE: &str = "c0 connect; c0 send 20 & c0 shutdown; c0 expect-eof";
const TWO_SEND: &str = "c0 connect; c1 connect; c0 send 5; c1 send 7; c0 shutdown; c1 shutdown";

/// One for each chapter; and pairs of a broken server and a right one under the same script, whose names end with `-broken`
/// and `-right`. Each is the same to the byte whenever it is recorded, so no script fills a socket: how much a full socket
/// takes is a matter of time.
pub const COMMITTED: &[Committed] = &[
    chapter("select"),
    chapter("poll"),
    chapter("epoll-lt"),
    chapter("epoll-et"),
    chapter("kqueue"),
    chapter("uring"),
    of("textbook-broken", Server::Ours("textbook"), OUT_OF_DESCRIPTORS, 1),
    of("textbook-right", Server::Ours("epoll-et"), OUT_OF_DESCRIPTORS, 0),
    of("flag-broken", Server::Mutant("et_flag_cleared_late"), "close", 1),
    of("flag-right", Server::Mutant("et"), "close", 1),
    of("drain-broken", Server::Mutant("et_read_once"), "close", 0),
    of("drain-right", Server::Mutant("et"), "close", 0),
    of("wakeup-broken", Server::Mutant("select_flag_before_select"), "stop", 1),
    of("wakeup-right", Server::Mutant("select"), "stop", 1),
    of("blocking-broken", Server::Mutant("et_blocking_sockets"), TWO_SEND, 0),
    of("blocking-right", Server::Mutant("et"), TWO_SEND, 0),
    of("rdhup-broken", Server::Mutant("et_close_at_rdhup"), IN_ONE_PIECE, 0),
    of("rdhup-right", Server::Mutant("et"), IN_ONE_PIECE, 0),
    of("buffer-broken", Server::Example("06-io-uring", "uring", "lifetime", &["--bug", "freed"]), TWO_AT_ONCE, 0),
    of("buffer-right", Server::Example("06-io-uring", "uring", "lifetime", &["--bug", "none"]), TWO_AT_ONCE, 0),
];

/// An example that shows a pitfall by what it prints, the same each time.
#[derive(Debug)]
pub struct Printed(Program);

/// Those whose words are committed.
pub const PRINTED: &[Printed] = &[
    Printed(Program { folder: "03-epoll-lt", package: "epoll-lt", kind: ProgramKind::Example, name: "stale_fd" }),
    Printed(Program { folder: "01-select", package: "select", kind: ProgramKind::Example, name: "fd_setsize" }),
];

impl Printed {
    /// Its file.
    ///
    /// # Errors
    /// If the workspace is gone.
    pub fn path(&self) -> Result<PathBuf, LabError> {
        Ok(workspace::root()?.join(format!("{FOLDER}/pairs/{}.txt", self.0.name)))
    }

    /// What it prints now.
    ///
    /// # Errors
    /// If it cannot be built, or fails.
    pub fn print(&self) -> Result<String, LabError> {
        let path = cargo::build_programs(std::slice::from_ref(&self.0))?.remove(0);
        let failed = |what: String| LabError::failed(format!("the example {}: {what}", self.0.name));
        let output = std::process::Command::new(path).output().map_err(|error| failed(error.to_string()))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }
}

impl Committed {
    /// Whether it belongs to a pair, and not to a chapter.
    fn is_of_a_pair(&self) -> bool {
        self.name.ends_with("-broken") || self.name.ends_with("-right")
    }

    /// Its file, from the workspace's root.
    fn shown_path(&self) -> String {
        let folder = if self.is_of_a_pair() { "/pairs" } else { "" };
        format!("{FOLDER}{folder}/{}.json.gz", self.name)
    }

    /// Its file.
    ///
    /// # Errors
    /// If the workspace is gone.
    pub fn path(&self) -> Result<PathBuf, LabError> {
        Ok(workspace::root()?.join(self.shown_path()))
    }

    /// What is committed.
    ///
    /// # Errors
    /// If the file is gone, or is no recording.
    pub fn read(&self) -> Result<Recording, LabError> {
        read(&self.path()?.to_string_lossy())
    }
}

/// All of them by name, in this order.
///
/// # Errors
/// If a file is gone, or is no recording.
pub fn all() -> Result<Vec<(String, Recording)>, LabError> {
    COMMITTED.iter().map(|it| Ok((it.name.to_owned(), it.read()?))).collect()
}

/// Whether a word of the command line is the name of a recording, and not of a server.
pub fn is_file(word: &str) -> bool {
    word.ends_with(".json") || word.ends_with(".json.gz")
}

/// Reads a recording, compressed or not.
///
/// # Errors
/// As a wrong command line: what is wrong with the file.
pub fn read(file: &str) -> Result<Recording, LabError> {
    let wrong = |what: String| LabError::usage(format!("{file}: {what}"));
    let bytes = std::fs::read(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong(format!("there is no such file.{}", nearest(file))),
        _ => wrong(error.to_string()),
    })?;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) { unpacked(&bytes).map_err(wrong)? } else { bytes };
    let text = String::from_utf8(bytes).map_err(|_| wrong("this is no recording: it is not text".into()))?;
    explorer::record::read(&text).map_err(wrong)
}

fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = GzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut out);
    read.map_err(|error| format!("it cannot be unpacked: {error}"))?;
    match out.len() as u64 > LARGEST {
        true => Err(format!("it has more than {} MiB", LARGEST >> 20)),
        false => Ok(out),
    }
}

/// ` Did you mean ...?`, if a file beside it has nearly this name; or else how recordings are made.
fn nearest(file: &str) -> String {
    let path = Path::new(file);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_file(name)).collect();
    let wanted = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match cargo_lab::names::nearest(&wanted, names.into_iter()) {
        Some(name) => format!(" Did you mean {}?", folder.join(name).display()),
        None => " To record a run: cargo lab explore SERVER --script SCRIPT --record FILE.json".to_owned(),
    }
}

/// The message where nothing can be explored, for these words.
pub fn offer(why: &str, words: &[String]) -> String {
    let committed = |word: &String| {
        let chapter = cargo_lab::names::chapter(word).map(|chapter| chapter.package);
        let name = chapter.unwrap_or(word.as_str());
        let is_meant = |it: &&Committed| it.name == name || it.name == format!("{name}-broken");
        COMMITTED.iter().find(is_meant).map(Committed::shown_path)
    };
    let mut files: Vec<String> = words.iter().filter_map(committed).collect();
    if files.is_empty() {
        files = vec![format!("{FOLDER}/epoll-et.json.gz")];
    }
    format!(
        "nothing can be explored on this machine: {why}\n  Runs that were recorded on another machine are in {FOLDER}. To \
         see them: cargo lab show {}",
        files.join(" ")
    )
}

/// Writes all of them.
pub fn write() -> Result<ExitCode, LabError> {
    let interrupt = Interrupt::watch()?;
    for it in COMMITTED {
        let recording = record(it, &interrupt)?;
        let path = it.path()?;
        let cannot = |error| LabError::failed(format!("cannot write {}: {error}", path.display()));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(recording.to_json().as_bytes()).map_err(cannot)?;
        let bytes = encoder.finish().map_err(cannot)?;
        std::fs::write(&path, &bytes).map_err(cannot)?;
        terminal::print(&format!(
            "{:6} bytes, {}, {:?} in {}\n",
            bytes.len(),
            recording.runs.len(),
            recording.runs[0].verdict,
            workspace::shown(&path)
        ));
    }
    for it in PRINTED {
        let (path, text) = (it.path()?, it.print()?);
        std::fs::write(&path, &text)
            .map_err(|error| LabError::failed(format!("cannot write {}: {error}", path.display())))?;
        terminal::print(&format!("{:6} bytes in {}\n", text.len(), workspace::shown(&path)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Its server under its script: every run up to the bound, as it is the same on every machine.
///
/// # Errors
/// If it cannot be built or explored.
pub fn record(it: &Committed, interrupt: &Interrupt) -> Result<Recording, LabError> {
    let subject = it.server.build(interrupt)?;
    let script = Script::standard(it.script).unwrap_or_else(|| Script::parse(SCRIPT, it.script).expect("steps"));
    let plan = Plan {
        subject: &subject,
        script: &script,
        faults: Faults::default(),
        max_placements: it.placements,
        always: it.placements,
        max_runs: None,
        max_time: Some(TIME),
    };
    let recording = explorer::record_all(&plan, interrupt.flag(), &|_| {});
    Ok(comparable(recording.map_err(|error| failure(interrupt, &error))?))
}

/// The name of a script that is no standard one.
const SCRIPT: &str = "script";

impl Server {
    fn build(self, interrupt: &Interrupt) -> Result<Subject, LabError> {
        match self {
            Self::Ours(name) => explored::named(name)?.build(WithoutAttempt::Refuse, interrupt),
            Self::Example(folder, package, name, arguments) => {
                let program = Program { folder, package, kind: ProgramKind::Example, name };
                let path = cargo::build_programs(&[program])?.remove(0);
                let mut argv = vec![path.to_string_lossy().into_owned()];
                argv.extend(arguments.iter().chain(&["--addr", "127.0.0.1:0"]).map(|it| (*it).to_owned()));
                Ok(Subject { name: format!("{name} {}", arguments.join(" ")), argv, own: true })
            }
            Self::Mutant(name) => {
                let argv = vec![mutants(interrupt)?.to_string_lossy().into_owned(), "--serve".into(), name.into()];
                Ok(Subject { name: name.into(), argv, own: true })
            }
        }
    }
}

/// The program that is all of the explorer's mutants, built once.
fn mutants(interrupt: &Interrupt) -> Result<PathBuf, LabError> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    let mut command = cargo::cargo();
    command.args(["test", "--no-run", "--message-format=json-render-diagnostics", "--manifest-path"]);
    command.arg(workspace::root()?.join("Cargo.toml")).args(["--package", "explorer", "--test", "mutants"]);
    let build = cargo::run(&mut command, "the explorer's mutants", interrupt.flag())?;
    interrupt.check()?;
    let path = build.and_then(|build| build.messages.executable_called("mutants"));
    let path =
        path.ok_or_else(|| LabError::failed("the explorer's mutants could not be built; cargo says why above"))?;
    Ok(built.insert(path).clone())
}

/// A recording without what differs from machine to machine: frames of the standard library, and the sizes of buffers,
/// which are settings of the kernel.
pub fn comparable(mut recording: Recording) -> Recording {
    let of_lesson = |frames: &mut Vec<Frame>, meaning: &mut Option<usize>| {
        let before = |at: usize| frames[..at].iter().filter(|frame| frame.source.is_some()).count();
        *meaning = meaning.filter(|at| frames[*at].source.is_some()).map(before);
        frames.retain(|frame| frame.source.is_some());
    };
    for run in &mut recording.runs {
        for event in &mut run.events {
            if let Event::Call(call) = event {
                of_lesson(&mut call.frames, &mut call.meaning);
            }
        }
    }
    crate::making::each_state(&mut recording, |state| {
        for thread in &mut state.threads {
            of_lesson(&mut thread.frames, &mut thread.meaning);
        }
        for connection in &mut state.connections {
            (connection.receive_room, connection.send_room, connection.client_receive_room) = (None, None, None);
        }
    });
    recording
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_can_be_explored_the_recordings_of_the_named_servers_are_offered() {
        let offered = |words: &[&str]| {
            offer("ptrace is not allowed", &words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        let said = offered(&["04", "textbook"]);
        assert!(said.starts_with("nothing can be explored on this machine: ptrace is not allowed\n"), "{said}");
        let files = "show common/page/recordings/epoll-et.json.gz common/page/recordings/pairs/textbook-broken.json.gz";
        assert!(said.ends_with(files), "{said}");
        assert!(offered(&["24"]).ends_with("show common/page/recordings/epoll-et.json.gz"));
    }

    #[test]
    fn each_committed_recording_is_there_and_a_pair_is_one_that_fails_and_one_that_does_not() {
        for it in COMMITTED {
            let recording = it.read().unwrap();
            let fails = recording.runs[0].verdict != explorer::Verdict::Ok;
            assert_eq!(fails, it.name.ends_with("-broken"), "{}", it.name);
            if let Some(name) = it.name.strip_suffix("-broken") {
                let right = COMMITTED.iter().find(|other| other.name == format!("{name}-right")).expect("its pair");
                assert_eq!(right.script, it.script, "{name}");
            }
        }
    }
}
