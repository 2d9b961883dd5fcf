//! The system calls of a server, counted by name with our own ptrace(2): neither strace nor a privilege is needed.
//!
//! Invariant: a count is exact: each call that began between `go` and the client's end is in it. But the server is slow
//! meanwhile, two stops for each call, so what depends on speed (how many clients are ready at once) is at its upper end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use observe::ptrace::{self, Place, Stop};
use observe::{Call, Family};

const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// How often a server called what.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// By the name of the call.
    pub calls: BTreeMap<&'static str, u64>,
    /// Those of them that failed with EAGAIN, by the name of the call.
    pub again: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// All calls.
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

/// Counts the calls of a server's threads while `client` runs. Threads that the server starts meanwhile are not counted,
/// so its connections have to be there before. After `client`, `wake` has to make the server call something once more.
pub fn counted<T>(
    server: Family,
    client: impl FnOnce() -> Result<T>,
    wake: impl FnOnce() -> Result<()>,
) -> Result<(T, Counts)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ready, go) = mpsc::channel();
        let tracer = scope.spawn(|| trace(server.pid, ready, &over));
        let is_traced = go.recv().is_ok();
        let value = if is_traced { client() } else { Err(anyhow!("not traced")) };
        over.store(true, Ordering::Release);
        let woken = if is_traced { wake() } else { Ok(()) };
        let counts = tracer.join().map_err(|_| anyhow!("the tracer panicked"))??;
        woken?;
        Ok((value?, counts))
    })
}

/// One thread of the server.
#[derive(Default)]
struct Thread {
    within: Option<&'static str>,
}

fn trace(pid: i32, ready: mpsc::Sender<()>, over: &AtomicBool) -> Result<Counts> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Some(tid) = task?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // The kernel's own threads of a ring cannot be traced, and make no calls.
        match ptrace::seize(tid, STOPS_WITHIN) {
            Ok(()) => threads.insert(tid, Thread::default()),
            Err(error) if tid == pid => return Err(anyhow!("the server cannot be traced: {error}")),
            Err(_) => None,
        };
    }
    for tid in threads.keys() {
        ptrace::resume(*tid, 0)?;
    }
    ready.send(())?;
    let mut counts = Counts::default();
    let last = loop {
        let (tid, stop) = ptrace::wait(true)?.ok_or_else(|| anyhow!("nothing is traced"))?;
        if over.load(Ordering::Acquire) {
            break (tid, stop);
        }
        let Some(thread) = threads.get_mut(&tid) else { continue };
        match stop {
            Stop::Exited(_) | Stop::Killed(_) => {
                threads.remove(&tid);
                ensure!(!threads.is_empty(), "the server ended while its calls were counted");
                continue;
            }
            Stop::Syscall => thread.at_a_call(tid, &mut counts),
            Stop::Event(..) | Stop::Signal(_) => {}
        }
        // A thread that was killed meanwhile cannot be resumed; its end comes next.
        let _ = ptrace::resume(tid, if let Stop::Signal(signal) = stop { signal } else { 0 });
    };
    for tid in threads.keys() {
        let signal = match last {
            (stopped, Stop::Signal(signal)) if stopped == *tid => signal,
            (stopped, _) if stopped == *tid => 0,
            _ => {
                ptrace::stop(*tid, STOPS_WITHIN)?;
                0
            }
        };
        ptrace::let_go(*tid, signal)?;
    }
    Ok(counts)
}

impl Thread {
    fn at_a_call(&mut self, tid: i32, counts: &mut Counts) {
        match ptrace::place(tid) {
            Ok(Place::Entry(number, args)) => {
                let name = Call::new(number, args).name;
                *counts.calls.entry(name).or_default() += 1;
                self.within = Some(name);
            }
            Ok(Place::Exit(result)) => {
                if let Some(name) = self.within.take().filter(|_| result == -i64::from(libc::EAGAIN)) {
                    *counts.again.entry(name).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}
