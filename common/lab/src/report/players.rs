//! Players of the explorer's runs in a report, where somebody can make them.
//!
//! Invariant: a report without players has all that a report with them has, but for the pictures of the runs.

use explorer::{Faults, Recording, Schedule, Script};
use harness::{Outcome, Report};
use markup::Markup;

use super::check::{CheckReport, Failed};
use crate::checking::servers::TestedServer;
use crate::interrupt::Interrupt;

/// More runs of one report are not recorded: each takes seconds.
const MOST: usize = 4;

/// What makes players. It is in another package, which has what a page needs; who only checks does not wait for it.
pub trait Players {
    /// The run, recorded anew, with all gaps of its script. `None` if that is not possible.
    fn record(&self, server: &TestedServer, run: &FoundRun, interrupt: &Interrupt) -> Option<Recording>;
    /// The player of the recording at this place, under this id.
    fn write(&self, page: &mut Markup, at: usize, recording: &Recording, id: &str);
    /// A file with this style and this `main`, and with what the players need.
    fn file(&self, title: &str, style: &str, main: &Markup, recordings: &[Recording]) -> String;
}

/// A run that the explorer has found.
#[derive(Debug)]
pub struct FoundRun {
    /// The clients' steps.
    pub script: Script,
    /// Which faults were made.
    pub faults: Faults,
    /// Where the steps came.
    pub schedule: Schedule,
}

impl FoundRun {
    /// From the arguments that repeat it: `--script 'close' --faults eintr --replay 0,1`.
    pub fn parse(arguments: &str) -> Option<Self> {
        let words = shell_words::split(arguments).ok()?;
        let value = |name: &str| words.iter().position(|it| it == name).and_then(|at| words.get(at + 1));
        let text = value("--script")?;
        let script = Script::standard(text).or_else(|| Script::parse("script", text).ok())?;
        let faults = value("--faults").map_or("", String::as_str);
        let has = |name: &str| faults.split([',', ' ']).any(|it| it == name);
        let faults = Faults { eintr: has("eintr"), econnaborted: has("econnaborted") };
        Some(Self { script, faults, schedule: Schedule::parse(value("--replay")?).ok()? })
    }
}

/// The arguments that repeat the explorer's run, if it was the explorer that found this.
pub fn explored(report: &Report) -> Option<&str> {
    let Outcome::Fail(failure) = &report.outcome else { return None };
    let replay = failure.steps.iter().find_map(|step| step.strip_prefix("replay: cargo lab explore "))?;
    replay.rfind("--script ").map(|at| &replay[at..])
}

/// The recordings of these failures, each with the failure's id.
pub fn recorded(
    report: &CheckReport<'_>,
    failures: &[Failed<'_>],
    players: &dyn Players,
    interrupt: &Interrupt,
) -> Vec<(String, Recording)> {
    let mut recorded = Vec::new();
    for failed in failures {
        if recorded.len() == MOST || interrupt.check().is_err() {
            break;
        }
        let server = &report.results.servers[failed.server];
        let run = explored(failed.report).and_then(FoundRun::parse);
        let recording = run.and_then(|run| players.record(server, &run, interrupt));
        recorded.extend(recording.map(|recording| (failed.id(), recording)));
    }
    recorded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_a_replay_are_a_run() {
        let run = FoundRun::parse("--script 'close' --faults eintr,econnaborted --replay 0,0,1").expect("a run");
        assert_eq!((run.script.name.as_str(), run.schedule.to_string().as_str()), ("close", "0,0,1"));
        assert!(run.faults.eintr && run.faults.econnaborted);
        let run = FoundRun::parse("--script 'c0 connect; c0 send 3' --replay 1").expect("a run");
        assert!(run.script.steps.len() == 2 && !run.faults.eintr);
        assert!(FoundRun::parse("--script 'c0 connect'").is_none());
    }
}
