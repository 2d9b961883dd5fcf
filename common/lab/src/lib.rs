//! `cargo lab`, the one command of the course: its command line, and the parts that its commands share. The commands that
//! need only files are in the package `cargo-lab`, which is built before this one.
//!
//! Invariant: results go to stdout. Progress, cargo's messages and errors go to stderr, so that a pipe gets results
//! only. The exit code is 0 if all is well, 1 if not, 2 if the command line is wrong, and 128 plus the signal's number
//! after Ctrl-C or a SIGTERM.

pub mod cargo;
pub mod checking;
pub mod class;
pub mod commands;
pub mod course;
pub mod docs;
pub mod explored;
pub mod grading;
pub mod installed;
pub mod interrupt;
pub mod parts;
pub mod report;
pub mod selection;

use std::process::ExitCode;

use cargo_lab::commands as files;
pub use cargo_lab::{error, terminal, workspace};
use clap::{Parser, Subcommand};

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

/// The commands, a module each in [`commands`] or in cargo-lab's.
#[derive(Debug, Subcommand)]
enum Command {
    List(files::list::ListArgs),
    Start(files::start::StartArgs),
    Check(Box<commands::check::CheckArgs>),
    Explore(Box<commands::explore::ExploreArgs>),
    /// Show runs of servers as a page: step through them, and choose where a packet arrives
    Show(cargo_lab::Words),
    /// Write the page of the course: pictures, costs, pitfalls, questions and answers
    Page(cargo_lab::Words),
    Watch(commands::watch::WatchArgs),
    Hint(files::hint::HintArgs),
    Next(files::next::NextArgs),
    Reset(files::reset::ResetArgs),
    Solution(files::solution::SolutionArgs),
    Diff(files::diff::DiffArgs),
    Grade(Box<commands::grade::GradeArgs>),
    Handout(commands::handout::HandoutArgs),
    Merge(commands::merge::MergeArgs),
    Matrix(commands::matrix::MatrixArgs),
    Measure(commands::measure::MeasureArgs),
    New(commands::new::NewArgs),
    Docs(commands::docs::DocsArgs),
    #[command(hide = true)]
    GradeWorker(grading::worker::WorkerArgs),
    #[command(hide = true)]
    GradeJob(grading::job::JobArgs),
    #[command(hide = true)]
    Apart(grading::apart::ApartArgs),
    #[command(hide = true)]
    Confine(grading::confine::ConfineArgs),
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| cargo_lab::refuse::<Cli>(&error));
    let result = match &cli.command {
        None => files::list::status(),
        Some(Command::List(args)) => files::list::run(args),
        Some(Command::Start(args)) => files::start::run(args),
        Some(Command::Check(args)) => commands::check::run(args),
        Some(Command::Explore(args)) => commands::explore::run(args),
        // In another package, which is built only for it.
        Some(Command::Show(_) | Command::Page(_)) => Err(installed::become_show()),
        Some(Command::Watch(args)) => commands::watch::run(args),
        Some(Command::Hint(args)) => files::hint::run(args),
        Some(Command::Next(args)) => files::next::run(args),
        Some(Command::Reset(args)) => files::reset::run(args),
        Some(Command::Solution(args)) => files::solution::run(args),
        Some(Command::Diff(args)) => files::diff::run(args),
        Some(Command::Matrix(args)) => commands::matrix::run(args),
        Some(Command::Measure(args)) => commands::measure::run(args),
        Some(Command::New(args)) => commands::new::run(args),
        Some(Command::Docs(args)) => commands::docs::run(args),
        Some(Command::Grade(args)) => commands::grade::run(args),
        Some(Command::Handout(args)) => commands::handout::run(args),
        Some(Command::Merge(args)) => commands::merge::run(args),
        Some(Command::GradeWorker(args)) => grading::worker::run(args),
        Some(Command::GradeJob(args)) => grading::job::run(args),
        Some(Command::Apart(args)) => grading::apart::run(args),
        Some(Command::Confine(args)) => grading::confine::run(args),
    };
    cargo_lab::finish(result)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn cargo_lab_knows_every_command_and_shows_the_same_help() {
        let help = |mut cli: clap::Command| cli.render_help().to_string();
        assert_eq!(help(super::Cli::command()), help(cargo_lab::Cli::command()));
    }
}
