//! `cargo lab explore --json`: what was explored, as an object; and the objects of several parts, put together.
//!
//! Invariant: the fields are those that `cargo lab explore --help` names. A merged script is complete only if it is
//! complete in every part, and its finding is the one that one machine would have come to first.

use explorer::{Coverage, Exploration, Finding, Run, Schedule, Script, Verdict, report};
use serde::{Deserialize, Serialize};

use super::{agree, in_order};
use crate::error::LabError;
use crate::terminal;

/// One server, and each script that was explored on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExplorationJson {
    /// The server's name.
    pub server: String,
    /// The part that was explored, if not the whole.
    pub shard: Option<String>,
    /// At most so many steps were placed.
    pub max_placements: usize,
    /// The faults that were added, as in `--faults`.
    pub faults: String,
    /// In the order in which they were explored.
    pub scripts: Vec<ScriptJson>,
}

/// One script.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScriptJson {
    name: String,
    script: String,
    runs: u64,
    shared_runs: u64,
    seconds: f64,
    complete: bool,
    placements: Option<usize>,
    cut: Option<String>,
    diverged: u64,
    finding: Option<FindingJson>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FindingJson {
    verdict: Verdict,
    what: String,
    diagnosis: String,
    replay: String,
    placements: usize,
    trace: Vec<TraceRowJson>,
    kernel: Vec<String>,
    passing: Option<PassingJson>,
}

/// The nearest schedule that passes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PassingJson {
    replay: String,
    trace: Vec<TraceRowJson>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct TraceRowJson {
    server: String,
    client: String,
    placed: bool,
}

impl ScriptJson {
    /// What came of exploring this script.
    pub fn new(script: &Script, explored: &Exploration) -> Self {
        let (placements, cut) = match &explored.coverage {
            Coverage::Complete(placements) => (Some(*placements), None),
            Coverage::Cut(why) => (None, Some(why.clone())),
        };
        Self {
            name: script.name.clone(),
            script: script.to_string(),
            runs: explored.runs,
            shared_runs: explored.shared_runs,
            seconds: explored.seconds,
            complete: cut.is_none() && explored.finding.is_none(),
            placements,
            cut,
            diverged: explored.diverged,
            finding: explored.finding.as_ref().map(finding),
        }
    }
}

fn finding(finding: &Finding) -> FindingJson {
    FindingJson {
        verdict: finding.verdict,
        what: finding.what.clone(),
        diagnosis: explorer::diagnose::diagnose(&finding.run),
        replay: finding.schedule.to_string(),
        placements: finding.run.placements(),
        trace: trace(&finding.run),
        kernel: finding.run.end.as_ref().map(report::state).unwrap_or_default(),
        passing: finding
            .passing
            .as_ref()
            .map(|run| PassingJson { replay: run.schedule().to_string(), trace: trace(run) }),
    }
}

fn trace(run: &Run) -> Vec<TraceRowJson> {
    let row = |row: report::Row| TraceRowJson { server: row.server, client: row.client, placed: row.placed };
    report::rows(run).into_iter().map(row).collect()
}

/// What one machine would have written, from the parts of several. Each comes with the name of its file.
///
/// # Errors
/// If a part is missing, is there twice, or explored another server, other scripts or another bound.
pub fn merge(parts: &[(String, ExplorationJson)]) -> Result<ExplorationJson, LabError> {
    let said: Vec<(&str, Option<&str>)> =
        parts.iter().map(|(file, part)| (file.as_str(), part.shard.as_deref())).collect();
    let order = in_order(&said)?;
    let Some((first_file, first)) = order.first().map(|place| &parts[*place]) else {
        return Err(LabError::usage("no file to merge; give the JSON of every part"));
    };
    for (file, part) in parts {
        let files = (first_file.as_str(), file.as_str());
        let scripts = |it: &ExplorationJson| {
            it.scripts
                .iter()
                .map(|script| format!("{}: {}", script.name, script.script))
                .collect::<Vec<_>>()
                .join(" / ")
        };
        agree(files, "the server", &first.server, &part.server)?;
        let faults = |it: &ExplorationJson| if it.faults.is_empty() { "none".into() } else { it.faults.clone() };
        agree(files, "--faults", &faults(first), &faults(part))?;
        agree(files, "--max-placements", &first.max_placements.to_string(), &part.max_placements.to_string())?;
        agree(files, "the list of scripts", &scripts(first), &scripts(part))?;
    }
    let script = |at: usize| {
        let parts: Vec<(&str, &ScriptJson)> = order
            .iter()
            .map(|place| (parts[*place].1.shard.as_deref().unwrap_or_default(), &parts[*place].1.scripts[at]))
            .collect();
        merged_script(&parts)
    };
    let scripts = (0..first.scripts.len()).map(script).collect();
    Ok(ExplorationJson { shard: None, scripts, ..first.clone() })
}

/// One script, from what each part says of it.
fn merged_script(parts: &[(&str, &ScriptJson)]) -> ScriptJson {
    let (_, first) = parts[0];
    let found = parts.iter().filter_map(|(_, it)| it.finding.as_ref()).min_by_key(|it| it.place_in_the_search());
    let cuts: Vec<String> =
        parts.iter().filter_map(|(shard, it)| it.cut.as_ref().map(|why| format!("{why} (part {shard})"))).collect();
    // A part that found a failing schedule ended there.
    let placements =
        found.map_or_else(|| parts.iter().filter_map(|(_, it)| it.placements).min(), |it| Some(it.placements));
    let divided: u64 = parts.iter().map(|(_, it)| it.runs.saturating_sub(it.shared_runs)).sum();
    ScriptJson {
        runs: first.shared_runs + divided,
        shared_runs: first.shared_runs,
        seconds: parts.iter().map(|(_, it)| it.seconds).sum(),
        complete: cuts.is_empty() && found.is_none(),
        placements: placements.filter(|_| cuts.is_empty()),
        cut: (!cuts.is_empty()).then(|| cuts.join("; ")),
        diverged: parts.iter().map(|(_, it)| it.diverged).sum(),
        finding: found.cloned(),
        ..first.clone()
    }
}

impl FindingJson {
    /// Where the search comes to this schedule: those with fewer placements first, then those whose placements come
    /// sooner.
    fn place_in_the_search(&self) -> (usize, Vec<(usize, u8)>) {
        let schedule = Schedule::parse(&self.replay).unwrap_or_default();
        let placed = schedule.0.iter().copied().enumerate().filter(|(_, choice)| *choice != 0);
        (self.placements, placed.collect())
    }
}

impl ExplorationJson {
    /// For people: a line for each script, and what was found.
    pub fn told(&self, width: usize) -> String {
        let mut out = format!("{}\n", self.server);
        for script in &self.scripts {
            out += &format!("{}\n", script.line());
        }
        for script in &self.scripts {
            let Some(found) = &script.finding else { continue };
            let verdict = found.verdict.to_string().to_uppercase();
            let story =
                format!("{}: {verdict}: {}. {}", script.name, found.what.trim_end_matches('.'), found.diagnosis);
            let replay = format!("again: --script '{}' --replay {}", script.script.trim(), found.replay);
            out += &format!("\n{}\n{replay}\n", terminal::wrap(story.trim_end(), width).join("\n"));
        }
        out
    }
}

impl ScriptJson {
    /// For people: `close        62 runs  0.50 s  COMPLETE at 2 placements  no finding`.
    pub fn line(&self) -> String {
        let coverage = match (&self.finding, &self.cut) {
            // A finding ends the search.
            (Some(found), _) => match found.placements {
                0 => "with no placement".to_owned(),
                n => format!("with {}", terminal::count(n, "placement")),
            },
            (None, Some(why)) => format!("CUT {why}"),
            (None, None) => format!("COMPLETE at {} placements", self.placements.unwrap_or_default()),
        };
        let found =
            self.finding.as_ref().map_or_else(|| "no finding".into(), |it| it.verdict.to_string().to_uppercase());
        let diverged = match self.diverged {
            0 => String::new(),
            n => format!("; {n} did not replay exactly"),
        };
        format!("{:<14}{:>6} runs {:>6.2} s  {coverage:<24}  {found}{diverged}", self.name, self.runs, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(shard: &str, runs: u64, found: Option<(usize, &str)>) -> (String, ExplorationJson) {
        let finding = found.map(|(placements, replay)| FindingJson {
            verdict: Verdict::LostWakeup,
            what: format!("lost at {replay}"),
            diagnosis: String::new(),
            replay: replay.into(),
            placements,
            trace: Vec::new(),
            kernel: Vec::new(),
            passing: None,
        });
        let script = ScriptJson {
            name: "close".into(),
            script: "c0 connect; c0 close".into(),
            runs,
            shared_runs: 10,
            seconds: 1.0,
            complete: finding.is_none(),
            placements: Some(3),
            cut: None,
            diverged: 1,
            finding,
        };
        let explored = ExplorationJson {
            server: "epoll-et".into(),
            shard: Some(shard.into()),
            max_placements: 3,
            faults: String::new(),
            scripts: vec![script],
        };
        (format!("{}.json", shard.replace('/', "-")), explored)
    }

    #[test]
    fn parts_that_find_nothing_are_complete_together() {
        let whole = merge(&[part("2/2", 50, None), part("1/2", 40, None)]).unwrap();
        let script = &whole.scripts[0];
        // Ten runs are made by every part.
        assert_eq!((script.runs, script.diverged, script.complete, whole.shard.is_none()), (80, 2, true, true));
        assert!(whole.told(100).contains("COMPLETE at 3 placements  no finding"), "{}", whole.told(100));
    }

    #[test]
    fn one_part_that_was_cut_leaves_the_whole_incomplete() {
        let mut cut = part("1/2", 40, None);
        cut.1.scripts[0].cut = Some("after 10.0 s at 3 placements".into());
        let whole = merge(&[cut, part("2/2", 50, None)]).unwrap();
        assert!(!whole.scripts[0].complete && whole.scripts[0].placements.is_none());
        assert_eq!(whole.scripts[0].cut.as_deref(), Some("after 10.0 s at 3 placements (part 1/2)"));
    }

    #[test]
    fn the_finding_is_the_first_of_the_whole_search() {
        let parts = [
            part("1/3", 20, Some((3, "0,1,1,1"))),
            part("2/3", 20, Some((2, "0,0,1,1"))),
            part("3/3", 20, Some((2, "0,1,0,0,1"))),
        ];
        let whole = merge(&parts).unwrap();
        let found = whole.scripts[0].finding.as_ref().unwrap();
        assert_eq!((found.replay.as_str(), whole.scripts[0].complete), ("0,1,0,0,1", false));
        assert!(whole.told(100).contains("again: --script 'c0 connect; c0 close' --replay 0,1,0,0,1"));
    }

    #[test]
    fn parts_of_other_explorations_are_refused() {
        let changed = |change: fn(&mut ExplorationJson)| {
            let mut other = part("2/2", 10, None);
            change(&mut other.1);
            merge(&[part("1/2", 10, None), other]).unwrap_err().message
        };
        let refusals = [
            (changed(|it| it.server = "poll".into()), "the server is epoll-et and poll"),
            (changed(|it| it.faults = "eintr".into()), "--faults is none and eintr"),
            (changed(|it| it.max_placements = 2), "--max-placements is 3 and 2"),
            (changed(|it| it.scripts.clear()), "the list of scripts is"),
            (changed(|it| it.shard = None), "2-2.json is no part"),
            (merge(&[part("1/2", 10, None)]).unwrap_err().message, "of 2 parts these are missing: 2/2"),
        ];
        for (refusal, words) in refusals {
            assert!(refusal.contains(words) && refusal.ends_with("nothing was merged"), "{words}: {refusal}");
        }
    }
}
