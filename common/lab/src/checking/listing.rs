//! The servers and the checks there are, as `cargo lab check --list` shows them.
//!
//! Invariant: a server stands under the word that selects it.

use std::fmt::Write;

use harness::{BROKEN, CHAPTERS, Check, Lack, Symptom, VARIANTS, Variant};
use serde::Serialize;

use crate::terminal::{self, Palette};

/// One check in `--list --json`.
#[derive(Serialize)]
struct CheckJson {
    group: &'static str,
    name: &'static str,
    check: String,
    clause: u8,
    about: &'static str,
    alone: bool,
    long: bool,
}

/// The chapters, the variants with their declared differences, and what is broken on purpose.
pub fn servers(width: usize, palette: Palette) -> String {
    let mut out = format!("{}\n", palette.heading("servers"));
    for chapter in CHAPTERS {
        let _ = writeln!(out, "  {}", chapter.folder);
    }
    let _ = writeln!(out, "{}", palette.heading("variants (selected by name, and all of them by --all)"));
    VARIANTS.iter().for_each(|variant| out += &listed(variant, width, palette));
    let _ = writeln!(out, "{}", palette.heading("broken on purpose (selected by name only)"));
    BROKEN.iter().for_each(|variant| out += &listed(variant, width, palette));
    out
}

fn listed(variant: &Variant, width: usize, palette: Palette) -> String {
    let program = [&[variant.example][..], variant.args].concat().join(" ");
    let mut out = format!("  {}  {}\n", variant.name, palette.faint(&format!("{}: {program}", variant.folder)));
    for (what, reason) in variant.differs {
        out += &terminal::wrap_lines(&format!("      differs in {what}: {reason}"), width);
    }
    for Lack { what, fails, .. } in variant.lacks {
        let checks = terminal::count(fails.len(), "check");
        out += &terminal::wrap_lines(&format!("      lacks {what} (fails {checks})"), width);
    }
    out
}

/// The checks by groups, each with its clause and its line.
pub fn checks(checks: &[&Check], width: usize, palette: Palette) -> String {
    let mut out = String::new();
    for (row, check) in checks.iter().enumerate() {
        if row == 0 || checks[row - 1].group != check.group {
            let _ = writeln!(out, "{}", palette.heading(check.group));
        }
        let long = if check.long { ", long: only with --long, or by its name" } else { "" };
        let _ = writeln!(out, "  {}  {}", check.name, palette.faint(&format!("clause {}{long}", check.clause)));
        out += &terminal::wrap_lines(&format!("      {}", check.about), width);
    }
    let _ = writeln!(out, "{}", palette.heading("symptoms (as exercise.toml, JSON and a failure's text spell them)"));
    out += &terminal::wrap_lines(&format!("  {}", Symptom::NAMES.join(" ")), width);
    out + &format!("{}\n", terminal::count(checks.len(), "check"))
}

/// The checks as an array of objects.
pub fn checks_json(checks: &[&Check]) -> String {
    let listed = checks.iter().map(|check| CheckJson {
        group: check.group,
        name: check.name,
        check: check.full_name(),
        clause: check.clause,
        about: check.about,
        alone: check.alone,
        long: check.long,
    });
    serde_json::to_string_pretty(&listed.collect::<Vec<_>>()).expect("strings and numbers only") + "\n"
}
