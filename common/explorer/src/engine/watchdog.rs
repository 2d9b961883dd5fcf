//! Ends a server that computes for ever, because waitpid(2) knows no timeout.
//!
//! Invariant: it acts only on a server that the explorer waits for, that has used CPU time for seconds meanwhile, and
//! that has made no system call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use observe::Process;

const LOOK: Duration = Duration::from_millis(250);
/// CPU time in one go, in ticks of 10 ms.
const TICKS: u64 = 300;

#[derive(Default)]
struct Watched {
    pid: AtomicI32,
    /// Grows with each wait, so that one wait is told from the next.
    wait: AtomicU64,
    fired: AtomicBool,
    over: AtomicBool,
}

/// A thread of its own.
pub struct Watchdog {
    watched: Arc<Watched>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub fn new() -> Self {
        let watched = Arc::new(Watched::default());
        let its = watched.clone();
        let thread = std::thread::spawn(move || look(&its));
        Self { watched, thread: Some(thread) }
    }

    /// The explorer waits for this server from here on.
    pub fn watch(&self, pid: i32) {
        self.watched.wait.fetch_add(1, Ordering::Relaxed);
        self.watched.pid.store(pid, Ordering::Release);
    }

    /// It does not wait any more.
    pub fn rest(&self) {
        self.watched.pid.store(0, Ordering::Release);
    }

    /// Whether it has ended a server; asking forgets it.
    pub fn fired(&self) -> bool {
        self.watched.fired.swap(false, Ordering::AcqRel)
    }
}

fn ticks(pid: i32) -> u64 {
    Process { pid }.ticks()
}

fn look(watched: &Watched) {
    let mut since = (0, 0, 0);
    while !watched.over.load(Ordering::Acquire) {
        std::thread::park_timeout(LOOK);
        let (pid, wait) = (watched.pid.load(Ordering::Acquire), watched.wait.load(Ordering::Relaxed));
        if pid == 0 || (pid, wait) != (since.0, since.1) {
            since = (pid, wait, if pid == 0 { 0 } else { ticks(pid) });
        } else if ticks(pid) > since.2 + TICKS {
            watched.fired.store(true, Ordering::Release);
            // SAFETY: kill only takes numbers. The explorer is in waitpid for this server, so the id is still the server's.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.watched.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
