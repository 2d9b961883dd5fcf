//! What an experiment gets: the programs, the turns, the time that is left.
//!
//! # Method
//! - Contestants take turns in one run (A B C A B C), so that what the machine does meanwhile meets all of them. The
//!   median of the rounds is reported, and its quartiles are drawn.
//! - Where CPU time is the claim, CPU time is measured (schedstat, or the CPU clock of a thread or process) and not the clock.
//! - The server has one processor and the client another, if there are two ([`Session::start`], [`Session::alone`]).
//! - A turn that a neighbour disturbed (the hypervisor's steal, or other programs) is made again and counted.
//! - A contestant under two names shows the noise ([`Contestant::twin`], `stats::noise`). A difference inside it is a
//!   tie.
//! - Counts (calls, wakeups, bytes) are exact, and a `Point` says so.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::Need;
use crate::cores::{self, Place};
use crate::machine::Spent;
use crate::progress::Progress;
use crate::server::{Contestant, Running};

/// Fewer rounds have no quartiles.
const FEWEST: usize = 3;
/// A turn is made again so often at most; then the neighbour belongs to the machine.
const AGAIN: u32 = 3;

/// A server of the course that is not beside this program.
#[derive(Debug)]
pub struct NotBuilt(PathBuf);

impl Display for NotBuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not there; 'cargo lab measure' builds it in a clone of the course", self.0.display())
    }
}

impl std::error::Error for NotBuilt {}

/// One experiment's run.
#[derive(Debug)]
pub struct Session {
    quick: bool,
    programs: PathBuf,
    stop: Arc<AtomicBool>,
    deadline: Instant,
    progress: Option<Rc<RefCell<Progress>>>,
    peers: Result<PathBuf, String>,
    /// See `Measured::repeated`.
    pub repeated: Cell<u32>,
    /// See `Measured::disturbed`.
    pub disturbed: Cell<u32>,
}

impl Session {
    /// A session with this `budget`; `programs` is the folder of the release build.
    pub fn new(quick: bool, programs: &Path, stop: Arc<AtomicBool>, budget: Duration) -> Self {
        let (repeated, disturbed) = Default::default();
        let (programs, deadline) = (programs.to_owned(), Instant::now() + budget);
        let peers = Err("they were not built".to_owned());
        Self { quick, programs, stop, deadline, progress: None, peers, repeated, disturbed }
    }

    /// With a line that shows the steps, and the folder of the peers' programs or why they are not there.
    pub fn with(self, progress: Rc<RefCell<Progress>>, peers: Result<PathBuf, String>) -> Self {
        Self { progress: Some(progress), peers, ..self }
    }

    /// Whether the whole of all experiments has to end within two minutes: fewer rounds, fewer points. An experiment
    /// has about 9 seconds then, and about 72 otherwise.
    pub fn quick(&self) -> bool {
        self.quick
    }

    /// How many rounds are usual.
    pub fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// What is left of this experiment's time. The rounds of [`Session::turns`] end early, from the third on, when none
    /// is left.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// An error if Ctrl-C was pressed: to be called at least every tenth of a second. A call that may wait needs a
    /// timeout; a child that this program forks itself needs PR_SET_PDEATHSIG.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Acquire), "interrupted");
        Ok(())
    }

    /// Shows what is being done: `poll, 1,000 idle`.
    pub fn step(&self, what: &str) {
        if let Some(progress) = &self.progress {
            progress.borrow().step(what);
        }
    }

    /// A program of the release build: `epoll-lt`, `examples/multishot`. The build has the chapters, their examples,
    /// those of common/server, and the exercises.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.programs.join(name);
        if !path.is_file() {
            bail!(NotBuilt(path));
        }
        Ok(path)
    }

    /// A server of the release build, with its own arguments: `epoll-lt`, `examples/dispatch --workers 1`. Its name is
    /// the last part of the path, with the arguments.
    pub fn contestant(&self, command: &str) -> Result<Contestant> {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let mut argv = vec![self.program(program)?.to_string_lossy().into_owned()];
        argv.extend(words.map(str::to_owned));
        Ok(Contestant::own(command.trim_start_matches("examples/"), argv))
    }

    /// The folder of the peers' programs.
    ///
    /// # Errors
    /// Why they are not there.
    pub fn peers(&self) -> Result<&Path, &str> {
        self.peers.as_deref().map_err(String::as_str)
    }

    /// Starts a server on the server's processor, if there are two or more. The calling thread has the client's from
    /// then on.
    pub fn start(&self, contestant: &Contestant) -> Result<Running> {
        let place = if contestant.anywhere { Place::Anywhere } else { Place::Server };
        cores::move_to(place);
        let running = contestant.start();
        cores::move_to(Place::Client);
        running
    }

    /// Lets the contestants take turns, `rounds` times: `one` measures a contestant once. The result has the values of
    /// each contestant, by rounds; all have the same number.
    pub fn turns<C: Display, T>(
        &self,
        contestants: &[C],
        rounds: usize,
        mut one: impl FnMut(&C) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        self.in_turn(contestants, rounds, FEWEST, |contestant| self.alone(|| one(contestant)))
    }

    /// As [`Session::turns`], for counts: a neighbour takes time and changes no count, so no turn is made again.
    pub fn counts<C: Display, T>(
        &self,
        contestants: &[C],
        rounds: usize,
        mut one: impl FnMut(&C) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        self.in_turn(contestants, rounds, 1, |contestant| {
            self.check()?;
            one(contestant)
        })
    }

    /// Once the time is over, no round begins beyond the `fewest`.
    fn in_turn<C: Display, T>(
        &self,
        contestants: &[C],
        rounds: usize,
        fewest: usize,
        mut one: impl FnMut(&C) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let mut values: Vec<Vec<T>> = contestants.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            if round >= fewest && self.time_left().is_zero() {
                break;
            }
            for (contestant, values) in contestants.iter().zip(&mut values) {
                self.step(&format!("{contestant}, round {} of {rounds}", round + 1));
                values.push(one(contestant)?);
            }
        }
        Ok(values)
    }

    /// Runs `one` again if a neighbour disturbed it, as a turn of [`Session::turns`]: for what takes no turns. Once the
    /// time is over, what was disturbed counts.
    pub fn alone<T>(&self, mut one: impl FnMut() -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            self.check()?;
            let before = Spent::now();
            let value = one()?;
            let disturbed = before.and_then(|before| Spent::now()?.disturbed_since(&before)).is_some();
            if disturbed && tries < AGAIN && !self.time_left().is_zero() {
                tries += 1;
                self.repeated.set(self.repeated.get() + 1);
                continue;
            }
            self.disturbed.set(self.disturbed.get() + u32::from(disturbed));
            return Ok(value);
        }
    }
}

/// What this machine lacks, if anything: the reason of a skip.
pub fn missing(need: Need) -> Option<String> {
    match need {
        Need::IoUring => observe::io_uring_denied().map(|why| format!("io_uring is denied here: {why}")),
        Need::Ptrace => untraceable(),
        Need::Descriptors(needed) => {
            let limit = harness::trial::raise_fd_limit();
            (limit < needed).then(|| format!("needs {needed} file descriptors, and the hard limit is {limit}"))
        }
        Need::Cores(needed) => {
            let cores = cores::count();
            (cores < needed).then(|| format!("needs {needed} processors, and there is {cores}"))
        }
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn untraceable() -> Option<String> {
    observe::ptrace::possible().err()
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn untraceable() -> Option<String> {
    Some("system calls are counted with ptrace(2), on Linux, x86-64 and aarch64".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(budget: Duration) -> Session {
        Session::new(true, Path::new("/nonexistent"), Arc::default(), budget)
    }

    #[test]
    fn contestants_take_turns_and_have_the_same_number_of_rounds() {
        let order = RefCell::new(String::new());
        let values = session(Duration::ZERO).turns(&["a", "b"], 5, |name| {
            order.borrow_mut().push_str(name);
            Ok(order.borrow().len())
        });
        // The time is over, so there are as few rounds as quartiles need.
        assert_eq!(values.unwrap(), [[1, 3, 5], [2, 4, 6]]);
        assert_eq!(order.into_inner(), "ababab");
    }

    #[test]
    fn after_an_interrupt_no_turn_begins() {
        let stop = Arc::new(AtomicBool::new(true));
        let session = Session::new(true, Path::new("/nonexistent"), stop, Duration::from_secs(1));
        assert!(session.turns(&["a"], 1, |_| -> Result<()> { panic!("it began") }).is_err());
    }

    #[test]
    fn a_program_that_was_not_built_is_named() {
        let error = session(Duration::ZERO).contestant("examples/nothing --workers 2").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/examples/nothing"), "{error}");
    }

    #[test]
    fn what_is_missing_is_said_with_the_numbers() {
        let why = missing(Need::Cores(100_000)).expect("no machine has so many");
        assert!(why.contains("100000"), "{why}");
        assert!(missing(Need::Descriptors(1)).is_none() && missing(Need::Descriptors(u64::MAX)).is_some());
    }
}
