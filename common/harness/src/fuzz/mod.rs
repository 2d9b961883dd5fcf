//! A fuzz: what clients do by chance, and the contract as the judge.
//!
//! Scripts are made from a seed and played on servers, several on each as long as the server is at rest between them.
//! A failure is confirmed on a new server, and made as short as it can be.
//!
//! Invariant: a correct server never fails, however long the fuzz runs and however busy the machine is: what is judged
//! is a state, and what could not be judged is said.

mod generate;
mod parse;
mod play;
mod rest;
mod script;
mod shrink;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::check::{Outcome, Report, among_others};
use crate::failure::{Failure, Step, Stop, Symptom};
use crate::limit::{self, Limit};
use crate::subject::{Launch, Model, Subject};

pub use generate::{Profile, script};
use play::{Stage, kind};
pub use script::{Deed, Group, LANGUAGE, Script, Sockets};
use shrink::{Lab, Shrinker};

/// A new server after so many scripts, so that one that wears out slowly is found by the scripts that wear it out.
const ON_ONE_SERVER: usize = 60;
/// How often a failing script is played again.
const CONFIRMED: u32 = 5;

/// How much is to be tried.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where the scripts come from.
    pub seed: u64,
    /// Which of the scripts: part `.0` (from 0 on) of `.1` parts. Another machine plays another part.
    pub part: (u64, u64),
    /// No more scripts are begun after this.
    pub time: Duration,
    /// Nor after so many.
    pub scripts: u64,
    /// How many servers are at work at once.
    pub servers: usize,
    /// What a shorter script may take to find.
    pub shrinking: Duration,
}

/// What the fuzz is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many scripts and steps were played.
    Played {
        /// Scripts.
        scripts: u64,
        /// Their steps.
        steps: u64,
    },
    /// A failure is being made shorter.
    Shrinking {
        /// Runs so far.
        runs: u64,
        /// Steps of the shortest script so far.
        steps: usize,
    },
}

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fuzzed {
    /// The seed.
    pub seed: u64,
    /// Scripts that were played.
    pub scripts: u64,
    /// Their steps.
    pub steps: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Scripts that say nothing, and why: the script's number, and the reason.
    pub undecided: Vec<(u64, String)>,
    /// Why nothing could be tried, if so.
    pub skipped: Option<String>,
    /// The failure.
    pub finding: Option<Finding>,
}

/// A script that fails.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// The number of the script that failed first.
    pub number: u64,
    /// Its steps.
    pub steps: usize,
    /// The shortest script that fails, as text; `--replay` plays it.
    pub script: String,
    /// How often that one was played at last.
    pub runs: u32,
    /// And how often it failed.
    pub failed: u32,
    /// The failure.
    pub report: Report,
}

/// A failure as it was first seen.
struct Suspicion {
    number: u64,
    /// What was played on the same server, the failing script last.
    history: Vec<Script>,
    failure: Failure,
}

/// What the threads share.
struct Search<'a> {
    subject: &'a Subject,
    plan: Plan,
    profile: Profile,
    stop: &'a AtomicBool,
    over: AtomicBool,
    end: Instant,
    next: AtomicU64,
    scripts: AtomicU64,
    steps: AtomicU64,
    undecided: Mutex<Vec<(u64, String)>>,
    found: Mutex<Option<Suspicion>>,
}

/// What this server may be asked to bear.
pub fn profile(subject: &Subject) -> Profile {
    /// Servers with several descriptors for a connection, and several of them at once, share the harness's limit.
    const SHARE: u64 = 8;
    let stops = matches!(subject.launch, Launch::Command(_));
    let by_descriptors = (crate::trial::raise_fd_limit().saturating_sub(64) / SHARE).max(2) as u32;
    // Of a foreign server nobody knows how many it takes.
    let most = if subject.own { 300 } else { 40 };
    // One place is for the client that shows that others are served.
    let by_limit = subject.max_clients.map_or(most, |max| max.saturating_sub(1).max(1));
    let clients = most.min(by_descriptors).min(by_limit);
    Profile { stops, own: subject.own, clients }
}

/// Plays scripts until one fails or the plan is done. `tell` hears of the progress; `stop` ends all.
pub fn run(subject: &Subject, plan: Plan, stop: &AtomicBool, tell: &(dyn Fn(Progress) + Sync)) -> Fuzzed {
    let start = Instant::now();
    let mut fuzzed = {
        let _among_others = among_others();
        searched(subject, plan, stop, tell)
    };
    fuzzed.seconds = seconds(start);
    fuzzed
}

fn searched(subject: &Subject, plan: Plan, stop: &AtomicBool, tell: &(dyn Fn(Progress) + Sync)) -> Fuzzed {
    let search = Search::new(subject, plan, stop);
    // A server that runs already is one, and two scripts at once would meet each other on it.
    let servers = if search.profile.stops { plan.servers.max(1) } else { 1 };
    std::thread::scope(|scope| {
        for _ in 0..servers {
            scope.spawn(|| search.work(tell));
        }
    });
    let mut fuzzed = Fuzzed {
        seed: plan.seed,
        scripts: search.scripts.into_inner(),
        steps: search.steps.into_inner(),
        seconds: 0.0,
        undecided: search.undecided.into_inner().expect("no thread panicked"),
        skipped: None,
        finding: None,
    };
    let Some(suspicion) = search.found.into_inner().expect("no thread panicked") else { return fuzzed };
    if is_denied(subject, &suspicion.failure) {
        fuzzed.skipped = observe::io_uring_denied();
        return fuzzed;
    }
    if let Some(max) = limit_of(subject, &suspicion) {
        // A limit of clients is a policy, and scripts can stay below it.
        let limited = Subject { max_clients: Some(max), ..subject.clone() };
        let time = search.end.saturating_duration_since(Instant::now());
        return searched(&limited, Plan { time, ..plan }, stop, tell);
    }
    let about = format!("fuzz::seed {}, script {}", plan.seed, suspicion.number);
    fuzzed.finding = Some(confirm(subject, &plan, suspicion, about, stop, tell));
    fuzzed
}

/// How many clients a foreign server takes at once, if that is fewer than this script had.
fn limit_of(subject: &Subject, suspicion: &Suspicion) -> Option<u32> {
    let clients = suspicion.history.last().map_or(0, Script::clients);
    let foreign = !subject.own && subject.max_clients.is_none() && clients > 1;
    if !foreign || suspicion.failure.symptom == Symptom::Leak {
        return None;
    }
    match limit::of(subject, clients as usize + 1) {
        Limit::Policy(max) => Some(max),
        _ => None,
    }
}

/// Plays one script a few times, each time on a new server.
pub fn replay(subject: &Subject, script: &Script, runs: u32, stop: &AtomicBool) -> Fuzzed {
    crate::trial::raise_fd_limit();
    let _among_others = among_others();
    let start = Instant::now();
    let mut lab = Lab { subject, stop, runs: 0, undecided: Vec::new() };
    let mut failures = Vec::new();
    let mut played = 0;
    while played < runs && !stop.load(Ordering::Relaxed) {
        played += 1;
        failures.extend(lab.failure(script));
    }
    let mut fuzzed = Fuzzed {
        seed: 0,
        scripts: played.into(),
        steps: u64::from(played) * script.steps.len() as u64,
        seconds: seconds(start),
        undecided: lab.undecided.into_iter().map(|why| (0, why)).collect(),
        skipped: None,
        finding: None,
    };
    let failed = failures.len() as u32;
    match failures.into_iter().next() {
        Some(failure) if is_denied(subject, &failure) => fuzzed.skipped = observe::io_uring_denied(),
        Some(failure) => {
            fuzzed.finding = Some(Finding {
                number: 0,
                steps: script.steps.len(),
                script: script.to_string(),
                runs: played,
                failed,
                report: report("fuzz::replay".into(), failure),
            });
        }
        None => {}
    }
    fuzzed
}

fn seconds(start: Instant) -> f64 {
    (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

/// No ring for anybody is no fault of the server.
fn is_denied(subject: &Subject, failure: &Failure) -> bool {
    let ended = failure.symptom == Symptom::Exited && subject.model == Model::Completion;
    ended && observe::io_uring_denied().is_some()
}

impl<'a> Search<'a> {
    fn new(subject: &'a Subject, plan: Plan, stop: &'a AtomicBool) -> Self {
        Self {
            subject,
            plan,
            profile: profile(subject),
            stop,
            over: AtomicBool::new(false),
            end: Instant::now() + plan.time,
            next: AtomicU64::new(0),
            scripts: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            undecided: Mutex::default(),
            found: Mutex::default(),
        }
    }

    fn is_over(&self) -> bool {
        let stopped = self.stop.load(Ordering::Relaxed) || self.over.load(Ordering::Relaxed);
        stopped || Instant::now() > self.end || self.next.load(Ordering::Relaxed) >= self.plan.scripts
    }

    /// One server after the other.
    fn work(&self, tell: &(dyn Fn(Progress) + Sync)) {
        while !self.is_over() {
            let mut stage = match Stage::start(self.subject) {
                Ok(stage) => stage,
                Err(stop) => return self.judged(self.next.load(Ordering::Relaxed), Vec::new(), Err(stop)),
            };
            let mut history = Vec::new();
            let mut result = Ok(());
            let mut number = 0;
            while result.is_ok() && history.len() < ON_ONE_SERVER && !self.is_over() {
                let (part, of) = self.plan.part;
                number = part + of * self.next.fetch_add(1, Ordering::Relaxed);
                let script = generate::script(self.plan.seed, number, self.profile);
                result = stage.play(&script, self.end + Duration::from_secs(2));
                let steps = script.steps.len() as u64;
                history.push(script);
                let steps = self.steps.fetch_add(steps, Ordering::Relaxed) + steps;
                tell(Progress::Played { scripts: self.scripts.fetch_add(1, Ordering::Relaxed) + 1, steps });
            }
            self.judged(number, history, stage.judge(result));
        }
    }

    fn judged(&self, number: u64, history: Vec<Script>, result: Step) {
        match result {
            Ok(()) => {}
            // Whoever ends the fuzz ends the servers.
            _ if self.stop.load(Ordering::Relaxed) => {}
            Err(Stop::Fail(failure)) => {
                self.over.store(true, Ordering::Relaxed);
                let mut found = self.found.lock().expect("no thread panicked");
                found.get_or_insert(Suspicion { number, history, failure: *failure });
            }
            Err(Stop::Skip(why) | Stop::Broken(why)) => {
                let mut undecided = self.undecided.lock().expect("no thread panicked");
                // Whatever prevents every script is said, and not tried for ever.
                if undecided.len() >= 100 {
                    self.over.store(true, Ordering::Relaxed);
                }
                undecided.push((number, why));
            }
        }
    }
}

/// Plays it again on new servers, and makes it as short as it can be.
fn confirm(
    subject: &Subject,
    plan: &Plan,
    suspicion: Suspicion,
    about: String,
    stop: &AtomicBool,
    tell: &(dyn Fn(Progress) + Sync),
) -> Finding {
    let Suspicion { number, history, failure } = suspicion;
    let wanted = kind(failure.symptom);
    if history.is_empty() {
        // Before its first script a server has to serve one client, and this one does not.
        let script = "c0 connect; c0 send 1".parse().expect("a script");
        let Fuzzed { finding, .. } = replay(subject, &script, CONFIRMED, stop);
        let seen = Finding {
            number,
            steps: 2,
            script: script.to_string(),
            runs: 1,
            failed: 1,
            report: report(about, failure),
        };
        return finding.unwrap_or(seen);
    }
    let mut lab = Lab { subject, stop, runs: 0, undecided: Vec::new() };
    let last = history.last().cloned().unwrap_or_default();
    let (steps, mut found) = (last.steps.len(), None);
    // By itself; or else with all that came before it on the same server.
    for script in [last.clone(), Script::joined(&history)] {
        let rate = lab.rate(&script, CONFIRMED, wanted);
        if !rate.failures.is_empty() {
            found = Some((script, rate));
            break;
        }
    }
    let Some((script, rate)) = found else {
        // Seen once. A state is no matter of opinion, so it counts.
        let (script, runs) = (last.to_string(), 2 * CONFIRMED + 1);
        return Finding { number, steps, script, runs, failed: 1, report: report(about, failure) };
    };
    let shrinker = Shrinker::new(&mut lab, script, &rate, wanted, plan.shrinking);
    let shortest = shrinker.run(&|runs, steps| tell(Progress::Shrinking { runs, steps }));
    let mut rate = lab.rate(&shortest, CONFIRMED, wanted);
    for _ in 0..CONFIRMED {
        // It has failed when it was found; a rare failure may not do so five times in a row.
        if rate.failures.is_empty() {
            let more = lab.rate(&shortest, CONFIRMED, wanted);
            rate = shrink::Rate { runs: rate.runs + more.runs, failures: more.failures };
        }
    }
    let (runs, failed) = (rate.runs, rate.failures.len() as u32);
    let failure = rate.failures.into_iter().next().unwrap_or(failure);
    Finding { number, steps, script: shortest.to_string(), runs, failed, report: report(about, failure) }
}

fn report(check: String, failure: Failure) -> Report {
    Report { check, clause: clause_of(failure.symptom), seconds: 0.0, outcome: Outcome::Fail(failure) }
}

/// The clause that such a failure breaks.
fn clause_of(symptom: Symptom) -> u8 {
    match symptom {
        Symptom::EofLost | Symptom::Truncated => 3,
        Symptom::Reset | Symptom::Leak | Symptom::Exited => 4,
        Symptom::Blocked => 6,
        Symptom::Spinning => 7,
        Symptom::Starved => 8,
        Symptom::Contract => 1,
        _ => 2,
    }
}

impl Fuzzed {
    /// What a person reads about the finding: the script, how often it fails, the failure.
    pub fn explain(&self) -> Option<String> {
        let Finding { steps, script, runs, failed, report, .. } = self.finding.as_ref()?;
        let length = script.split("; ").count();
        let story = report.explain().unwrap_or_default();
        Some(format!(
            "{story}  the shortest script that fails, of {steps} steps at first and {length} now; it fails in {failed} of \
             {runs} runs:\n      {script}\n"
        ))
    }
}
