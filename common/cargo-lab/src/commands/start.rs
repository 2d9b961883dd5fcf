//! `cargo lab start`: a copy of a starter to work on.
//!
//! Invariant: an attempt that exists is never overwritten.

use std::process::ExitCode;

use crate::course::{Course, Exercise, any_check, attempt};
use crate::error::LabError;
use crate::terminal::{self, Palette};
use crate::workspace::shown;

/// Begin an exercise: copy its starter to exercises/attempts
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// The exercise (08, 08_nfds, nfds) [default: the first one that is not begun]
    exercise: Option<String>,
}

impl StartArgs {
    /// For the exercise of this name.
    pub fn of(name: &str) -> Self {
        Self { exercise: Some(name.to_owned()) }
    }
}

/// Copies the starter, and tells the exercise's story.
pub fn run(args: &StartArgs) -> Result<ExitCode, LabError> {
    let course = Course::load(any_check)?;
    let chosen = course.named_or_new(args.exercise.as_deref())?;
    let exercise = &course.exercises[chosen.at];
    let edit = if attempt::start(exercise)? { "edit" } else { "it was begun before; it is" };
    let (about, number, path) = (&exercise.about, exercise.number, shown(&exercise.attempt()));
    let (points, minutes) =
        (terminal::count(about.points as usize, "point"), terminal::count(about.minutes as usize, "minute"));
    let palette = Palette::stdout();
    terminal::print(&format!(
        "{}{}  {}\n\n{}\n\n{edit} {path}\ncheck it: cargo lab check {number:02}, \
         or at every save: cargo lab watch {number:02}\nrun it: {}\n",
        chosen.said(&course),
        palette.heading(&format!("{number:02} {}", about.title)),
        palette.faint(&format!("{}, {points}, about {minutes}", about.chapter)),
        paragraphs(&story(exercise), terminal::width()),
        by_hand(exercise),
    ));
    Ok(ExitCode::SUCCESS)
}

/// The command that runs the attempt as a server, as an example of the package of all attempts.
fn by_hand(exercise: &Exercise) -> String {
    let package = "--manifest-path exercises/attempts/Cargo.toml --target-dir target";
    format!("cargo run {package} --example {}", exercise.name)
}

/// The README's text, without the title above it and the commands below it.
fn story(exercise: &Exercise) -> String {
    let readme = std::fs::read_to_string(exercise.file("README.md")).unwrap_or_default();
    let lines: Vec<&str> = readme.lines().skip(1).take_while(|line| !line.starts_with("```")).collect();
    links_as_paths(&lines.join("\n"), exercise)
}

/// `[text](../src/ring.rs)` as `text (exercises/src/ring.rs)`: on a terminal nobody can follow a link.
fn links_as_paths(text: &str, exercise: &Exercise) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, (words, (target, after)))) = rest.split_once('[').and_then(|(before, link)| {
        Some((before, link.split_once("](").and_then(|(words, link)| Some((words, link.split_once(')')?)))?))
    }) {
        let path = exercise.file(target).canonicalize().map_or_else(|_| target.to_owned(), |path| shown(&path));
        out += &format!("{before}{words} ({path})");
        rest = after;
    }
    out + rest
}

/// Wraps each line of the story, which is a paragraph.
fn paragraphs(story: &str, width: usize) -> String {
    let wrapped: Vec<String> = story.trim().lines().map(|line| terminal::wrap(line, width).join("\n")).collect();
    wrapped.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_shown_as_the_path_from_the_root() {
        let exercises = crate::course::load(&crate::workspace::root().unwrap().join("exercises"), any_check).unwrap();
        let text = "by [`a`](../src/select.rs), and [b](nowhere). [c";
        assert_eq!(links_as_paths(text, &exercises[0]), "by `a` (exercises/src/select.rs), and b (nowhere). [c");
    }
}
