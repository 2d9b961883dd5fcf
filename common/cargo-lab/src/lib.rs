//! `cargo lab`, as far as it needs nothing but files: its words on the command line, a student's exercises, sources side by
//! side. The other commands run checks; they are in the package `lab`, which is built when the first of them is called.
//!
//! Invariant: somebody who has just cloned this waits for what stands here, so no check, no server and no process of /proc
//! is known here. Results go to stdout. Progress, cargo's messages and errors go to stderr, so that a pipe gets results
//! only.

pub mod commands;
pub mod course;
pub mod error;
pub mod lab;
pub mod names;
pub mod terminal;
pub mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

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

/// All commands, in the order of their help. `lab` has those with [`Words`] but for `show` and `page`, which `lab-show` has. The tests
/// of `lab` compare both helps.
#[derive(Debug, Subcommand)]
enum Command {
    List(commands::list::ListArgs),
    Start(commands::start::StartArgs),
    /// Check servers against the contract (common/harness/CONTRACT.md), or your attempts at exercises
    Check(Words),
    /// Find lost wakeups: place a client's steps between a server's system calls
    Explore(Words),
    /// Show runs of servers as a page: step through them, and choose where a packet arrives
    Show(Words),
    /// Write the page of the course: pictures, costs, pitfalls, questions and answers
    Page(Words),
    /// Check an exercise again each time you save it
    Watch(Words),
    Hint(commands::hint::HintArgs),
    Next(commands::next::NextArgs),
    Reset(commands::reset::ResetArgs),
    Solution(commands::solution::SolutionArgs),
    Diff(commands::diff::DiffArgs),
    /// Grade attempts: points for each exercise, with the reasons
    Grade(Words),
    /// Write the folder that students get: the course without its solutions
    Handout(Words),
    /// Put the parts of a class, an exploration or a fuzz together that several machines have done
    Merge(Words),
    /// Prove the exercises: starters fail as they should, solutions pass
    Matrix(Words),
    /// Measure what the kernel's APIs cost here, and compare it with what the course claims
    Measure(Words),
    /// Make the skeleton of a new exercise
    New(Words),
    /// Write the generated tables and the registry of the exercises
    Docs(Words),
}

/// What only another program understands.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<OsString>,
}

/// The program.
pub fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => cli.run(),
        // The help of one command; or a command that does not stand above.
        Err(error) if is_for_lab(&error) => Err(lab::become_it()),
        Err(error) => refuse::<Cli>(&error),
    };
    finish(result)
}

impl Cli {
    fn run(&self) -> Result<ExitCode, LabError> {
        match &self.command {
            None => commands::list::status(),
            Some(Command::List(args)) => commands::list::run(args),
            Some(Command::Start(args)) => commands::start::run(args),
            Some(Command::Hint(args)) => commands::hint::run(args),
            Some(Command::Next(args)) => commands::next::run(args),
            Some(Command::Reset(args)) => commands::reset::run(args),
            Some(Command::Solution(args)) => commands::solution::run(args),
            Some(Command::Diff(args)) => commands::diff::run(args),
            Some(_) => Err(lab::become_it()),
        }
    }
}

fn is_for_lab(error: &clap::Error) -> bool {
    let words: Vec<OsString> = std::env::args_os().skip(1).take(2).collect();
    let asks_for_one = words.len() == 2 && words[0] == "help";
    asks_for_one || error.kind() == ErrorKind::InvalidSubcommand
}

/// Prints clap's message and exits. Where an option has a wrong value, clap leaves the usage out; it is added here.
pub fn refuse<C: CommandFactory>(error: &clap::Error) -> ! {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        error.exit();
    }
    let _ = error.print();
    let given = std::env::args().nth(1);
    let mut cli = C::command();
    cli.build();
    if let Some(command) = given.and_then(|name| cli.find_subcommand_mut(name)) {
        eprintln!("\n{}", command.render_usage());
    }
    std::process::exit(2)
}

/// The exit code of what a command came to; an error is printed.
pub fn finish(result: Result<ExitCode, LabError>) -> ExitCode {
    // A result that could not be written has reached nobody, so the command has failed.
    let result = result.and_then(|code| terminal::written().map(|()| code));
    result.unwrap_or_else(|error: LabError| {
        terminal::complain(&error.to_string());
        ExitCode::from(error.code)
    })
}
