//! Servers that leave their starter: a process that serves on while the one that was started sleeps or has ended.
//!
//! Invariant: every process that a server of this program has started is its child, its descendant, or becomes a child
//! of this program when its parent ends (PR_SET_CHILD_SUBREAPER). A child of this program that it has not started
//! itself is such an orphan. No process that is neither is taken for a server's, and none is killed.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The servers that were started here and have not been waited for.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on, orphans of this program's descendants become its own children, and `init` gets none of them.
pub fn adopt(on: bool) {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl with this option takes a number and touches no memory.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, libc::c_ulong::from(on), 0, 0, 0);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = on;
}

pub(crate) fn has_started(pid: i32) {
    running().insert(pid);
}

/// This server was waited for, so that its id may be another process's soon. Whether others still run.
pub fn has_ended(pid: i32) -> bool {
    let mut running = running();
    running.remove(&pid);
    !running.is_empty()
}

#[cfg(target_os = "linux")]
pub use linux::{orphans, reap};

/// None: without /proc nothing tells an orphan.
#[cfg(not(target_os = "linux"))]
pub fn orphans() -> Vec<i32> {
    Vec::new()
}

/// Nothing to be waited for.
#[cfg(not(target_os = "linux"))]
pub fn reap(_pid: i32) -> Option<std::process::ExitStatus> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::running;
    use crate::process::Process;
    use crate::start::hold_starts;

    /// The children of this program that it has not started itself, zombies too. A program that it runs for itself (a
    /// compiler) is in its own process group, and is none of them.
    pub fn orphans() -> Vec<i32> {
        // A server that is just being started is a child before it is known as one.
        let _starts = hold_starts();
        let own = Process { pid: std::process::id() as i32 };
        let group = own.group();
        let running = running();
        let is_orphan = |pid: &i32| !running.contains(pid) && Process { pid: *pid }.group() != group;
        own.all_children().into_iter().filter(is_orphan).collect()
    }

    /// Waits for an orphan that has ended; its status, or `None` if it has not ended or is no child of this program.
    pub fn reap(pid: i32) -> Option<ExitStatus> {
        let mut status = 0;
        // SAFETY: `status` outlives the call, which writes one int there. An orphan has no `Child` that would wait too.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        (waited == pid).then(|| ExitStatus::from_raw(status))
    }

    /// The process below this program from which this one descends: a server that was started here, or an orphan.
    pub(crate) fn root_of(process: Process) -> Option<Process> {
        let own = std::process::id() as i32;
        let mut at = process;
        loop {
            match at.parent()? {
                parent if parent == own => return Some(at),
                0 | 1 => return None,
                parent => at = Process { pid: parent },
            }
        }
    }

    /// As `root_of`, for an orphan alone.
    pub(crate) fn orphan_above(process: Process) -> Option<Process> {
        let root = root_of(process)?;
        orphans().contains(&root.pid).then_some(root)
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::orphan_above;
