//! `cargo lab show`: it explores servers, records what happens in each gap, and writes one HTML file that shows it.
//!
//! A package of its own, so that whoever checks a server does not wait for what makes a page and finds lines of source.
//! `cargo lab page`, the page of the whole course, is made here too. `cargo lab explore --record` and
//! `cargo lab check --html` run here too: only here do recordings have lines of source, and reports have players.
//!
//! Invariant: as in `lab`, results go to stdout, and progress and errors to stderr. The exit code is 0 if the page was
//! written, whatever it shows.

pub mod book;
mod checking;
mod command;
mod making;
mod naming;
mod opening;
pub mod recordings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The command line, as far as it comes here.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(command::ShowArgs),
    Page(book::PageArgs),
    Explore(Box<lab::commands::explore::ExploreArgs>),
    Check(Box<lab::commands::check::CheckArgs>),
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| cargo_lab::refuse::<Cli>(&error));
    cargo_lab::finish(match &cli.command {
        Command::Show(args) => command::run(args),
        Command::Page(args) => book::run(args),
        Command::Check(args) => lab::commands::check::run_with(args, Some(&checking::Recorder)),
        Command::Explore(args) => lab::commands::explore::run(args),
    })
}
