//! `cargo lab start`: a copy of a starter to work on.
//!
//! Invariant: what a student has written is never overwritten.

use std::process::ExitCode;

use crate::course::{Course, Standing, attempt};
use crate::error::LabError;
use crate::terminal::{self, Palette};
use crate::workspace;

/// Begin an exercise: a copy of its starter in exercises/attempts
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// The exercise (08, 08_nfds, nfds); the next one if none is given
    exercise: Option<String>,
}

impl StartArgs {
    /// For the exercise of this name.
    pub fn of(name: &str) -> Self {
        Self { exercise: Some(name.to_owned()) }
    }
}

/// Runs the command.
pub fn run(args: &StartArgs) -> Result<ExitCode, LabError> {
    let course = Course::load()?;
    let at = match &args.exercise {
        Some(word) => course.find(word)?,
        None => (0..course.exercises.len())
            .find(|at| course.standing(*at) == Standing::New)
            .ok_or_else(|| LabError::usage("every exercise is begun; see: cargo lab list"))?,
    };
    let exercise = &course.exercises[at];
    let palette = Palette::stdout();
    let (number, path) = (exercise.number, workspace::shown(&exercise.attempt()));
    let made = attempt::start(exercise)?;
    let readme = std::fs::read_to_string(exercise.file("README.md")).unwrap_or_default();
    // Its title stands in the head, and the commands below.
    let story: String = readme
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .fold(String::new(), |all, line| all + line + "\n");
    let about = &exercise.about;
    let head = format!("{number:02} {}", about.title);
    let (points, minutes) =
        (terminal::count(about.points as usize, "point"), terminal::count(about.minutes as usize, "minute"));
    terminal::print(&format!(
        "{}  {}\n\n{}\n\n{} {path}\ncheck it: cargo lab check {number:02}, or at every save: cargo lab watch {number:02}\n",
        palette.heading(&head),
        palette.faint(&format!("{}, {points}, about {minutes}", about.chapter)),
        paragraphs(&story, terminal::width()),
        if made { "edit" } else { "it was begun before; it is" },
    ));
    Ok(ExitCode::SUCCESS)
}

/// Each line of the story is a paragraph.
fn paragraphs(story: &str, width: usize) -> String {
    let wrapped: Vec<String> = story.trim().lines().map(|line| terminal::wrap(line, width).join("\n")).collect();
    wrapped.join("\n")
}
