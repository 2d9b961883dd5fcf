//! exercises/src/servers.rs: every starter and every solution as a module of one program.
//!
//! Invariant: the modules are declared as rustfmt wants them and as rustfmt finds them, so that `cargo fmt` formats the
//! exercises too.

use std::fmt::Write;

use crate::course::Exercise;

/// The file, from the workspace's root.
pub const PATH: &str = "exercises/src/servers.rs";

/// The chapters whose API every platform has (kqueue's by the stand-in). An exercise of another chapter needs Linux.
const EVERYWHERE: &[&str] = &["01-select", "02-poll", "05-kqueue"];

const HEAD: &str = "\
//! The exercises' servers, by the paths of their files.
//!
//! Written by `cargo lab docs` from the folders and from the chapter that each exercise.toml names.

use exercises::program::Main;

";

/// The whole file.
pub fn source(exercises: &[Exercise]) -> String {
    let mut source = String::from(HEAD);
    // In rustfmt's order.
    for which in ["solution", "starter"] {
        for exercise in exercises {
            let (name, number) = (&exercise.name, exercise.number);
            let condition = condition(exercise, "");
            let _ = writeln!(source, "{condition}#[path = \"../{name}/{which}.rs\"]\nmod {which}_{number:02};");
        }
    }
    source += "\n/// The servers of this platform.\npub const SERVERS: &[(&str, Main)] = &[\n";
    for exercise in exercises {
        for which in ["starter", "solution"] {
            let (name, number) = (&exercise.name, exercise.number);
            let condition = condition(exercise, "    ");
            let _ = writeln!(source, "{condition}    (\"{name}/{which}\", {which}_{number:02}::main),");
        }
    }
    source + "];\n"
}

fn condition(exercise: &Exercise, indent: &str) -> String {
    if EVERYWHERE.contains(&exercise.about.chapter.as_str()) {
        return String::new();
    }
    format!("{indent}#[cfg(target_os = \"linux\")]\n")
}
