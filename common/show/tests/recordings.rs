//! The committed recordings are what this machine records.
//!
//! Invariant: they are compared where they were made: on Linux and x86-64. Elsewhere, calls have other names.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use lab::interrupt::Interrupt;
use lab_show::recordings::{COMMITTED, PRINTED, record};

#[test]
fn a_committed_recording_is_what_is_recorded_now() {
    if let Err(why) = explorer::possible() {
        return eprintln!("skipped: {why}");
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    if root.join("exercises/handout.toml").exists() {
        return eprintln!("skipped: a handout lacks the mutants that some recordings are of");
    }
    let interrupt = Interrupt::watch().expect("signals");
    let mut differ = Vec::new();
    for it in COMMITTED {
        let committed = it.read().expect("a recording");
        let now = record(it, &interrupt).expect("it can be explored");
        if committed != now {
            differ.push(format!("{}: {}", it.name, first_difference(&committed.to_json(), &now.to_json())));
        }
    }
    assert!(differ.is_empty(), "make them anew (cargo lab show --write-recordings):\n{}", differ.join("\n"));
}

#[test]
fn what_an_example_printed_is_what_it_prints_now() {
    for it in PRINTED {
        let path = it.path().expect("the workspace");
        let committed = std::fs::read_to_string(&path).expect("it is committed");
        let now = it.print().expect("it runs");
        assert!(committed == now, "{}: {}", path.display(), first_difference(&committed, &now));
    }
}

fn first_difference(one: &str, other: &str) -> String {
    let at = one.lines().zip(other.lines()).position(|(one, other)| one != other);
    let at = at.unwrap_or_else(|| one.lines().count().min(other.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("its end").trim().to_owned();
    format!("line {}: committed {}, now {}", at + 1, line(one), line(other))
}
