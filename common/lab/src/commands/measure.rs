//! `cargo lab measure`: the course's claims about costs, tried on this machine.
//!
//! The experiments are in `common/bench`, which has dependencies of its own, so it is no part of the lab: it is built
//! here, with --release, and started in the lab's place.
//!
//! Invariant: a name or a file at fault is said before anything is built.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use cargo_lab::names::nearest;
use figures::{CATALOGUE, about, file};

use crate::cargo;
use crate::error::LabError;
use crate::installed;
use crate::interrupt::Interrupt;
use crate::terminal::{self, Palette};
use crate::workspace;

/// The packages whose programs and examples take part.
const PACKAGES: &[&str] = &["bench", "select", "poll", "epoll-lt", "epoll-et", "kqueue", "uring", "common-server"];

const EXAMPLES: &str = "\
Examples:
  cargo lab measure                         every experiment, about 15 minutes
  cargo lab measure --quick                 every experiment, two minutes
  cargo lab measure idle-tax peers          two of them
  cargo lab measure --html costs.html       a page with every picture and table
  cargo lab measure --json here.json        the record (common/bench/MEASURED.md)

Close other programs first: a run that a neighbour disturbed is repeated and
counted. The reference is common/bench/reference.json.

Exit code: 0 every experiment ran or was skipped with its reason; 1 one of them
failed; 2 wrong command line; 130 after Ctrl-C, with what was finished written.";

/// Measure what the kernel's APIs cost here, and compare it with what the course claims
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct MeasureArgs {
    /// The experiments [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Say what there is, with the claims
    #[arg(long)]
    list: bool,
    /// End within two minutes: fewer rounds, fewer points
    #[arg(long)]
    quick: bool,
    /// Write the record here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with every picture and table here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Plots in ASCII, and no line that changes
    #[arg(long)]
    plain: bool,
}

/// Builds what is needed, and becomes `measure`.
pub fn run(args: &MeasureArgs) -> Result<ExitCode, LabError> {
    known(&args.names)?;
    if args.list {
        terminal::print(&list(&args.names, terminal::width(), Palette::stdout()));
        return Ok(ExitCode::SUCCESS);
    }
    for path in [&args.json, &args.html].into_iter().flatten() {
        file::can_be_written(path).map_err(LabError::usage)?;
    }
    let root = match workspace::root() {
        Ok(root) => root,
        Err(gone) => return Err(become_installed(args, gone)),
    };
    // Cargo leads a process group of its own, so Ctrl-C ends a build only by this. The program has its own.
    let interrupt = Interrupt::watch()?;
    let measure = built(&root, &interrupt)?;
    let mut command = args.command(&measure);
    if args.names.is_empty() || args.names.iter().any(|name| name == "peers") {
        match peers(&root, &measure, &interrupt)? {
            Ok(folder) => command.arg("--peers").arg(folder),
            Err(why) => command.arg("--without-peers").arg(why),
        };
    }
    if args.json.is_none()
        && let Some(record) = last(&measure)
    {
        command.arg("--json").arg(record);
    }
    let error = command.exec();
    Err(LabError::failed(format!("cannot start {}: {error}", measure.display())))
}

/// Where the record of the last run goes, from which `cargo lab page` takes your machine's figures: `target/measure/last.json`.
fn last(measure: &Path) -> Option<PathBuf> {
    let folder = measure.ancestors().nth(2)?.join("measure");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("last.json"))
}

/// Becomes the `measure` that was installed beside this program; returns only if that fails. Without the course's servers it
/// skips what needs them.
fn become_installed(args: &MeasureArgs, gone: LabError) -> LabError {
    match installed::beside("measure") {
        None => LabError {
            message: format!("{}\n  What needs no chapter: cargo install --path common/bench in a clone", gone.message),
            ..gone
        },
        Some(measure) => {
            let why = "they are built in a clone of the course";
            let error = args.command(&measure).args(["--without-peers", why]).exec();
            LabError::failed(format!("cannot start {}: {error}", measure.display()))
        }
    }
}

impl MeasureArgs {
    /// The program that measures, with what was asked for.
    fn command(&self, measure: &Path) -> Command {
        let mut command = Command::new(measure);
        command.args(&self.names);
        for (is_given, option) in [(self.quick, "--quick"), (self.plain, "--plain")] {
            command.args(is_given.then_some(option));
        }
        for (path, option) in [(&self.json, "--json"), (&self.html, "--html")] {
            if let Some(path) = path {
                command.arg(option).arg(path);
            }
        }
        command
    }
}

fn known(names: &[String]) -> Result<(), LabError> {
    let Some(unknown) = names.iter().find(|name| about(name).is_none()) else { return Ok(()) };
    let all: Vec<&str> = CATALOGUE.iter().map(|about| about.name).collect();
    let hint =
        nearest(unknown, all.iter().copied()).map_or(String::new(), |name| format!("\n  Did you mean '{name}'?"));
    let all = all.join(" ");
    Err(LabError::usage(format!("there is no experiment '{unknown}'{hint}\n  experiments: {all}")))
}

fn list(names: &[String], width: usize, palette: Palette) -> String {
    let chosen = CATALOGUE.iter().filter(|it| names.is_empty() || names.iter().any(|name| name == it.name));
    let mut out = String::new();
    for about in chosen {
        let text = format!("  {}\n  varied: {}\n  counted: {}", about.claim, about.varied, about.counted);
        out += &format!("{}\n{}", palette.heading(about.name), terminal::wrap_lines(&text, width));
    }
    out
}

/// The program that measures, with the servers beside it.
fn built(root: &Path, interrupt: &Interrupt) -> Result<PathBuf, LabError> {
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    let all: Vec<&str> = ["--bins", "--examples"].into_iter().chain(packages).collect();
    let measure = release(root, &all, interrupt)?.executable_called("measure");
    // By itself, because examples need the dependencies of tests, and those of the exercises are many.
    release(root, &["--package", "exercises", "--bin", "exercises"], interrupt)?;
    measure.ok_or_else(|| LabError::failed("cargo built 'bench' and did not say where its program is"))
}

fn release(root: &Path, targets: &[&str], interrupt: &Interrupt) -> Result<cargo::BuildMessages, LabError> {
    let mut command = cargo::cargo();
    command.args(["build", "--release", "--message-format=json-render-diagnostics"]).args(targets);
    command.arg("--manifest-path").arg(root.join("Cargo.toml"));
    let build = cargo::run(&mut command, "the servers", interrupt.flag())?;
    interrupt.check()?;
    let messages = build.filter(|build| build.success).map(|build| build.messages);
    messages.ok_or_else(|| LabError::failed("the servers could not be built; cargo says why above"))
}

/// The folder of the peers' programs, or why there is none. Their libraries may have to be fetched.
fn peers(root: &Path, measure: &Path, interrupt: &Interrupt) -> Result<Result<PathBuf, String>, LabError> {
    let target = measure.ancestors().nth(2).unwrap_or(root).join("peers");
    let mut command = cargo::cargo();
    command.args(["build", "--release", "--locked", "--bins", "--message-format=json-render-diagnostics"]);
    command.arg("--manifest-path").arg(root.join("common/bench/peers/Cargo.toml")).arg("--target-dir").arg(target);
    let build = cargo::run(&mut command, "the peers", interrupt.flag())?;
    interrupt.check()?;
    let build = build.filter(|build| build.success);
    let program = build.and_then(|build| build.messages.executable_called("echo-mio"));
    let folder = program.as_deref().and_then(Path::parent).map(Path::to_owned);
    Ok(folder
        .ok_or_else(|| "cargo could not build common/bench/peers, whose libraries it may have to fetch".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_a_wrong_command_line_with_a_suggestion() {
        let error = known(&["wait".into(), "idle_tax".into()]).unwrap_err();
        assert_eq!(error.code, 2);
        assert!(error.message.contains("'idle_tax'") && error.message.contains("Did you mean 'idle-tax'?"), "{error}");
        let error = known(&["xyzzy".into()]).unwrap_err();
        assert!(!error.message.contains("Did you mean") && error.message.contains("wait idle-tax"), "{error}");
        assert!(known(&[]).is_ok());
    }

    #[test]
    fn the_list_has_every_claim_in_any_width() {
        for width in [40, 100] {
            let list = list(&[], width, Palette::plain());
            let words = list.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(CATALOGUE.iter().all(|about| words.contains(about.name) && words.contains(about.claim)), "{list}");
            assert!(list.lines().all(|line| terminal::columns(line) <= width), "{list}");
        }
    }
}
