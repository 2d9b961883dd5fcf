//! `cargo lab check --fuzz --json`: what scripts by chance showed of each server; and the lists of several parts, put
//! together.
//!
//! Invariant: the fields are those that `cargo lab check --help` names. A merged finding is of the script with the lowest
//! number, as one machine would have met it first.

use harness::fuzz::Fuzzed;
use serde::{Deserialize, Serialize};

use super::{agree, in_order, refuse};
use crate::error::LabError;
use crate::terminal::{self, Palette};

/// One server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FuzzedServer {
    /// Its name.
    pub name: String,
    /// The folder of a chapter.
    pub folder: Option<String>,
    /// The part of the seed's scripts that was played, if not all.
    pub shard: Option<String>,
    /// What came of it.
    #[serde(flatten)]
    pub fuzzed: Fuzzed,
}

/// What one machine would have written, from the parts of several. Each comes with the name of its file.
///
/// # Errors
/// If a part is missing, is there twice, or is of other servers or another seed.
pub fn merge(parts: &[(String, Vec<FuzzedServer>)]) -> Result<Vec<FuzzedServer>, LabError> {
    let mut said: Vec<(&str, Option<&str>)> = Vec::new();
    for (file, servers) in parts {
        let Some(first) = servers.first() else { return refuse(format!("{file} has no server")) };
        said.push((file, first.shard.as_deref()));
    }
    let order = in_order(&said)?;
    let Some((first_file, first)) = order.first().map(|place| &parts[*place]) else {
        return Err(LabError::usage("no file to merge; give the JSON of every part"));
    };
    for (file, part) in parts {
        let files = (first_file.as_str(), file.as_str());
        let names = |it: &[FuzzedServer]| it.iter().map(|server| server.name.as_str()).collect::<Vec<_>>().join(" ");
        agree(files, "the list of servers", &names(first), &names(part))?;
        for (a, b) in first.iter().zip(part) {
            agree(files, "the seed", &a.fuzzed.seed.to_string(), &b.fuzzed.seed.to_string())?;
        }
    }
    let server = |at: usize| {
        let parts: Vec<&FuzzedServer> = order.iter().map(|place| &parts[*place].1[at]).collect();
        merged_server(&parts)
    };
    Ok((0..first.len()).map(server).collect())
}

fn merged_server(parts: &[&FuzzedServer]) -> FuzzedServer {
    let all = || parts.iter().map(|it| &it.fuzzed);
    let mut undecided: Vec<(u64, String)> = all().flat_map(|it| it.undecided.clone()).collect();
    undecided.sort();
    let fuzzed = Fuzzed {
        seed: parts[0].fuzzed.seed,
        scripts: all().map(|it| it.scripts).sum(),
        steps: all().map(|it| it.steps).sum(),
        seconds: all().map(|it| it.seconds).sum(),
        undecided,
        // Where one machine could try something, something was tried.
        skipped: all().all(|it| it.skipped.is_some()).then(|| parts[0].fuzzed.skipped.clone()).flatten(),
        finding: all().filter_map(|it| it.finding.clone()).min_by_key(|it| it.number),
    };
    FuzzedServer { shard: None, fuzzed, ..parts[0].clone() }
}

/// For people: a paragraph for each server.
pub fn told_of_all(servers: &[FuzzedServer]) -> String {
    let paragraph = |server: &FuzzedServer| {
        let words = if server.folder.is_some() { server.name.as_str() } else { "--cmd '...'" };
        told(&server.name, words, &server.fuzzed, Played::ByChance)
    };
    servers.iter().map(paragraph).collect()
}

/// Which scripts were played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    /// Those of a seed.
    ByChance,
    /// The one that was given.
    Given,
}

/// What a person reads of one server. `words` name it on a command line.
pub fn told(name: &str, words: &str, fuzzed: &Fuzzed, played: Played) -> String {
    let palette = Palette::stdout();
    if let Some(reason) = &fuzzed.skipped {
        return format!("{} {name}: {reason}\n", palette.left_out("skipped:"));
    }
    let (scripts, seconds) = (fuzzed.scripts, fuzzed.seconds);
    let tried = match played {
        Played::Given if scripts == 1 => "the script, played once".to_owned(),
        Played::Given => format!("the script, played {scripts} times"),
        Played::ByChance => {
            format!("seed {}, {scripts} scripts, {} steps in {seconds:.0} s", fuzzed.seed, fuzzed.steps)
        }
    };
    let mut out = String::new();
    match (fuzzed.explain(), &fuzzed.finding) {
        (Some(story), Some(finding)) => {
            let story = match terminal::stdout_is_terminal() {
                true => terminal::wrap_lines(&story, terminal::width()),
                false => story,
            };
            out += &format!("{} {name}: {tried}\n{story}", palette.bad("FAIL"));
            out += &format!("  again: cargo lab check {words} --fuzz --replay '{}'\n", finding.script);
        }
        _ => out += &format!("{name}: {tried}, no failure\n"),
    }
    out + &undecided(fuzzed, played)
}

/// The scripts that say nothing, by their reasons.
fn undecided(fuzzed: &Fuzzed, played: Played) -> String {
    let mut reasons: Vec<(&str, Vec<u64>)> = Vec::new();
    for (number, why) in &fuzzed.undecided {
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, numbers)) => numbers.push(*number),
            None => reasons.push((why, vec![*number])),
        }
    }
    let line = |(why, numbers): &(&str, Vec<u64>)| {
        let count = match played {
            Played::Given => terminal::count(numbers.len(), "run"),
            Played::ByChance => {
                format!("{} (number {} is the first)", terminal::count(numbers.len(), "script"), numbers[0])
            }
        };
        format!("  {count} without a verdict: {why}\n")
    };
    reasons.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use harness::fuzz::Finding;
    use harness::{Outcome, Report};

    use super::*;

    fn part(shard: &str, scripts: u64, found: Option<u64>) -> (String, Vec<FuzzedServer>) {
        let finding = found.map(|number| Finding {
            number,
            steps: 4,
            script: format!("c0 connect; c0 send {number}"),
            runs: 3,
            failed: 3,
            report: Report { check: "fuzz::x".into(), clause: 2, seconds: 0.0, outcome: Outcome::Pass },
        });
        let fuzzed = Fuzzed {
            seed: 7,
            scripts,
            steps: 10 * scripts,
            seconds: 1.0,
            undecided: vec![(scripts, "busy".into())],
            skipped: None,
            finding,
        };
        let server = FuzzedServer { name: "poll".into(), folder: None, shard: Some(shard.into()), fuzzed };
        (format!("{}.json", shard.replace('/', "-")), vec![server])
    }

    #[test]
    fn parts_in_any_order_make_the_whole() {
        let whole = merge(&[part("2/2", 9, None), part("1/2", 8, None)]).unwrap();
        let Fuzzed { scripts, steps, undecided, finding, .. } = &whole[0].fuzzed;
        assert_eq!((*scripts, *steps, finding.is_none(), whole[0].shard.is_none()), (17, 170, true, true));
        assert_eq!(undecided.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [8, 9]);
        assert!(told_of_all(&whole).contains("poll: seed 7, 17 scripts, 170 steps in 2 s, no failure"));
    }

    #[test]
    fn the_finding_is_the_script_with_the_lowest_number() {
        let whole = merge(&[part("1/3", 8, Some(31)), part("2/3", 8, Some(14)), part("3/3", 8, None)]).unwrap();
        assert_eq!(whole[0].fuzzed.finding.as_ref().map(|it| it.number), Some(14));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let changed = |change: fn(&mut FuzzedServer)| {
            let mut other = part("2/2", 8, None);
            change(&mut other.1[0]);
            merge(&[part("1/2", 8, None), other]).unwrap_err().message
        };
        let refusals = [
            (changed(|it| it.fuzzed.seed = 8), "the seed is 7 and 8"),
            (changed(|it| it.name = "select".into()), "the list of servers is poll and select"),
            (changed(|it| it.shard = None), "2-2.json is no part"),
        ];
        for (refusal, words) in refusals {
            assert!(refusal.contains(words) && refusal.ends_with("nothing was merged"), "{words}: {refusal}");
        }
    }
}
