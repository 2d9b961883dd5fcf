//! `cargo lab`, the one command of the course: its command line, and the parts that its commands share.
//!
//! Invariant: results go to stdout. Progress, cargo's messages and errors go to stderr, so that a pipe gets results
//! only. The exit code is 0 if all is well, 1 if not, 2 if the command line is wrong, and 128 plus the signal's number
//! after Ctrl-C or a SIGTERM.

pub mod cargo;
pub mod checking;
pub mod commands;
pub mod course;
pub mod docs;
pub mod error;
pub mod grading;
pub mod interrupt;
pub mod selection;
pub mod terminal;
pub mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::LabError;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "cargo lab",
    bin_name = "cargo lab",
    about = "The command of the course: exercises, checks, exploration and grading",
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands, a module each in [`commands`].
#[derive(Debug, Subcommand)]
enum Command {
    List(commands::list::ListArgs),
    Start(commands::start::StartArgs),
    Check(Box<commands::check::CheckArgs>),
    Explore(Box<commands::explore::ExploreArgs>),
    Watch(commands::watch::WatchArgs),
    Hint(commands::hint::HintArgs),
    Next(commands::next::NextArgs),
    Reset(commands::reset::ResetArgs),
    Solution(commands::solution::SolutionArgs),
    Diff(commands::diff::DiffArgs),
    Grade(commands::grade::GradeArgs),
    Matrix(commands::matrix::MatrixArgs),
    New(commands::new::NewArgs),
    Docs(commands::docs::DocsArgs),
    #[command(hide = true)]
    GradeWorker(grading::worker::WorkerArgs),
    #[command(hide = true)]
    Apart(grading::apart::ApartArgs),
    #[command(hide = true)]
    Confine(grading::confine::ConfineArgs),
}

/// Prints clap's message and exits. Where an option has a wrong value, clap leaves the usage out; it is added here.
fn refuse(error: &clap::Error) -> ! {
    use clap::error::ErrorKind::{InvalidValue, ValueValidation};
    if !matches!(error.kind(), InvalidValue | ValueValidation) {
        error.exit();
    }
    let _ = error.print();
    let given = std::env::args().nth(1);
    let mut cli = <Cli as clap::CommandFactory>::command();
    cli.build();
    if let Some(command) = given.and_then(|name| cli.find_subcommand_mut(name)) {
        eprintln!("\n{}", command.render_usage());
    }
    std::process::exit(2)
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| refuse(&error));
    let result = match &cli.command {
        None => commands::list::status(),
        Some(Command::List(args)) => commands::list::run(args),
        Some(Command::Start(args)) => commands::start::run(args),
        Some(Command::Check(args)) => commands::check::run(args),
        Some(Command::Explore(args)) => commands::explore::run(args),
        Some(Command::Watch(args)) => commands::watch::run(args),
        Some(Command::Hint(args)) => commands::hint::run(args),
        Some(Command::Next(args)) => commands::next::run(args),
        Some(Command::Reset(args)) => commands::reset::run(args),
        Some(Command::Solution(args)) => commands::solution::run(args),
        Some(Command::Diff(args)) => commands::diff::run(args),
        Some(Command::Matrix(args)) => commands::matrix::run(args),
        Some(Command::New(args)) => commands::new::run(args),
        Some(Command::Docs(args)) => commands::docs::run(args),
        Some(Command::Grade(args)) => commands::grade::run(args),
        Some(Command::GradeWorker(args)) => grading::worker::run(args),
        Some(Command::Apart(args)) => grading::apart::run(args),
        Some(Command::Confine(args)) => grading::confine::run(args),
    };
    // A result that could not be written has reached nobody, so the command has failed.
    let result = result.and_then(|code| terminal::written().map(|()| code));
    result.unwrap_or_else(|error: LabError| {
        terminal::complain(&error.to_string());
        ExitCode::from(error.code)
    })
}
