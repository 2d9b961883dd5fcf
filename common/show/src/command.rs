//! The command `cargo lab show`.
//!
//! Invariant: a wrong word is refused before anything is built or explored, and so is a file that cannot be written. Of an
//! exercise, no source is shown but the attempt's, or the starter's where there is no attempt.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use explorer::{Recording, Schedule, Verdict};
use lab::error::LabError;
use lab::explored::{self, Fault, Named, WithoutAttempt};
use lab::interrupt::Interrupt;
use lab::{terminal, workspace};

use crate::making::{Making, Shown};
use crate::{naming, opening, recordings};

/// More are not read on any screen.
const MOST: usize = 6;

const EXAMPLES: &str = "\
Examples:
  cargo lab show epoll-et                     a chapter
  cargo lab show 24                           your attempt, or the starter if you have not begun
  cargo lab show 24 --open                    and open the page in the browser
  cargo lab show poll epoll-et uring          side by side
  cargo lab show --cmd './a.out {port}'       your own server, in any language
  cargo lab show epoll-et --script 'c0 connect; c0 send 3; c0 shutdown'
  cargo lab show 24 --script close --replay 0,0,1
  cargo lab show run.json                     what 'cargo lab explore --record' wrote

Exit code: 0 the page was written; 1 it could not be made; 2 wrong command line.";

/// Show runs of servers as a page: step through them, and choose where a packet arrives
///
/// Each server is explored until a schedule fails. Then the script's steps are put into every gap between two system calls,
/// one gap a run, on the real kernel. The page is one HTML file that needs nothing else. It shows the failing run and the
/// nearest run that passes, beside the lines of source that made the calls. It reads and prints without JavaScript.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArgs {
    /// Servers of this workspace (04, epoll-et), exercises (24, 24_ready_flag) and recordings (FILE.json), side by side
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// The command that starts your own server; {port} stands for the port that it must listen on
    #[arg(long, value_name = "COMMAND")]
    cmd: Vec<String>,
    /// A standard script, a file, or the steps themselves [default: the first standard script that fails]
    #[arg(long, value_name = "SCRIPT")]
    script: Option<String>,
    /// Show this schedule first
    #[arg(long, value_name = "0,1,..", value_parser = Schedule::parse, requires = "script")]
    replay: Option<Schedule>,
    /// Add faults that any server can meet, wherever they can occur
    #[arg(long, value_name = "FAULT,..", value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Where to write the page [default: target/show/SERVER.html; outside of the course SERVER.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// Write the recordings that are committed, for machines on which nothing can be explored
    #[arg(long, hide = true, conflicts_with_all = ["servers", "cmd", "script", "output", "open"])]
    write_recordings: bool,
}

/// What a word of the command line names.
enum Source {
    /// A recording that was read.
    File(Box<Recording>),
    /// A server of this workspace, or an exercise.
    Named(String, Named),
    /// A command.
    Command(String),
}

/// Explores, and writes the page.
pub fn run(args: &ShowArgs) -> Result<ExitCode, LabError> {
    if args.write_recordings {
        return recordings::write();
    }
    let sources = sources(args)?;
    let scripts = explored::scripts(args.script.as_deref(), &args.faults)?;
    let output = output(args, &sources)?;
    let interrupt = Interrupt::watch()?;
    if sources.iter().any(|source| !matches!(source, Source::File(_))) {
        explorer::possible().map_err(|why| LabError::failed(recordings::offer(&why, &args.servers)))?;
    }
    let mut shown = Vec::new();
    for source in sources {
        shown.push(match source {
            Source::File(recording) => Shown::Recorded(recording),
            Source::Named(_, named) => {
                let subject = named.build(WithoutAttempt::Starter, &interrupt)?;
                let exercise = matches!(named, Named::Exercise(_));
                Shown::Server { subject, exercise }
            }
            Source::Command(line) => Shown::Server { subject: explored::command(&line)?, exercise: false },
        });
    }
    let given = args.script.is_some();
    let making = Making::new(scripts, given, explored::faults(&args.faults), args.replay.as_ref(), &interrupt);
    let recordings = making.recordings(shown)?;
    write(&output, &page::show(&recordings, &page::Options { command: command_line(args) }))?;
    recordings.iter().for_each(|recording| terminal::print(&(in_a_line(recording) + "\n")));
    let place = workspace::shown(&output);
    terminal::print(&format!("the page: {place}\n"));
    if args.open
        && let Err(why) = opening::open(&output)
    {
        terminal::complain(&format!("the page was not opened: {why}; it is in {}", output.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn sources(args: &ShowArgs) -> Result<Vec<Source>, LabError> {
    let count = args.servers.len() + args.cmd.len();
    if count == 0 {
        return Err(LabError::usage(
            "name a server (cargo lab show epoll-et), an exercise (cargo lab show 24) or a recording (FILE.json), or give \
             --cmd './server {port}'",
        ));
    }
    if count > MOST {
        return Err(LabError::usage(format!("{count} are too many side by side; name up to {MOST}")));
    }
    if args.replay.is_some() && count > 1 {
        return Err(LabError::usage("a schedule of --replay belongs to one server; name one"));
    }
    let source = |word: &String| match recordings::is_file(word) {
        true => recordings::read(word).map(|recording| Source::File(Box::new(recording))),
        false => explored::named(word).map(|named| Source::Named(word.clone(), named)),
    };
    let mut sources = args.servers.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    for line in &args.cmd {
        // Whether it can be split into words.
        explored::command(line)?;
        sources.push(Source::Command(line.clone()));
    }
    Ok(sources)
}

/// Where the page goes. Its folder exists, or is made where it is the default.
fn output(args: &ShowArgs, sources: &[Source]) -> Result<PathBuf, LabError> {
    if let Some(path) = &args.output {
        return opening::output(path, "run.html");
    }
    let folder = match (std::env::var_os("CARGO_TARGET_DIR"), workspace::root()) {
        (Some(target), _) => PathBuf::from(target).join("show"),
        (None, Ok(root)) if workspace::is_here(&root) => root.join("target/show"),
        // Somebody else's project: nothing is written where nobody would look for it.
        (None, _) => PathBuf::new(),
    };
    if !folder.as_os_str().is_empty() {
        std::fs::create_dir_all(&folder).map_err(|error| {
            LabError::failed(format!("cannot make the folder {}: {error}; give -o FILE", folder.display()))
        })?;
    }
    let names: Vec<String> = sources
        .iter()
        .map(|source| match source {
            Source::File(recording) => recording.server.clone(),
            Source::Named(_, Named::Exercise(exercise)) => exercise.name.clone(),
            Source::Named(word, Named::Server(_)) => word.clone(),
            Source::Command(line) => line.clone(),
        })
        .collect();
    Ok(folder.join(naming::file_name(&names)))
}

fn write(path: &Path, page: &str) -> Result<(), LabError> {
    std::fs::write(path, page)
        .map_err(|error| LabError::failed(format!("cannot write {}: {error}; give -o FILE", path.display())))
}

/// `24_ready_flag, close: LOST WAKEUP: 5000 of ...; 2 of 14 gaps are fatal`.
fn in_a_line(recording: &Recording) -> String {
    let run = &recording.runs[0];
    let found = match run.verdict {
        Verdict::Ok => "no schedule that was tried fails".to_owned(),
        verdict => format!("{}: {}", verdict.to_string().to_uppercase(), run.what.trim_end_matches('.')),
    };
    let gaps = page::gaps_title(recording).map_or(String::new(), |title| format!("; {}", title.to_lowercase()));
    format!("{}, {}: {found}{gaps}", recording.server, recording.script_name)
}

/// The command, to be copied.
fn command_line(args: &ShowArgs) -> String {
    let mut words = vec!["cargo".to_owned(), "lab".to_owned(), "show".to_owned()];
    words.extend(args.servers.iter().cloned());
    for line in &args.cmd {
        words.extend(["--cmd".to_owned(), line.clone()]);
    }
    if let Some(script) = &args.script {
        words.extend(["--script".to_owned(), script.clone()]);
    }
    let faults = args.faults.iter().filter_map(clap::ValueEnum::to_possible_value);
    let faults: Vec<String> = faults.map(|fault| fault.get_name().to_owned()).collect();
    if !faults.is_empty() {
        words.extend(["--faults".to_owned(), faults.join(",")]);
    }
    if let Some(schedule) = &args.replay {
        words.extend(["--replay".to_owned(), schedule.to_string()]);
    }
    shell_words::join(words)
}
