//! What the page is made of.
//!
//! Invariant: a path names a file of the workspace, with `/` and without `..`. What is not there is an error with its name.

use std::fs;
use std::path::{Component, Path, PathBuf};

use explorer::Recording;
use figures::Record;

/// Everything that parts are made of.
#[derive(Debug)]
pub struct Inputs {
    /// The recordings by name, in the order in which the file has them.
    pub recordings: Vec<(String, Recording)>,
    /// What the reference machine measured.
    pub reference: Record,
    /// What the reader's own machine measured.
    pub own: Option<Record>,
    /// The files of the course.
    pub workspace: Workspace,
    /// The command that makes the page.
    pub command: String,
}

/// The files of the course.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    /// What stands before a file's path in a link: `../../`, or a repository's address.
    links: String,
}

impl Workspace {
    /// The files in `root`. `links` stands before a path in a link, and ends with `/`.
    pub fn new(root: impl Into<PathBuf>, links: impl Into<String>) -> Self {
        Self { root: root.into(), links: links.into() }
    }

    /// A file's text.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn text(&self, path: &str) -> Result<String, String> {
        fs::read_to_string(self.place(path)?).map_err(|error| format!("the page needs the file {path}: {error}"))
    }

    /// A link to a file or a folder, with an anchor or a line if `path` has one: `01-select/src/server.rs#L40`.
    ///
    /// # Errors
    /// If there is none.
    pub fn link(&self, path: &str) -> Result<String, String> {
        let (file, _) = path.split_once('#').unwrap_or((path, ""));
        match self.place(file)?.exists() {
            true => Ok(format!("{}{path}", self.links)),
            false => Err(format!("the page has a link to {file}, and there is no such file")),
        }
    }

    /// Whether this is a handout, which lacks what is for instructors. Then a sentence may name what is not there, and has no
    /// link.
    pub fn is_handout(&self) -> bool {
        !self.root.join("exercises/INSTRUCTORS.md").exists() && self.root.join("exercises/src").exists()
    }

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn names(&self, folder: &str) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(self.place(folder)?)
            .map_err(|error| format!("the page needs the folder {folder}: {error}"))?;
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn place(&self, path: &str) -> Result<PathBuf, String> {
        match Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
            true => Ok(self.root.join(path)),
            false => Err(format!("'{path}' names no file inside the workspace")),
        }
    }
}

impl Inputs {
    /// A recording, and its place among the data: the attribute `data-recording` of a player.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn recording(&self, name: &str) -> Result<(usize, &Recording), String> {
        let found = self.recordings.iter().enumerate().find(|(_, (own, _))| own == name);
        let (at, (_, recording)) = found.ok_or_else(|| format!("the page needs the recording '{name}'"))?;
        Ok((at, recording))
    }
}
