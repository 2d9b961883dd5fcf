//! The tables about the exercises: INSTRUCTORS.md, and what can be known of the kill matrix without a run.
//!
//! Invariant: titles, minutes, points and lessons are those of exercise.toml.

use std::fmt::Write;

use harness::checks::GROUPS;

use super::region;
use crate::course::Exercise;

/// INSTRUCTORS.md: the minutes of each session, and what each exercise teaches.
pub fn instructors(text: &str, exercises: &[Exercise]) -> Result<String, String> {
    let sessions = region::content(text, "sessions")?;
    let text = region::replaced(text, "sessions", &with_minutes(sessions, exercises)?)?;
    region::replaced(&text, "exercises", &lessons(exercises))
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

/// What the kill matrix in exercises/README.md says that is no longer so.
pub fn outdated_matrix(readme: &str, exercises: &[Exercise]) -> Vec<String> {
    const WRITES: &str = "'cargo lab matrix --write' runs it anew (a minute or two for each exercise)";
    let table: Vec<Vec<&str>> =
        readme.lines().filter(|line| line.starts_with("| ")).map(region::cells).filter(|row| row[0] != "---").collect();
    let Some((heads, rows)) = table.split_first() else {
        return vec![format!("exercises/README.md has no matrix: {WRITES}")];
    };
    let mut outdated = Vec::new();
    let names: Vec<&str> = exercises.iter().map(|exercise| exercise.name.as_str()).collect();
    if rows.iter().map(|row| row[0]).collect::<Vec<_>>() != names {
        outdated.push(format!("exercises/README.md: the matrix has other exercises; {WRITES}"));
    }
    for (column, group) in heads.iter().enumerate().skip(1) {
        let checks = harness::checks().filter(|check| check.group == *group).count();
        let is_known = GROUPS.contains(group);
        // `4/11`, in bold or not: of how many checks.
        let counts = rows.iter().filter_map(|row| row.get(column)?.trim_matches('*').split_once('/'));
        if !is_known || counts.map(|(_, of)| of).any(|of| of.parse() != Ok(checks)) {
            outdated
                .push(format!("exercises/README.md: '{group}' has {checks} checks, and the matrix other; {WRITES}"));
        }
    }
    outdated
}
