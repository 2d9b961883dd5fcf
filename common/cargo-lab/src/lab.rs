//! The way to the packages `lab`, which runs checks, and `lab-show`, which shows runs as a page.
//!
//! Invariant: the one that is needed takes the place of this process, so its exit code, its signals and its terminal are those that a shell
//! sees. What is built meanwhile is said before, because it takes long.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::error::LabError;
use crate::{terminal, workspace};

/// The cargo that runs this program, or the one that PATH finds.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A package that carries out commands, and its program of the same name.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: &'static str,
    /// What is built with it.
    needs: &'static str,
}

const LAB: Package = Package { name: "lab", needs: "the harness and the explorer" };
/// Apart from `lab`, because it needs more crates: those that make a page, and those that find a call's line of source.
const SHOW: Package =
    Package { name: "lab-show", needs: "the harness, the explorer, and what makes a page and finds lines of source" };

/// The package for these words. A recording of `explore` has lines of source too, and a report of `check` has players.
fn package(words: &[OsString]) -> &'static Package {
    let words = if words.first().is_some_and(|first| first == "help") { &words[1..] } else { words };
    let asks = |option: &'static str| move |word: &OsString| word.to_string_lossy().starts_with(option);
    match words.split_first() {
        Some((command, _)) if command == "show" || command == "page" => &SHOW,
        Some((command, rest)) if command == "explore" && rest.iter().any(asks("--record")) => &SHOW,
        Some((command, rest)) if command == "check" && rest.iter().any(asks("--html")) => &SHOW,
        _ => &LAB,
    }
}

/// Runs `lab` or `lab-show` with this process's arguments, in place of this process; returns only if that fails.
pub fn become_it() -> LabError {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Package { name, needs } = package(&words);
    let cannot = |error: io::Error| LabError::failed(format!("cannot run cargo to build and run {name}: {error}"));
    let of_lab = |command: &str| -> Result<Command, LabError> {
        let mut cargo = cargo();
        cargo.args([command, "--package", name, "--bin", name, "--manifest-path"]);
        cargo.arg(workspace::root()?.join("Cargo.toml"));
        Ok(cargo)
    };
    if !is_built(name) {
        terminal::complain(&format!("this command needs {needs}; they are built now, once:"));
        // What cargo says is progress.
        match of_lab("build").and_then(|mut build| build.stdout(Stdio::null()).status().map_err(cannot)) {
            Ok(status) if status.success() => {}
            Ok(_) => return LabError::failed(format!("{name} could not be built; cargo says why above")),
            Err(error) => return error,
        }
    }
    match of_lab("run") {
        Ok(mut run) => cannot(run.arg("--quiet").arg("--").args(words).exec()),
        Err(error) => error,
    }
}

/// Whether this program was built before, now or in an older form. Cargo puts it beside this one.
fn is_built(name: &str) -> bool {
    std::env::current_exe().is_ok_and(|this| this.with_file_name(name).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_pages_and_recordings_is_built_for_them_alone() {
        let package = |words: &[&str]| package(&words.iter().map(OsString::from).collect::<Vec<_>>()).name;
        for words in [
            &["show", "24"][..],
            &["help", "show"],
            &["show"],
            &["page", "--open"],
            &["explore", "04", "--record", "a.json"],
            &["check", "04", "--html=report.html"],
        ] {
            assert_eq!(package(words), "lab-show", "{words:?}");
        }
        for words in [&["check", "show"][..], &["help", "check"], &["explore", "04"], &["help"], &[]] {
            assert_eq!(package(words), "lab", "{words:?}");
        }
    }
}
