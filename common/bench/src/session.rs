//! What an experiment gets: the programs, the turns, the time that is left.
//!
//! # Method
//! - Contestants take turns in one run (A B C A B C), so that what the machine does meanwhile meets all of them. The
//!   median of the rounds is reported, and its quartiles are drawn.
//! - Where CPU time is the claim, CPU time is measured (schedstat, getrusage) and not the clock.
//! - The server has one processor and the client another, if there are two ([`Session::start`], [`Session::alone`]).
//! - A turn that a neighbour disturbed (the hypervisor's steal, or other programs) is made again and counted.
//! - A contestant under two names shows the noise ([`Contestant::twin`], `stats::noise`). A difference inside it is a
//!   tie.
//! - Counts (calls, wakeups, bytes) are exact, and a `Point` says so.

use std::cell::Cell;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::Need;
use crate::server::{Contestant, Running};

/// One experiment's run.
#[derive(Debug)]
pub struct Session {
    quick: bool,
    programs: PathBuf,
    stop: Arc<AtomicBool>,
    deadline: Instant,
    /// See `Measured::repeated`.
    pub repeated: Cell<u32>,
    /// See `Measured::disturbed`.
    pub disturbed: Cell<u32>,
}

impl Session {
    /// A session that ends at `deadline`; `programs` is the folder of the release build.
    pub fn new(quick: bool, programs: &Path, stop: Arc<AtomicBool>, budget: Duration) -> Self {
        let (repeated, disturbed) = Default::default();
        Self { quick, programs: programs.to_owned(), stop, deadline: Instant::now() + budget, repeated, disturbed }
    }

    /// Whether the whole of all experiments has to end within two minutes: fewer rounds, fewer points. An experiment
    /// has about 9 seconds then, and about 75 otherwise.
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
        let _ = what;
    }

    /// A program of the release build: `epoll-lt`, `examples/multishot`. The build has the chapters, their examples,
    /// those of common/server, and the exercises.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.programs.join(name);
        if !path.is_file() {
            bail!("{} is not there; 'cargo lab measure' builds it", path.display());
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

    /// Starts a server on the server's processor.
    pub fn start(&self, contestant: &Contestant) -> Result<Running> {
        contestant.start()
    }

    /// Lets the contestants take turns, `rounds` times: `one` measures a contestant once. The result has the values of
    /// each contestant, by rounds; all have the same number.
    pub fn turns<C: Display, T>(
        &self,
        contestants: &[C],
        rounds: usize,
        mut one: impl FnMut(&C) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let mut values: Vec<Vec<T>> = contestants.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            if round >= 3 && self.time_left().is_zero() {
                break;
            }
            for (contestant, values) in contestants.iter().zip(&mut values) {
                self.check()?;
                self.step(&format!("{contestant}, round {} of {rounds}", round + 1));
                values.push(one(contestant)?);
            }
        }
        Ok(values)
    }

    /// Runs `one` until no neighbour disturbs it, as a turn of [`Session::turns`]: for what takes no turns.
    pub fn alone<T>(&self, mut one: impl FnMut() -> Result<T>) -> Result<T> {
        one()
    }
}

/// What this machine lacks, if anything: the reason of a skip.
pub fn missing(need: Need) -> Option<String> {
    match need {
        Need::IoUring => observe::io_uring_denied().map(|why| format!("io_uring is denied here: {why}")),
        Need::Ptrace => None,
        Need::Descriptors(needed) => {
            let limit = harness::trial::raise_fd_limit();
            (limit < needed).then(|| format!("needs {needed} file descriptors, and the hard limit is {limit}"))
        }
        Need::Cores(needed) => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
            (cores < needed).then(|| format!("needs {needed} processors, and there is {cores}"))
        }
    }
}
