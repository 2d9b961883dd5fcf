//! A run while it goes on: a bar for each server on a terminal, a line for each server elsewhere, and failures at once.
//!
//! Invariant: everything goes to stderr, and control codes go to terminals only.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use harness::declared::{Judged, judge};
use harness::fuzz::Progress;
use harness::{Check, Lack, Outcome, Report, notes};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::checking::estimate::Estimate;
use crate::checking::jobs::RunEvent;
use crate::checking::results::{OutcomeCounts, duration};
use crate::checking::servers::TestedServer;
use crate::terminal::{self, Palette};

const TICK: Duration = Duration::from_millis(200);
/// How often a line says how far a run is, where no line can be written over.
const LINE: Duration = Duration::from_secs(10);

/// What is shown of a run.
#[derive(Debug)]
pub struct RunProgress<'a> {
    lanes: Vec<ServerLane<'a>>,
    checks: &'a [&'static Check],
    /// Nothing where stderr is a file, a pipe or a terminal that cannot move its cursor.
    live: Option<MultiProgress>,
    palette: Palette,
    width: usize,
    groups: Vec<GroupTally<'a>>,
    estimate: Estimate,
}

/// A group's part: all its checks on all servers.
#[derive(Debug)]
struct GroupTally<'a> {
    name: &'a str,
    counts: OutcomeCounts,
    left: usize,
}

/// One server's part of what is shown.
#[derive(Debug)]
struct ServerLane<'a> {
    name: &'a str,
    lacks: &'static [Lack],
    /// The checks that have begun and not ended, the oldest first.
    running: Vec<usize>,
    counts: OutcomeCounts,
    done: usize,
    start: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl<'a> RunProgress<'a> {
    /// Nothing is shown before the first event.
    pub fn new(servers: &'a [TestedServer], checks: &'a [&'static Check]) -> Self {
        let lanes = servers.iter().map(|server| ServerLane {
            name: &server.subject.name,
            lacks: server.subject.lacks,
            running: Vec::new(),
            counts: OutcomeCounts::default(),
            done: 0,
            start: None,
            bar: None,
        });
        let width = servers.iter().map(|server| terminal::columns(&server.subject.name)).max().unwrap_or(0);
        let live = if terminal() { Some(MultiProgress::new()) } else { None };
        if let Some(live) = live.clone() {
            notes::print_by(Some(Box::new(move |line| drop(live.println(line)))));
        }
        Self {
            lanes: lanes.collect(),
            checks,
            live,
            palette: Palette::stderr(),
            width,
            groups: groups(checks, servers.len()),
            estimate: Estimate::new(checks, servers.len()),
        }
    }

    /// Shows what has happened.
    pub fn show(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Started(job) => self.started(job.server, job.check),
            // Told in full at its end.
            RunEvent::Failed(_) => {}
            RunEvent::Finished(job, report) => self.finished(job.server, job.check, report),
        }
    }

    /// Takes the bars away; what was printed stays.
    pub fn clear(&self) {
        if let Some(live) = &self.live {
            notes::print_by(None);
            let _ = live.clear();
        }
    }

    fn started(&mut self, server: usize, check: usize) {
        let lane = &mut self.lanes[server];
        if lane.start.is_none() {
            lane.start = Some(Instant::now());
            lane.bar = self.live.as_ref().map(|live| {
                // The bar appears at its first tick, when it has its place.
                let bar = live.add(bar(terminal::padded(lane.name, self.width), self.checks.len()));
                bar.enable_steady_tick(TICK);
                bar
            });
        }
        lane.running.push(check);
        lane.tell(self.checks, self.estimate.left().as_deref());
    }

    fn finished(&mut self, server: usize, check: usize, report: &Report) {
        let lane = &mut self.lanes[server];
        lane.running.retain(|running| *running != check);
        lane.counts.add(report, lane.lacks);
        lane.done += 1;
        if let Outcome::Fail(failure) = &report.outcome {
            let fail = match judge(lane.lacks, report) {
                Judged::AsDeclared => self.palette.left_out("lack"),
                _ => self.palette.bad("FAIL"),
            };
            let name = terminal::padded(lane.name, self.width);
            self.line(&format!("  {name}  {fail} {}: {}", report.check, failure.what));
        }
        self.estimate.finished(self.checks[check]);
        self.tally(check, report, self.lanes[server].lacks);
        let left = self.estimate.left();
        let lane = &mut self.lanes[server];
        lane.tell(self.checks, left.as_deref());
        if lane.done == self.checks.len() {
            if let (Some(bar), Some(live)) = (lane.bar.take(), &self.live) {
                bar.finish_and_clear();
                live.remove(&bar);
            }
            let took = duration(lane.start.map_or(0.0, |start| start.elapsed().as_secs_f64()));
            let (name, counts) = (terminal::padded(lane.name, self.width), lane.counts.show(self.palette));
            self.line(&format!("  {name}  {counts} in {took}"));
        }
    }

    /// Counts a check in its group, and says what came of the group with its last check.
    fn tally(&mut self, check: usize, report: &Report, lacks: &'static [Lack]) {
        // One group alone is what the run's own summary is about.
        if self.groups.len() < 2 {
            return;
        }
        let width = self.groups.iter().map(|group| group.name.len()).max().unwrap_or(0);
        let name = self.checks[check].group;
        let Some(group) = self.groups.iter_mut().find(|group| group.name == name) else { return };
        group.counts.add(report, lacks);
        group.left -= 1;
        if group.left == 0 {
            let counts = group.counts.show(self.palette);
            let left = self.estimate.left().map_or(String::new(), |left| format!("; {left}"));
            self.line(&format!("  {}  {counts}{left}", terminal::padded(name, width)));
        }
    }

    /// Prints a line that stays, above the bars.
    fn line(&self, line: &str) {
        match &self.live {
            Some(live) => drop(live.println(line)),
            None => terminal::complain(line),
        }
    }
}

impl ServerLane<'_> {
    fn tell(&self, checks: &[&Check], left: Option<&str>) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(self.done as u64);
        // The run waits for the oldest check.
        let running = self.running.first().map_or_else(String::new, |check| checks[*check].full_name());
        bar.set_message(left.map_or_else(|| running.clone(), |left| format!("{left}  {running}")));
    }
}

/// The groups of these checks, in order.
fn groups<'a>(checks: &[&'a Check], servers: usize) -> Vec<GroupTally<'a>> {
    let mut groups: Vec<GroupTally<'a>> = Vec::new();
    for check in checks {
        match groups.iter_mut().find(|group| group.name == check.group) {
            Some(group) => group.left += servers,
            None => groups.push(GroupTally { name: check.group, counts: OutcomeCounts::default(), left: servers }),
        }
    }
    groups
}

fn bar(name: String, checks: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("  {prefix}  {bar:20} {pos:>3}/{len} {elapsed:>4}  {wide_msg:.dim}");
    let style = style.expect("a valid template").progress_chars("━╸·");
    ProgressBar::new(checks as u64).with_style(style).with_prefix(name)
}

fn terminal() -> bool {
    Term::stderr().is_term() && !console::is_dumb()
}

/// What a fuzz is at: a line that changes, on terminals only.
#[derive(Debug)]
pub struct FuzzProgress {
    spinner: Option<ProgressBar>,
    seed: u64,
}

impl FuzzProgress {
    /// The fuzz of this server from this seed has begun.
    pub fn new(name: &str, seed: u64) -> Self {
        let spinner = || {
            let style = ProgressStyle::with_template("  {spinner} {prefix}  {elapsed:>4}  {wide_msg:.dim}");
            let style = style.expect("a valid template");
            let spinner = ProgressBar::new_spinner().with_style(style).with_prefix(name.to_owned());
            spinner.enable_steady_tick(TICK);
            spinner
        };
        Self { spinner: if terminal() { Some(spinner()) } else { None }, seed }
    }

    /// Shows how far it is.
    pub fn show(&self, progress: Progress) {
        let Some(spinner) = &self.spinner else { return };
        spinner.set_message(match progress {
            Progress::Played { scripts, steps } => format!("seed {}: {scripts} scripts, {steps} steps", self.seed),
            Progress::Shrinking { runs, steps } => format!("a failure: {steps} steps are left after {runs} runs"),
        });
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// What is waited for.
#[derive(Debug)]
pub struct Waiting {
    what: String,
    spinner: Option<ProgressBar>,
    /// When a line last said how far it is.
    told: Mutex<Instant>,
}

impl Waiting {
    fn new(what: String, spinner: Option<ProgressBar>) -> Self {
        Self { what, spinner, told: Mutex::new(Instant::now()) }
    }

    /// Shows how far it is. Elsewhere than on a terminal, a line says so now and then.
    pub fn so_far(&self, text: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(format!("{}: {text}", self.what));
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= LINE {
            *told = Instant::now();
            terminal::complain(&format!("{}: {text}", self.what));
        }
    }

    /// Prints a result meanwhile.
    pub fn print(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| terminal::print(text)),
            None => terminal::print(text),
        }
    }
}

/// Shows what is waited for, until `wait` returns: a line that changes on a terminal, and elsewhere what `wait` says now
/// and then.
pub fn waiting<T>(what: String, wait: impl FnOnce(&Waiting) -> T) -> T {
    if !terminal() {
        return wait(&Waiting::new(what, None));
    }
    let style = ProgressStyle::with_template("  {spinner} {wide_msg} {elapsed}").expect("a valid template");
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(what.clone());
    spinner.enable_steady_tick(TICK);
    let above = spinner.clone();
    notes::print_by(Some(Box::new(move |line| above.println(line))));
    let result = wait(&Waiting::new(what, Some(spinner.clone())));
    notes::print_by(None);
    spinner.finish_and_clear();
    result
}
