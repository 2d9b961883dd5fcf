//! The workspace on disk: where it is, and its servers as programs.
//!
//! Invariant: cargo alone knows where a program is; its path comes from cargo's own messages and is never guessed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::LabError;

/// What kind of program a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramKind {
    /// `src/main.rs` or one of `src/bin`.
    Bin,
    /// One of `examples`.
    Example,
}

/// A program of this workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The folder of its package, from the workspace's root.
    pub folder: &'static str,
    /// Its package.
    pub package: &'static str,
    /// What it is.
    pub kind: ProgramKind,
    /// Its name.
    pub name: &'static str,
}

impl ProgramKind {
    fn name(self) -> &'static str {
        match self {
            Self::Bin => "bin",
            Self::Example => "example",
        }
    }
}

/// The root of the workspace. Cargo builds the lab anew when the workspace has been moved, so this is always the one
/// that `cargo lab` was called in.
pub fn root() -> Result<PathBuf, LabError> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).and_then(|root| root.canonicalize().ok());
    root.filter(|root| root.join("Cargo.toml").is_file()).ok_or_else(|| {
        let here = here.display();
        LabError::failed(format!("the workspace this lab was built in is gone ({here}); call it as 'cargo lab'"))
    })
}

/// Builds programs with one call of cargo, whose words go to stderr as they come, and returns their paths in order.
pub fn build(targets: &[Program]) -> Result<Vec<PathBuf>, LabError> {
    let root = root()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--message-format=json-render-diagnostics", "--manifest-path"]).arg(root.join("Cargo.toml"));
    for target in targets {
        cargo.args(["--package", target.package, &format!("--{}", target.kind.name()), target.name]);
    }
    let cannot = |error| LabError::failed(format!("cannot run cargo to build the servers: {error}"));
    let mut child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
    let mut paths: Vec<Option<PathBuf>> = vec![None; targets.len()];
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        note(&line, &root, targets, &mut paths);
    }
    if !child.wait().map_err(cannot)?.success() {
        return Err(LabError::failed("the servers could not be built; cargo says why above"));
    }
    let missing = |target: &Program| {
        LabError::failed(format!("cargo built '{}' and did not say where its program is", target.package))
    };
    targets.iter().zip(paths).map(|(target, path)| path.ok_or_else(|| missing(target))).collect()
}

/// Takes from one of cargo's messages the path of a program that was asked for.
fn note(line: &str, root: &Path, targets: &[Program], paths: &mut [Option<PathBuf>]) {
    // Cheap, because most messages are about dependencies and some are long.
    if !line.contains("\"executable\":\"") {
        return;
    }
    let Ok(message) = serde_json::from_str::<Value>(line) else { return };
    let Some(path) = message["executable"].as_str() else { return };
    let is = |target: &Program| {
        message["manifest_path"].as_str().is_some_and(|it| Path::new(it) == root.join(target.folder).join("Cargo.toml"))
            && message["target"]["name"] == target.name
            && message["target"]["kind"][0] == target.kind.name()
    };
    if let Some(at) = targets.iter().position(is) {
        paths[at] = Some(path.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_a_workspace_with_the_chapters_in_it() {
        assert!(root().unwrap().join(harness::CHAPTERS[0].folder).is_dir());
    }

    #[test]
    fn a_programs_path_is_taken_from_the_message_about_this_very_program() {
        let target = |kind| Program { folder: "02-poll", package: "poll", kind, name: "poll" };
        let targets = [target(ProgramKind::Bin), target(ProgramKind::Example)];
        let message = |kind: &str, folder: &str, path: &str| {
            format!(
                r#"{{"manifest_path":"/w/{folder}/Cargo.toml","target":{{"kind":["{kind}"],"name":"poll"}},"executable":{path}}}"#
            )
        };
        let mut paths = [None, None];
        for line in [
            message("bin", "other", r#""/t/other""#),
            message("lib", "02-poll", "null"),
            "not JSON".to_owned(),
            message("example", "02-poll", r#""/t/examples/poll""#),
        ] {
            note(&line, Path::new("/w"), &targets, &mut paths);
        }
        assert_eq!(paths, [None, Some("/t/examples/poll".into())]);
    }
}
