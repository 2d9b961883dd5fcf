//! What else a mutant fails, besides the checks that have to catch it: `consequences.toml`, which is recorded.
//!
//! Invariant: a recording only adds. That a listed check passes once proves nothing, since many depend on timing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::{fs, io};

use harness::checks::GROUPS;

use super::catalogue::MUTANTS;
use super::mutant::Mutant;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mutants/consequences.toml");
const HEAD: &str = "\
# What else each mutant fails, besides the checks that have to catch it: its consequences. `close::` is any of a group.
# Written by: MUTANTS=record cargo test -p harness --test mutants [NAME]
# A check that is not listed must not fail; so read what a recording adds: it is the harness's claim about that mutant.
";

type Consequences = BTreeMap<String, BTreeSet<String>>;

/// As the file says.
static LISTED: LazyLock<Consequences> =
    LazyLock::new(|| toml::from_str(include_str!("consequences.toml")).expect("consequences.toml is TOML"));
/// What a recording adds.
static NEW: Mutex<Consequences> = Mutex::new(BTreeMap::new());

/// The checks, or whole groups as `drain::`, that may fail on a mutant besides those that catch it.
pub fn listed(mutant: &Mutant) -> impl Iterator<Item = &'static str> {
    LISTED.get(&mutant.name()).into_iter().flatten().map(String::as_str)
}

/// A check failed on a mutant, and is not listed.
pub fn record(mutant: &Mutant, check: &str) {
    let mut new = NEW.lock().unwrap_or_else(PoisonError::into_inner);
    new.entry(mutant.name()).or_default().insert(check.to_owned());
}

/// Writes the file with what was recorded.
pub fn write() -> io::Result<()> {
    let new = NEW.lock().unwrap_or_else(PoisonError::into_inner);
    // As it is now, and not as it was compiled: another recording may have added to it.
    let on_disk: Consequences = toml::from_str(&fs::read_to_string(PATH)?).map_err(io::Error::other)?;
    let mut file = String::from(HEAD);
    for mutant in MUTANTS {
        let name = mutant.name();
        let mut checks = on_disk.get(&name).cloned().unwrap_or_default();
        checks.extend(new.get(&name).into_iter().flatten().cloned());
        let checks = with_whole_groups(mutant, checks);
        if checks.is_empty() {
            let _ = writeln!(file, "\n{name} = []");
            continue;
        }
        let lines: String = checks.iter().map(|check| format!("    \"{check}\",\n")).collect();
        let _ = writeln!(file, "\n{name} = [\n{lines}]");
    }
    fs::write(PATH, file)
}

/// A group of which every check fails is one entry.
fn with_whole_groups(mutant: &Mutant, mut checks: BTreeSet<String>) -> BTreeSet<String> {
    for group in GROUPS {
        let whole = format!("{group}::");
        let fails = |name: &String| checks.contains(name) || mutant.caught.iter().any(|caught| caught.check == *name);
        let mut names = harness::checks().filter(|check| check.group == *group).map(|check| check.full_name());
        if checks.contains(&whole) || names.all(|name| fails(&name)) {
            checks.retain(|check| !check.starts_with(&whole));
            checks.insert(whole);
        }
    }
    checks
}

/// How many of each group: `drain 3, close all`.
pub fn in_short(mutant: &Mutant) -> String {
    let of = |group: &str| listed(mutant).filter(|check| check.split("::").next() == Some(group)).count();
    let mut parts = Vec::new();
    for group in GROUPS {
        match of(group) {
            0 => {}
            _ if listed(mutant).any(|check| check == format!("{group}::")) => parts.push(format!("{group} all")),
            n => parts.push(format!("{group} {n}")),
        }
    }
    if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
}

/// Each entry is about a mutant and about a check or a group.
pub fn stale() -> Vec<String> {
    let is_known = |name: &str| match name.strip_suffix("::") {
        Some(group) => GROUPS.contains(&group),
        None => harness::all_checks().any(|check| check.full_name() == name),
    };
    let mut stale = Vec::new();
    for (mutant, checks) in LISTED.iter() {
        if !MUTANTS.iter().any(|it| it.name() == *mutant) {
            stale.push(format!("there is no mutant {mutant}"));
        }
        stale.extend(
            checks.iter().filter(|name| !is_known(name)).map(|name| format!("{mutant}: there is no check {name}")),
        );
    }
    stale
}
