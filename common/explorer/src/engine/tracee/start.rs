//! How the server is started: under ptrace, with its output in a file in memory.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use observe::ptrace::{self, Stop};
use observe::start::{self, Limits, Mark};
use rustix::fs::{MemfdFlags, memfd_create};

use super::Tracee;
use super::labels::Labels;
use crate::engine::frames::Frames;
use crate::engine::kqueue::{self, Kqueues};
use crate::engine::ring::Rings;
use crate::engine::watchdog::Watchdog;
use crate::run::Error;

impl<'a> Tracee<'a> {
    /// Starts the server. It is stopped at its first instruction. With `keep`, what events show is looked up.
    pub fn start(argv: &[String], watchdog: &'a Watchdog, keep: bool) -> Result<Self, Error> {
        let output = memory_file()?;
        let mut command = start::command(argv, Limits::default(), &Mark::new());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        if keep {
            command.env(kqueue::VARIABLE, "1");
        }
        // SAFETY: between fork and exec, ptrace(2) alone is called; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(ptrace::trace_me) };
        let child = start::spawn(&mut command, Limits::default()).map_err(|error| {
            Error::NoProcess(format!("cannot start '{}': {error} (is the path right, and may it be traced?)", argv[0]))
        })?;
        let root = child.id() as i32;
        let mut tracee = Self {
            watchdog,
            root,
            threads: Vec::new(),
            born: 0,
            processes: HashMap::new(),
            labels: Labels::default(),
            stops: VecDeque::new(),
            end: None,
            output,
            signalled: false,
            has_signalfd: false,
            has_ring: false,
            keep,
            frames: Frames::default(),
            kqueues: Kqueues::default(),
            rings: Rings::default(),
        };
        match tracee.stop_of(root)? {
            // The exec.
            Stop::Signal(libc::SIGTRAP) => ptrace::set_options(root)?,
            other => return Err(Error::Start(format!("'{}' did not start under ptrace ({other:?})", argv[0]))),
        }
        tracee.add_thread(root, root)?;
        Ok(tracee)
    }
}

/// For the server's output. It never fills up, so the server never waits for a reader.
fn memory_file() -> io::Result<File> {
    Ok(File::from(memfd_create(c"explored", MemfdFlags::CLOEXEC)?))
}
