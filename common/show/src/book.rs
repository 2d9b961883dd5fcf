//! The command `cargo lab page`: the page of the whole course.
//!
//! Invariant: what it reads is committed, or was measured before, so it explores nothing and takes seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use figures::Record;
use lab::error::LabError;
use lab::{terminal, workspace};
use page::book::{Inputs, Workspace, make};

use crate::{opening, recordings};

const EXAMPLES: &str = "\
Examples:
  cargo lab page                              write target/page/index.html
  cargo lab page --open                       and open it in the browser
  cargo lab page -o course.html               write another file
  cargo lab measure --json mine.json          measure on this machine, and
  cargo lab page --measured mine.json         show your figures over those of the reference machine

Behind the file's name, ?talk makes slides of it.

Exit code: 0 the page was written; 1 it could not be made; 2 wrong command line.";

/// Write the page of the course: pictures, costs, pitfalls, questions and answers
///
/// The page is one HTML file that needs nothing else. It has the recorded runs, the measurements and the sources of this
/// repository, and it reads and prints without JavaScript.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PageArgs {
    /// Where to write the page [default: target/page/index.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// What 'cargo lab measure --json FILE' wrote on your machine [default: target/measure/last.json, if it is there]
    #[arg(long, value_name = "FILE")]
    measured: Option<PathBuf>,
    /// Where the links to files lead: the address of this repository's files, for a page that is published [default: this
    /// clone]
    #[arg(long, value_name = "URL", value_parser = address)]
    files_at: Option<String>,
}

/// Writes the page.
pub fn run(args: &PageArgs) -> Result<ExitCode, LabError> {
    let root = workspace::root()?;
    let output = output(args, &root)?;
    let links = match &args.files_at {
        Some(address) => address.clone(),
        None => way(&output, &root)?,
    };
    let mut inputs = inputs(&root, &links)?;
    inputs.own = own(args, &root)?;
    inputs.command = command_line(args);
    let page = make(&inputs).map_err(LabError::failed)?;
    fs::write(&output, &page)
        .map_err(|error| LabError::failed(format!("cannot write {}: {error}; give -o FILE", output.display())))?;
    terminal::print(&format!("the page: {} ({} KB)\n", workspace::shown(&output), page.len() / 1000));
    if args.open
        && let Err(why) = opening::open(&output)
    {
        terminal::complain(&format!("the page was not opened: {why}; it is in {}", output.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the page is made of, on any machine. `links` stands before the path of a file in a link.
///
/// # Errors
/// If a file of the workspace cannot be read.
pub fn inputs(root: &Path, links: &str) -> Result<Inputs, LabError> {
    Ok(Inputs {
        recordings: recordings::all()?,
        reference: record(&root.join("common/bench/reference.json"))?,
        own: None,
        workspace: Workspace::new(root, links),
        command: "cargo lab page".to_owned(),
    })
}

/// An address that a path can be put behind.
fn address(word: &str) -> Result<String, String> {
    match word.starts_with("https://") || word.starts_with("http://") {
        true => Ok(format!("{}/", word.trim_end_matches('/'))),
        false => Err("it begins with https://".into()),
    }
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Where the page goes. Its folder exists, or is made where it is the default.
fn output(args: &PageArgs, root: &Path) -> Result<PathBuf, LabError> {
    let Some(path) = &args.output else {
        let folder = target(root).join("page");
        fs::create_dir_all(&folder).map_err(|error| {
            LabError::failed(format!("cannot make the folder {}: {error}; give -o FILE", folder.display()))
        })?;
        return Ok(folder.join("index.html"));
    };
    opening::output(path, "index.html")
}

/// The relative way from the page's folder to the workspace: `../../`.
fn way(output: &Path, root: &Path) -> Result<String, LabError> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder
        .canonicalize()
        .map_err(|error| LabError::failed(format!("cannot find the folder {}: {error}", folder.display())))?;
    let common = folder.ancestors().find(|ancestor| root.starts_with(ancestor)).unwrap_or(Path::new("/"));
    let up = folder.strip_prefix(common).map_or(0, |rest| rest.components().count());
    let down = root.strip_prefix(common).unwrap_or(root);
    let down: String = down.components().map(|part| format!("{}/", part.as_os_str().to_string_lossy())).collect();
    let way = "../".repeat(up) + &down;
    Ok(if way.is_empty() { "./".to_owned() } else { way })
}

fn record(path: &Path) -> Result<Record, LabError> {
    let wrong = |what: String| LabError::usage(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Record::parse(&text).map_err(wrong)
}

/// What was measured here: the file that is named, or the last run.
fn own(args: &PageArgs, root: &Path) -> Result<Option<Record>, LabError> {
    if let Some(path) = &args.measured {
        return record(path).map(Some);
    }
    let last = target(root).join("measure/last.json");
    if !last.is_file() {
        return Ok(None);
    }
    match record(&last) {
        Ok(record) => Ok(Some(record)),
        // Written by another version of the program: nobody asked for it by name.
        Err(error) => {
            terminal::complain(&format!("the last measurement is left out: {error}"));
            Ok(None)
        }
    }
}

/// The command, to be copied.
fn command_line(args: &PageArgs) -> String {
    match &args.measured {
        Some(path) => shell_words::join(["cargo", "lab", "page", "--measured", &path.to_string_lossy()]),
        None => "cargo lab page".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_workspace_is_relative() {
        let root = workspace::root().unwrap();
        assert_eq!(way(&root.join("common/page/index.html"), &root).unwrap(), "../../");
        assert_eq!(way(&root.join("index.html"), &root).unwrap(), "./");
        let outside = way(&root.parent().unwrap().join("index.html"), &root).unwrap();
        assert_eq!(outside, format!("{}/", root.file_name().unwrap().to_string_lossy()));
    }

    #[test]
    fn an_address_ends_with_one_slash() {
        assert_eq!(address("https://example.org/blob/main//").unwrap(), "https://example.org/blob/main/");
        assert!(address("javascript:alert(1)").is_err());
    }
}
