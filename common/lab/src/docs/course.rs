//! The tables of INSTRUCTORS.md.
//!
//! Invariant: titles, minutes, points and lessons are those of exercise.toml, and fixes are those of fixes.toml.

use std::fmt::Write;

use super::region;
use crate::course::{Exercise, fixes};

/// INSTRUCTORS.md: the minutes of each session, and what each exercise teaches.
pub fn instructors(text: &str, exercises: &[Exercise]) -> Result<String, String> {
    let sessions = region::content(text, "sessions")?;
    let text = region::replaced(text, "sessions", &with_minutes(sessions, exercises)?)?;
    let text = region::replaced(&text, "exercises", &lessons(exercises))?;
    region::replaced(&text, "fixes", &wrong_fixes(exercises)?)
}

/// The wrong fixes of each exercise, with what catches them and how many of the points they get at most.
fn wrong_fixes(exercises: &[Exercise]) -> Result<String, String> {
    let mut table =
        String::from("| exercise | the fix | misbehaves if | caught by | at most |\n|---|---|---|---|---|\n");
    for (exercise, fixes) in fixes::load(exercises).map_err(|error| error.message)? {
        for fix in &fixes.wrong {
            let share = if fix.most(exercise) > 0.5 { "3/4" } else { "1/2" };
            let checks: Vec<String> = fix.caught_by.iter().map(|check| format!("`{check}`")).collect();
            let (number, checks) = (exercise.number, checks.join("<br>"));
            let _ = writeln!(table, "| {number:02} | {} | {} | {checks} | {share} |", fix.idea, fix.misbehaves);
        }
    }
    Ok(table)
}

/// The sessions with their last column: the minutes of the exercises that the column before it names, in that order.
fn with_minutes(sessions: &str, exercises: &[Exercise]) -> Result<String, String> {
    let mut table = String::new();
    for (at, row) in sessions.lines().enumerate() {
        let cells = region::cells(row);
        let [session, read, room, _] = cells[..] else {
            return Err(format!("a session has four columns, and here are {}: {row}", cells.len()));
        };
        if at < 2 {
            let _ = writeln!(table, "{row}");
            continue;
        }
        let minutes = minutes_of(room, exercises).map_err(|wrong| format!("session {session}: {wrong}"))?;
        let _ = writeln!(table, "| {session} | {read} | {room} | {minutes} |");
    }
    Ok(table)
}

fn minutes_of(room: &str, exercises: &[Exercise]) -> Result<String, String> {
    let mut minutes = Vec::new();
    for word in room.split(|letter: char| !letter.is_ascii_digit()).filter(|word| word.len() == 2) {
        let exercise = exercises.iter().find(|exercise| word.parse() == Ok(exercise.number));
        minutes.push(exercise.ok_or_else(|| format!("there is no exercise {word}"))?.about.minutes.to_string());
    }
    Ok(minutes.join(" + "))
}

fn lessons(exercises: &[Exercise]) -> String {
    let mut table =
        String::from("| | | chapter | minutes | points | the sentence to take home |\n|---|---|---|---|---|---|\n");
    for exercise in exercises {
        let about = &exercise.about;
        let chapter = about.chapter.split('-').next().unwrap_or_default();
        let _ = writeln!(
            table,
            "| {} | [{}]({}/README.md) | {chapter} | {} | {} | {} |",
            exercise.number, about.title, exercise.name, about.minutes, about.points, about.lesson
        );
    }
    table
}
