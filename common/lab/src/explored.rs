//! What the words of a command line name as something to explore: a server that is built, scripts, faults.
//!
//! Invariant: what is returned can be started. A word that names nothing is refused with what it may have been meant to
//! be, and nothing is built before that.

use std::path::Path;

use clap::ValueEnum;
use explorer::{Faults, Script};
use harness::{Check, Launch, Subject};

use crate::cargo::{self, Program, ProgramKind};
use crate::checking::{bars, servers};
use crate::course::attempt::{self, AttemptBuild};
use crate::course::{self, Course, Exercise};
use crate::error::LabError;
use crate::interrupt::Interrupt;
use crate::selection::{self, Selection};
use crate::terminal::{self, Palette};
use crate::workspace::{self, shown};

/// Faults that a correct server survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Each wait is interrupted, as by SIGSTOP and SIGCONT
    Eintr,
    /// A queued connection is gone when it is accepted
    Econnaborted,
    /// No file descriptor is free, from the first connection to the end of the script
    Emfile,
    /// Each message of a client arrives in two pieces
    ShortReads,
    /// The socket buffers are small, so that writes are short
    ShortWrites,
    /// All of these
    All,
}

/// What to take of an exercise that was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutAttempt {
    /// Nothing: how to begin it is said.
    Refuse,
    /// Its starter.
    Starter,
}

/// The faults among these that the explorer makes.
pub fn faults(these: &[Fault]) -> Faults {
    Faults { eintr: has(these, Fault::Eintr), econnaborted: has(these, Fault::Econnaborted) }
}

/// Their words, as `--faults` takes them.
pub fn words(these: &[Fault]) -> String {
    let each = Fault::value_variants().iter().filter(|it| **it != Fault::All && has(these, **it));
    let words = each.filter_map(|it| it.to_possible_value()).map(|it| it.get_name().to_owned());
    words.collect::<Vec<_>>().join(",")
}

fn has(these: &[Fault], fault: Fault) -> bool {
    these.contains(&fault) || these.contains(&Fault::All)
}

/// The script that `text` stands for, or all standard scripts, with the faults that change a script.
pub fn scripts(text: Option<&str>, these: &[Fault]) -> Result<Vec<Script>, LabError> {
    let scripts = match text {
        None => Script::all_standard(),
        Some(text) => vec![script(text)?],
    };
    let faulty = |script: Script| {
        let script = if has(these, Fault::ShortReads) { script.with_short_reads() } else { script };
        let script = if has(these, Fault::ShortWrites) { script.with_short_writes() } else { script };
        if has(these, Fault::Emfile) { script.with_emfile() } else { script }
    };
    Ok(scripts.into_iter().map(faulty).collect())
}

/// A script by its name, by its file, or by its steps.
fn script(text: &str) -> Result<Script, LabError> {
    if let Some(script) = Script::standard(text) {
        return Ok(script);
    }
    let path = Path::new(text);
    let (name, steps) = if path.is_file() {
        let steps =
            std::fs::read_to_string(path).map_err(|error| LabError::usage(format!("--script {text}: {error}")))?;
        (path.file_stem().map_or_else(|| text.into(), |name| name.to_string_lossy().into_owned()), steps)
    } else {
        ("script".to_owned(), text.to_owned())
    };
    Script::parse(&name, &steps).map_err(|what| {
        let names: Vec<&str> = explorer::script::STANDARD.iter().map(|(name, _)| *name).collect();
        // Nothing in a single word tells a name, a file or a step from another.
        let mut hint = String::new();
        if !text.contains([' ', ';', '\n']) && !path.is_file() {
            hint += "\n  There is no such file either.";
            if let Some(name) = selection::nearest(text, names.iter().copied()) {
                hint += &format!("\n  Did you mean the script '{name}'?");
            }
        }
        LabError::usage(format!("--script: {what}{hint}\n  standard scripts: {}", names.join(" ")))
    })
}

/// Somebody's own server, by the command that starts it.
pub fn command(line: &str) -> Result<explorer::Subject, LabError> {
    started(servers::command(line)?.subject)
}

/// What a word names: an exercise, or a server of this workspace. Nothing is built yet.
#[derive(Debug)]
pub enum Named {
    /// An exercise.
    Exercise(Box<Exercise>),
    /// A chapter or a variant.
    Server(Selection),
}

/// What a word names.
pub fn named(word: &str) -> Result<Named, LabError> {
    let course = course::whole()?;
    match course::places(&course, &[word.to_owned()])?.as_deref() {
        Some([at, ..]) => Ok(Named::Exercise(Box::new(course.exercises[*at].clone()))),
        _ => server(word, &course).map(Named::Server),
    }
}

fn is_handout() -> Result<bool, LabError> {
    Ok(workspace::root()?.join("exercises").join(course::handout::FILE).exists())
}

impl Named {
    /// The server, built.
    pub fn build(&self, without: WithoutAttempt, interrupt: &Interrupt) -> Result<explorer::Subject, LabError> {
        started(match self {
            // A handout has no program of the starters: there an attempt has to be begun.
            Self::Exercise(exercise)
                if without == WithoutAttempt::Starter && !exercise.attempt().exists() && !is_handout()? =>
            {
                starter(exercise)?
            }
            Self::Exercise(exercise) => attempted(exercise, interrupt)?,
            Self::Server(selection) => {
                let server = servers::ours(&selection.chapters, &selection.variants)?.pop();
                server.map(|server| server.subject).ok_or_else(|| LabError::failed("the server was not built"))?
            }
        })
    }
}

/// A server that was built, as the explorer starts it.
pub fn started(subject: Subject) -> Result<explorer::Subject, LabError> {
    let Launch::Command(mut argv) = subject.launch else {
        return Err(LabError::usage("the server has to be started here"));
    };
    if subject.own {
        argv.extend(["--addr".into(), "127.0.0.1:0".into()]);
    }
    Ok(explorer::Subject { name: subject.name, argv, own: subject.own })
}

/// A student's attempt, built as for `cargo lab check`.
fn attempted(exercise: &Exercise, interrupt: &Interrupt) -> Result<Subject, LabError> {
    let palette = Palette::stderr();
    let built = bars::waiting(format!("building {}", exercise.name), |_| {
        attempt::build(exercise, palette.is_on(), interrupt.flag())
    });
    interrupt.check()?;
    match built? {
        AttemptBuild::Program(program, _) => Ok(exercise.subject(vec![program.to_string_lossy().into_owned()])),
        AttemptBuild::Refused(refusal) => {
            terminal::complain(refusal.said.trim_end());
            Err(LabError::failed(format!("{} {}", shown(&exercise.attempt()), refusal.what)))
        }
        AttemptBuild::Stopped => Err(LabError::failed("the build was stopped")),
    }
}

/// An exercise's starter: one of the servers in the program that has them all.
fn starter(exercise: &Exercise) -> Result<Subject, LabError> {
    let program = Program { folder: "exercises", package: "exercises", kind: ProgramKind::Bin, name: "exercises" };
    let path = cargo::build_programs(&[program])?.remove(0);
    Ok(exercise.subject(vec![path.to_string_lossy().into_owned(), format!("{}/starter", exercise.name)]))
}

/// The chapter or the variant that a word names.
fn server(word: &str, course: &Course) -> Result<Selection, LabError> {
    let no_checks: Vec<&'static Check> = Vec::new();
    let selection = selection::select(&[word.to_owned()], &no_checks, false).map_err(|unknown| {
        LabError::usage(format!(
            "'{word}' is no server of this workspace.{}\n  servers: {}\n  {}\n  your own: --cmd",
            unknown.did_you_mean(),
            selection::chapter_folders(),
            course.numbers()
        ))
    })?;
    let chapters = selection.chapters.iter().map(|chapter| chapter.folder);
    let names: Vec<&str> = chapters.chain(selection.variants.iter().map(|variant| variant.name)).collect();
    if names.len() != 1 {
        let (found, names) = (names.len(), names.join(", "));
        return Err(LabError::usage(format!("'{word}' names {found} servers ({names}); name one")));
    }
    Ok(selection)
}

/// Why the explorer gave up, as a command says it.
pub fn failure(interrupt: &Interrupt, error: &explorer::Error) -> LabError {
    // Ctrl-C also ends the exploration; then the signal is the reason.
    interrupt.check().err().unwrap_or_else(|| match error {
        // As in `check`.
        explorer::Error::NoProcess(what) => LabError::usage(what.as_str()),
        other => LabError::failed(other.to_string()),
    })
}
