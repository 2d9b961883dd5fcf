//! A server of this workspace that takes part in an experiment.
//!
//! Invariant: a server that was started ends when its [`Running`] is dropped, and on Ctrl-C.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use harness::server::{Options, Server};
use harness::{Stop, Subject};
use observe::Family;

use crate::load::Load;

/// A server that takes turns with others.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// The name of its series.
    pub name: String,
    /// It has threads that need a processor each: it is not kept on one.
    pub anywhere: bool,
    subject: Subject,
    options: Options,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Contestant {
    /// A program with this repository's command line (`--addr`), and more arguments.
    pub fn own(name: impl Into<String>, argv: Vec<String>) -> Self {
        let name = name.into();
        let subject = Subject { own: true, ..Subject::command(name.clone(), argv) };
        Self { name, anywhere: false, subject, options: Options::default() }
    }

    /// Under another name.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same server under another name: what it differs from itself is the noise.
    pub fn twin(&self) -> Self {
        Self { name: format!("{} again", self.name), ..self.clone() }
    }

    /// With all processors, because its threads run at the same time.
    pub fn on_all_cores(mut self) -> Self {
        self.anywhere = true;
        self
    }

    /// Starts it, where the thread that calls may run (a child inherits that).
    pub fn start(&self) -> Result<Running> {
        let server = Server::start(&self.subject, &self.options).map_err(|stop| anyhow!("{self}: {}", story(stop)))?;
        let process = server.process.with_context(|| format!("{self}: its process cannot be seen"))?;
        Ok(Running { addr: server.addr, process, _server: server })
    }
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its processes.
    pub process: Family,
    _server: Server,
}

impl Running {
    /// The CPU time of a round trip in microseconds, and how many there were: `load` runs for `window`. A round trip of each
    /// connection comes first, so that accepting them is no part of it.
    pub fn cpu_per_trip(&self, load: &Load, window: Duration) -> Result<(f64, u64)> {
        load.once()?;
        let before = self.cpu()?;
        let (trips, _) = load.run(window)?;
        Ok(((self.cpu()? - before).as_secs_f64() * 1e6 / trips as f64, trips))
    }

    /// The CPU time of all its threads so far.
    pub fn cpu(&self) -> Result<Duration> {
        cpu(self.process)
    }
}

/// Why a start went wrong.
pub fn story(stop: Stop) -> String {
    match stop {
        Stop::Skip(why) | Stop::Broken(why) => why,
        Stop::Fail(failure) => format!("{} {}", failure.what, failure.cause),
    }
}

/// The CPU time of all threads so far, from /proc/PID/task/*/schedstat (nanoseconds). The kernel's threads of a ring
/// (SQPOLL, io-wq) are among them.
pub fn cpu(process: Family) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", process.pid))? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += schedstat.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
