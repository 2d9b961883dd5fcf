//! The lab where it was installed (`cargo install --path common/lab`), outside of any clone.
//!
//! Invariant: a program beside this one is started only if both were installed. In a folder of cargo's, cargo brings it up to
//! date first.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::error::LabError;

/// A program that was installed beside this one.
pub fn beside(name: &str) -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    // Cargo builds into a folder that has this one.
    if this.with_file_name("deps").is_dir() {
        return None;
    }
    Some(this.with_file_name(name)).filter(|program| program.is_file())
}

/// Becomes `lab-show`, which makes pages and recordings; returns only if that fails.
pub fn become_show() -> LabError {
    let Some(show) = beside("lab-show") else {
        let error = cargo_lab::lab::become_it();
        let hint = "\n  To install what shows runs: cargo install --path common/show in a clone";
        let is_gone = crate::workspace::root().is_err();
        return if is_gone { LabError { message: error.message + hint, ..error } } else { error };
    };
    let error = Command::new(&show).args(std::env::args_os().skip(1)).exec();
    LabError::failed(format!("cannot start {}: {error}", show.display()))
}
