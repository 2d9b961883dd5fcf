//! `cargo lab handout`: what students get of the course.
//!
//! Invariant: no attempt is touched, and no file that somebody has changed in the handout. Nothing is written into a folder
//! that is neither empty nor a handout.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use cargo_lab::course::handout::{FILE, Handout};

use crate::class::grader;
use crate::class::handout::{self as parts, Piece};
use crate::course;
use crate::error::LabError;
use crate::{selection, terminal, workspace};

const EXAMPLES: &str = "\
Examples:
  cargo lab handout ../handout                        all exercises
  cargo lab handout ../handout --only 07 08           two of them
  cargo lab handout ../handout --chapters 01 02       those of two chapters

The handout is a workspace of its own. In it the students' commands work: list, start, check, watch, hint, diff, explore, \
and cargo test --workspace. It has no solutions, no wrong fixes, no tests of the harness itself, and nothing for instructors. \
If git is there, a new handout is a repository with one commit.

Called again with the same folder, the command brings what is new in the course. It touches no attempt, and no file that was \
changed in the handout: it names such files.";

/// Write the folder that students get: the course without its solutions
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct HandoutArgs {
    /// The folder: new, empty, or an earlier handout
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Only these exercises, by number or name
    #[arg(long, value_name = "NN", num_args = 1..)]
    only: Vec<String>,
    /// Only the exercises of these chapters
    #[arg(long, value_name = "CHAPTER", num_args = 1.., conflicts_with = "only")]
    chapters: Vec<String>,
}

/// What one run has done.
#[derive(Debug, Default)]
struct News {
    written: usize,
    removed: usize,
    kept: Vec<String>,
}

/// Writes the handout, or brings it up to date.
pub fn run(args: &HandoutArgs) -> Result<ExitCode, LabError> {
    let root = workspace::root()?;
    let exercises_folder = root.join("exercises");
    if Handout::load(&exercises_folder)?.is_some() {
        return Err(LabError::failed("this is a handout itself; hand out from the course"));
    }
    let all = course::of_teacher(&root)?;
    let mut chosen = course::exercise::chosen(all, &args.only)?;
    if !args.chapters.is_empty() {
        let folders = chapters(&args.chapters)?;
        chosen.retain(|exercise| folders.contains(&exercise.about.chapter.as_str()));
    }
    let before = place(&args.folder, &root)?;
    let names: Vec<String> = chosen.iter().map(|exercise| exercise.name.clone()).collect();
    let pieces = parts::with_own(parts::pieces(&root, &names)?, &exercises_folder, &chosen)?;
    let is_unknown = |name: &&String| !pieces.contains_key(&format!("exercises/{name}/starter.rs"));
    if let Some(name) = names.iter().find(is_unknown) {
        return Err(LabError::failed(format!(
            "exercises/{name} is not in git, so it may be unfinished; git add it, or leave it out by --only"
        )));
    }
    let is_new = before.is_none();
    let (news, files) = write(&args.folder, &before.unwrap_or_default(), &pieces)?;
    let handout = Handout { commit: grader::commit(&root), exercises: names, files };
    let text = toml::to_string_pretty(&handout).map_err(|error| LabError::failed(format!("{FILE}: {error}")))?;
    let head = "# Written by `cargo lab handout`: the course's commit, and what was handed out.\n\n";
    let path = args.folder.join("exercises").join(FILE);
    fs::write(&path, head.to_owned() + &text).map_err(|error| cannot(&path, &error))?;
    let shown = args.folder.display();
    news.kept.iter().for_each(|file| {
        terminal::complain(&format!("kept: {file} was changed in the handout; delete it to get the course's"));
    });
    let count = |n: usize| terminal::count(n, "file");
    let removed = if news.removed > 0 { format!(", {} removed", count(news.removed)) } else { String::new() };
    terminal::print(&format!(
        "{shown}: {} from commit {}; {} written{removed}\n",
        terminal::count(handout.exercises.len(), "exercise"),
        handout.commit,
        count(news.written)
    ));
    if is_new {
        first_commit(&args.folder, &handout.commit);
    } else if news.written + news.removed > 0 && args.folder.join(".git").exists() {
        terminal::print(&format!("look at the news by: git -C {shown} status\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn cannot(path: &Path, error: &dyn std::fmt::Display) -> LabError {
    LabError::failed(format!("{}: {error}", path.display()))
}

/// The folders of chapters that words name.
fn chapters(words: &[String]) -> Result<Vec<&'static str>, LabError> {
    let folder = |word: &String| {
        selection::chapter(word).map(|chapter| chapter.folder).ok_or_else(|| {
            LabError::usage(format!(
                "--chapters {word}: there is no such chapter\n  chapters: {}",
                selection::chapter_folders()
            ))
        })
    };
    words.iter().map(folder).collect()
}

/// The handout that is in the folder already; nothing if the folder is new or empty.
fn place(folder: &Path, root: &Path) -> Result<Option<Handout>, LabError> {
    let refuse = |why: &str| Err(LabError::usage(format!("{}: {why}", folder.display())));
    let absolute = std::path::absolute(folder).map_err(|error| cannot(folder, &error))?;
    // A part of the path that does not exist yet cannot be resolved.
    let existing = absolute.ancestors().find_map(|it| it.canonicalize().ok()).unwrap_or_else(|| absolute.clone());
    if existing.starts_with(root) {
        return refuse("it lies in the course itself; give a folder beside it");
    }
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => refuse(&error.to_string()),
        Ok(mut entries) => match Handout::load(&folder.join("exercises"))? {
            Some(handout) => Ok(Some(handout)),
            None if entries.next().is_none() => Ok(None),
            None => refuse("it has files in it and is no handout (no exercises/handout.toml); give an empty folder"),
        },
    }
}

/// Writes the files that are new or differ, and removes those that are no longer handed out.
fn write(
    folder: &Path,
    before: &Handout,
    pieces: &BTreeMap<String, Piece>,
) -> Result<(News, BTreeMap<String, String>), LabError> {
    let (mut news, mut files) = (News::default(), BTreeMap::new());
    for (name, piece) in pieces {
        let path = folder.join(name);
        let now = Piece::on_disk(&path);
        let digest = piece.digest().to_string();
        if now.as_ref() == Some(piece) {
            files.insert(name.clone(), digest);
            continue;
        }
        // What was handed out and is not as it was has been changed by somebody. A file that was deleted comes back.
        let is_ours = now.as_ref().is_none_or(|now| before.files.get(name) == Some(&now.digest().to_string()));
        if !is_ours {
            news.kept.push(name.clone());
            files.extend(before.files.get(name).map(|digest| (name.clone(), digest.clone())));
            continue;
        }
        piece.write(&path).map_err(|error| cannot(&path, &error))?;
        news.written += 1;
        files.insert(name.clone(), digest);
    }
    for (name, digest) in before.files.iter().filter(|(name, _)| !pieces.contains_key(*name)) {
        let path = folder.join(name);
        match Piece::on_disk(&path) {
            Some(now) if now.digest().to_string() == *digest => {
                fs::remove_file(&path).map_err(|error| cannot(&path, &error))?;
                // An exercise's folder goes with its last file.
                let _ = path.parent().map(fs::remove_dir);
                news.removed += 1;
            }
            Some(_) => news.kept.push(name.clone()),
            None => {}
        }
    }
    Ok((news, files))
}

/// Makes a repository with one commit. Where git is missing, or does not want to, that is said.
fn first_commit(folder: &Path, commit: &str) {
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(folder).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // The folder may lie in another repository, and git may be called from a hook of one.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(name);
        }
        git.output().ok()
    };
    let says_who = git(&["config", "user.email"]).is_some_and(|output| output.status.success());
    let message = format!("The course, from its commit {commit}");
    let mut words = vec!["commit", "--quiet", "-m", &message];
    if !says_who {
        words.splice(0..0, ["-c", "user.name=course", "-c", "user.email=course@localhost"]);
    }
    for words in [&["init", "--quiet"][..], &["add", "--all"], &words] {
        match git(words) {
            Some(output) if output.status.success() => {}
            Some(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                terminal::complain(&format!("git {} failed: {}", words[0], terminal::clean(said.trim(), 300)));
                return;
            }
            None => return terminal::complain("without git, the handout is a folder and no repository"),
        }
    }
}
