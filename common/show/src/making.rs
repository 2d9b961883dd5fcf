//! From servers to recordings: the script that fails first, then every gap of each server under it.
//!
//! Invariant: all servers of a page have one script, so that they can be read side by side. What was not tried is said in the
//! recording (`bound`).

use std::time::{Duration, Instant};

use explorer::record::{Event, Frame, RecordedRun, State};
use explorer::{Faults, Finding, Plan, Recording, Run, Schedule, Script, Subject, Verdict};
use lab::error::LabError;
use lab::explored::failure;
use lab::interrupt::Interrupt;

/// The search for a script that fails goes on to two placements only for so long. A reader waits for the page.
const SEARCH: Duration = Duration::from_secs(4);
/// One script of one server, with one placement.
const ONE_SCRIPT: Duration = Duration::from_secs(5);
/// All gaps of one server. What is not done by then is left out, and the page says so.
const ALL_GAPS: Duration = Duration::from_secs(20);

/// Something to show.
pub enum Shown {
    /// A recording that was made before.
    Recorded(Box<Recording>),
    /// A server.
    Server {
        /// How to start it.
        subject: Subject,
        /// It is an attempt at an exercise, so only its own source is shown.
        exercise: bool,
    },
}

/// How recordings are made.
pub struct Making<'a> {
    scripts: Vec<Script>,
    /// The script was asked for.
    given: bool,
    faults: Faults,
    replay: Option<&'a Schedule>,
    interrupt: &'a Interrupt,
}

impl<'a> Making<'a> {
    /// With these scripts, of which the simplest is first.
    pub fn new(
        scripts: Vec<Script>,
        given: bool,
        faults: Faults,
        replay: Option<&'a Schedule>,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self { scripts, given, faults, replay, interrupt }
    }

    /// A recording for each, in order.
    pub fn recordings(&self, shown: Vec<Shown>) -> Result<Vec<Recording>, LabError> {
        let servers = || {
            shown.iter().filter_map(|it| match it {
                Shown::Server { subject, .. } => Some(subject),
                Shown::Recorded(_) => None,
            })
        };
        let script = self.script(&servers().collect::<Vec<_>>())?;
        shown
            .into_iter()
            .map(|it| match it {
                Shown::Recorded(recording) => Ok(*recording),
                Shown::Server { subject, exercise } => {
                    let recording = self.recording(&subject, script)?;
                    Ok(if exercise { with_own_source(recording, &subject.name) } else { recording })
                }
            })
            .collect()
    }

    /// The first script under which one of the servers fails: first with one placement, then with two for as long as there
    /// is time. If none fails, the first script.
    fn script(&self, servers: &[&Subject]) -> Result<&Script, LabError> {
        let first = &self.scripts[0];
        if self.scripts.len() == 1 || servers.is_empty() {
            return Ok(first);
        }
        let end = Instant::now() + SEARCH;
        for placements in [1, 2] {
            for script in &self.scripts {
                for subject in servers {
                    let left = end.saturating_duration_since(Instant::now());
                    if placements > 1 && left.is_zero() {
                        return Ok(first);
                    }
                    // What a signal does is this repository's own choice.
                    let ends_by_signal = script.steps.iter().any(|it| matches!(it, explorer::script::Step::Signal(_)));
                    if ends_by_signal && !subject.own && !self.given {
                        continue;
                    }
                    let time = if placements > 1 { left } else { ONE_SCRIPT };
                    if self.finding(subject, script, placements, time)?.is_some() {
                        return Ok(script);
                    }
                }
            }
        }
        Ok(first)
    }

    fn plan<'p>(&'p self, subject: &'p Subject, script: &'p Script, placements: usize, time: Duration) -> Plan<'p> {
        Plan {
            subject,
            script,
            faults: self.faults,
            max_placements: placements,
            always: 0,
            max_runs: None,
            max_time: Some(time),
        }
    }

    fn finding(
        &self,
        subject: &Subject,
        script: &Script,
        placements: usize,
        time: Duration,
    ) -> Result<Option<Finding>, LabError> {
        let plan = self.plan(subject, script, placements, time);
        let explored = explorer::explore(&plan, self.interrupt.flag(), &|_| {});
        let explored = explored.map_err(|error| failure(self.interrupt, &error))?;
        self.interrupt.check()?;
        Ok(explored.finding)
    }

    /// All gaps of a server under this script. The first run is the one of `--replay`, or one that fails.
    fn recording(&self, subject: &Subject, script: &Script) -> Result<Recording, LabError> {
        let plan = self.plan(subject, script, 1, ALL_GAPS);
        let recording = explorer::record_all(&plan, self.interrupt.flag(), &|_| {});
        let mut recording = recording.map_err(|error| failure(self.interrupt, &error))?;
        self.interrupt.check()?;
        if let Some(schedule) = self.replay {
            let run = explorer::replay(subject, script, self.faults, schedule, self.interrupt.flag());
            let run = run.map_err(|error| failure(self.interrupt, &error))?;
            recording = self.show_first(recording, subject, script, [Some(&run), None]);
        } else if recording.runs[0].verdict == Verdict::Ok
            && let Some(finding) = self.finding(subject, script, 2, SEARCH)?
        {
            recording = self.show_first(recording, subject, script, [Some(&finding.run), finding.passing.as_ref()]);
        }
        Ok(recording)
    }

    /// The recording with these runs in front of the others.
    fn show_first(
        &self,
        recording: Recording,
        subject: &Subject,
        script: &Script,
        runs: [Option<&Run>; 2],
    ) -> Recording {
        let mut runs: Vec<RecordedRun> = runs.into_iter().flatten().map(RecordedRun::from).collect();
        // The other runs lead to these texts, and are led to them again.
        runs[0].found.sources.extend(recording.sources);
        let is_new = |run: &RecordedRun| !runs.iter().any(|first| first.schedule == run.schedule);
        let others: Vec<RecordedRun> = recording.runs.into_iter().filter(is_new).collect();
        runs.extend(others);
        let passes = |run: &RecordedRun| run.verdict == Verdict::Ok;
        let passing = if passes(&runs[0]) { None } else { runs.iter().position(passes) };
        let whole = Recording::of_runs(&subject.name, script, self.faults, runs);
        Recording { passing, bound: recording.bound, ..whole }
    }
}

/// Without the texts of other files than the exercise's own: the attempt or the starter. A solution is never shown.
fn with_own_source(mut recording: Recording, name: &str) -> Recording {
    let is_own =
        |path: &str| path == format!("exercises/attempts/{name}.rs") || path.ends_with(&format!("{name}/starter.rs"));
    let kept: Vec<bool> = recording.sources.iter().map(|source| is_own(&source.path)).collect();
    let place = |at: usize| kept[at].then(|| kept[..at].iter().filter(|kept| **kept).count());
    each_frame(&mut recording, |frame| frame.source = frame.source.and_then(place));
    let mut at = 0;
    recording.sources.retain(|_| {
        at += 1;
        kept[at - 1]
    });
    recording
}

/// Changes every frame of a recording.
fn each_frame(recording: &mut Recording, mut change: impl FnMut(&mut Frame)) {
    for call in recording.runs.iter_mut().flat_map(|run| &mut run.events) {
        if let Event::Call(call) = call {
            call.frames.iter_mut().for_each(&mut change);
        }
    }
    each_state(recording, |state| {
        state.threads.iter_mut().flat_map(|thread| &mut thread.frames).for_each(&mut change);
    });
}

/// Changes every state of a recording.
pub fn each_state(recording: &mut Recording, mut change: impl FnMut(&mut State)) {
    for run in &mut recording.runs {
        for event in &mut run.events {
            match event {
                Event::Call(call) => change(&mut call.state),
                Event::Step(step) => change(&mut step.state),
                Event::Rest { state, .. } => change(state),
                Event::Preempted { .. } => {}
            }
        }
        run.end.iter_mut().for_each(&mut change);
    }
}
