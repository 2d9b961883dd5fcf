//! `cargo lab new`: the skeleton of an exercise.
//!
//! Invariant: the skeleton compiles without a warning, and `cargo lab matrix` refuses it until it is an exercise.
//! Nothing that exists is overwritten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness::Symptom;

use crate::course;
use crate::docs::{self, registry};
use crate::error::LabError;
use crate::selection;
use crate::terminal;
use crate::workspace;

const AFTER: &str = "\
The exercise is registered in exercises/src/servers.rs, which is generated.

  cargo lab new slow_start --chapter 03-epoll-lt

Next, write solution.rs, copy it to starter.rs with one bug put in, and fill in exercise.toml and README.md. \
You are done when 'cargo lab matrix --only NN' reports no surprise. Then 'cargo lab matrix --write' notes what the starter \
fails, and 'cargo lab docs' brings the tables up to date.";

/// The first number of a teacher's own exercises.
const OWN: u32 = 100;

/// Make the skeleton of a new exercise
///
/// The exercise gets the next free number and a folder with starter.rs, solution.rs, exercise.toml and README.md.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct NewArgs {
    /// The subject, but not the bug: slow_reader
    name: String,
    /// The chapter that it belongs to (03, 03-epoll-lt, epoll-lt)
    #[arg(long, default_value = "04-epoll-et")]
    chapter: String,
    /// Make it in a folder of your own, which course.toml names; its number is 100 or above
    #[arg(long, value_name = "DIR")]
    exercises: Option<PathBuf>,
}

/// Writes the skeleton, and registers it.
pub fn run(args: &NewArgs) -> Result<ExitCode, LabError> {
    let fits = |name: &str| {
        name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
    };
    if !fits(&args.name) {
        let name = &args.name;
        return Err(LabError::usage(format!(
            "'{name}' cannot be an exercise's name: it has to begin with a letter, and to have only small letters, digits \
             and _, as slow_reader has; the number is given to it"
        )));
    }
    let chapter = selection::chapter(&args.chapter).ok_or_else(|| {
        let (word, chapters) = (&args.chapter, selection::chapter_folders());
        LabError::usage(format!("there is no chapter '{word}'\n  chapters: {chapters}"))
    })?;
    let root = workspace::root()?;
    let folder = args.exercises.clone().unwrap_or_else(|| root.join("exercises"));
    let all = course::of_teacher(&root)?;
    if let Some(taken) = all.iter().find(|it| it.name.split_once('_').is_some_and(|(_, name)| name == args.name)) {
        return Err(LabError::usage(format!("there is an exercise of that name: {}", taken.name)));
    }
    // Numbers of a teacher's own exercises never become ours.
    let is_own = |number: u32| number >= OWN;
    let numbers = all.iter().map(|it| it.number).filter(|number| is_own(*number) == args.exercises.is_some());
    let number = numbers.max().unwrap_or(if args.exercises.is_some() { OWN - 1 } else { 0 }) + 1;
    let name = format!("{number:02}_{}", args.name);
    let cannot = |path: &Path, error: std::io::Error| LabError::failed(format!("{}: {error}", path.display()));
    let new = folder.join(&name);
    let made = if args.exercises.is_some() { fs::create_dir_all(&new) } else { fs::create_dir(&new) };
    made.map_err(|error| cannot(&new, error))?;
    for (file, content) in [
        ("starter.rs", &server(&args.name, "\n// TODO: what the user of the server saw, and not its cause.\n")),
        ("solution.rs", &server(&args.name, "")),
        ("exercise.toml", &about(chapter.folder)),
        ("README.md", &readme(number)),
    ] {
        let path = new.join(file);
        fs::write(&path, content).map_err(|error| cannot(&path, error))?;
    }
    if args.exercises.is_some() {
        let shown = folder.display();
        terminal::print(&format!(
            "made {}\n\
             next: in course.toml, name {shown} among the folders; then solution.rs, starter.rs with one bug, exercise.toml, \
             README.md; and then put the solution into a folder as {name}.rs, and try it:\n  \
             cargo lab grade --only {number} --attempts FOLDER\n",
            new.display()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    docs::write(&root, registry::PATH, &registry::source(&course::load(&folder)?))?;
    terminal::print(&format!(
        "made exercises/{name}/ and registered it in exercises/src/servers.rs\n\
         next: solution.rs, then starter.rs with one bug, exercise.toml, README.md; and then:\n  \
         cargo lab matrix --only {number}\n  cargo lab matrix --write\n  cargo lab docs\n"
    ));
    Ok(ExitCode::SUCCESS)
}

fn server(name: &str, symptom: &str) -> String {
    format!(
        r#"//! An echo server on ...
//!
//! Invariant: ...
{symptom}
use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::{{Result, bail}};
use common_server::Shutdown;

pub fn main() -> ExitCode {{
    common_server::main("{name}", new, run)
}}

fn new(listener: TcpListener, shutdown: Shutdown) -> Result<(TcpListener, Shutdown)> {{
    Ok((listener, shutdown))
}}

fn run(_server: (TcpListener, Shutdown)) -> Result<()> {{
    bail!("not written yet")
}}
"#
    )
}

fn about(chapter: &str) -> String {
    let model = if chapter == "06-io-uring" { "completion" } else { "readiness" };
    let symptoms = Symptom::NAMES.join(", ");
    format!(
        r#"title = "TODO: a few words of wit · the subject"
chapter = "{chapter}"
minutes = 15
points = 2
lesson = "TODO: the sentence to take home"
model = "{model}"
hints = [
    "TODO: a nudge",
    "TODO: where to look",
    "TODO: nearly the answer",
]

[modelled_on]
what = "TODO: what happened in a public server"
url = "TODO"

# A check that the starter fails (cargo lab check --list), its symptom, and words of the failure's text. The symptoms:
# {symptoms}
[[must_pass]]
check = "echo::one_byte_comes_back"
symptom = "read-lost"
says = "TODO"
"#
    )
}

fn readme(number: u32) -> String {
    format!(
        "# {number:02} TODO: a few words of wit · the subject\n\nTODO: what the user of this server saw.\n\n\
         ```\ncargo lab start {number:02}\ncargo lab check {number:02}\n```\n"
    )
}
