//! Recordings as files: those that `explore --record` writes, and those that are committed.
//!
//! The committed ones, in `common/page/recordings`, are what a reader can look at where nothing can be explored. They are
//! compressed by gzip. A test makes each anew and compares.
//!
//! Invariant: a file that is no recording is refused with what is wrong and what to do.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use explorer::record::{Event, Frame};
use explorer::{Faults, Plan, Recording, Script};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
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

/// The committed recordings: the server's name, and the script.
pub const COMMITTED: &[(&str, &str)] = &[
    ("select", "close"),
    ("poll", "close"),
    ("epoll-lt", "close"),
    ("epoll-et", "close"),
    ("kqueue", "close"),
    ("uring", "close"),
];

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
        COMMITTED.iter().find(|(server, _)| *server == name).map(|(server, _)| shown_path(server))
    };
    let mut files: Vec<String> = words.iter().filter_map(committed).collect();
    if files.is_empty() {
        files = vec![shown_path("epoll-et")];
    }
    format!(
        "nothing can be explored on this machine: {why}\n  Runs that were recorded on another machine are in {FOLDER}. To \
         see them: cargo lab show {}",
        files.join(" ")
    )
}

fn shown_path(server: &str) -> String {
    format!("{FOLDER}/{server}.json.gz")
}

/// Where the committed recording of a server is.
///
/// # Errors
/// If the workspace is gone.
pub fn path(server: &str) -> Result<PathBuf, LabError> {
    Ok(workspace::root()?.join(shown_path(server)))
}

/// Writes all of them.
pub fn write() -> Result<ExitCode, LabError> {
    let interrupt = Interrupt::watch()?;
    for (server, script) in COMMITTED {
        let recording = record(server, script, &interrupt)?;
        let path = path(server)?;
        let cannot = |error| LabError::failed(format!("cannot write {}: {error}", path.display()));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(recording.to_json().as_bytes()).map_err(cannot)?;
        let bytes = encoder.finish().map_err(cannot)?;
        std::fs::write(&path, &bytes).map_err(cannot)?;
        terminal::print(&format!("{} bytes in {}\n", bytes.len(), workspace::shown(&path)));
    }
    Ok(ExitCode::SUCCESS)
}

/// A server of this workspace under a script: every gap, as it is the same on every machine.
///
/// # Errors
/// If it cannot be built or explored.
pub fn record(server: &str, script: &str, interrupt: &Interrupt) -> Result<Recording, LabError> {
    let subject = explored::named(server)?.build(WithoutAttempt::Refuse, interrupt)?;
    let script = Script::standard(script).expect("a standard script");
    let plan = Plan {
        subject: &subject,
        script: &script,
        faults: Faults::default(),
        max_placements: 1,
        always: 1,
        max_runs: None,
        max_time: Some(TIME),
    };
    let recording = explorer::record_all(&plan, interrupt.flag(), &|_| {});
    Ok(comparable(recording.map_err(|error| failure(interrupt, &error))?))
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
