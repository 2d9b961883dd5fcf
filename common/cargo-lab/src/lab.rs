//! The way to the package `lab`, which runs checks.
//!
//! Invariant: `lab` takes the place of this process, so its exit code, its signals and its terminal are those that a shell
//! sees. What is built meanwhile is said before, because it takes long.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::error::LabError;
use crate::{terminal, workspace};

/// The cargo that runs this program, or the one that PATH finds.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `lab` with this process's arguments, in place of this process; returns only if that fails.
pub fn become_it() -> LabError {
    let cannot = |error: io::Error| LabError::failed(format!("cannot run cargo to build and run lab: {error}"));
    let of_lab = |command: &str| -> Result<Command, LabError> {
        let mut cargo = cargo();
        cargo.args([command, "--package", "lab", "--bin", "lab", "--manifest-path"]);
        cargo.arg(workspace::root()?.join("Cargo.toml"));
        Ok(cargo)
    };
    if !is_built() {
        terminal::complain("this command needs the harness and the explorer; they are built now, once:");
        // What cargo says is progress.
        match of_lab("build").and_then(|mut build| build.stdout(Stdio::null()).status().map_err(cannot)) {
            Ok(status) if status.success() => {}
            Ok(_) => return LabError::failed("lab could not be built; cargo says why above"),
            Err(error) => return error,
        }
    }
    match of_lab("run") {
        Ok(mut run) => cannot(run.arg("--quiet").arg("--").args(std::env::args_os().skip(1)).exec()),
        Err(error) => error,
    }
}

/// Whether `lab` was built before, now or in an older form. Cargo puts it beside this program.
fn is_built() -> bool {
    std::env::current_exe().is_ok_and(|this| this.with_file_name("lab").exists())
}
