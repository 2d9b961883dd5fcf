//! Whether this machine lets a process be traced, found out by tracing one.
//!
//! Invariant: the child of the trial is gone when the answer is there.

use std::io::Error;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{Place, Stop, place, resume, set_options, trace_me, wait_for};
use crate::handle::Handle;

/// Whether this machine lets a process be traced, and its descriptors be borrowed: found out by doing both to a child.
///
/// # Errors
/// The reason why not.
pub fn possible() -> Result<(), String> {
    let pipe = std::io::pipe().map_err(|error| format!("no pipe for a trial of ptrace: {error}"))?;
    let fd = pipe.0.as_raw_fd();
    // SAFETY: this program has threads, so the child may only make system calls until it ends, and does: it allocates
    // nothing, takes no lock, and ends with _exit.
    let pid = unsafe {
        match libc::fork() {
            0 => {
                // A grader's worker has changed its user and is not dumpable since, and what it forks is not: nothing
                // of it could be borrowed. A server becomes dumpable by exec. It keeps none of the worker's
                // descriptors.
                libc::dup2(fd, 0);
                libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0);
                libc::prctl(libc::PR_SET_DUMPABLE, 1);
                if trace_me().is_err() {
                    libc::_exit(1);
                }
                libc::raise(libc::SIGSTOP);
                libc::getppid();
                libc::_exit(0)
            }
            pid => pid,
        }
    };
    if pid < 0 {
        return Err(format!("no process for a trial of ptrace: {}", Error::last_os_error()));
    }
    let result = try_it(pid);
    let mut status = 0;
    // SAFETY: the id is still the child's, because nobody else waits for it; `status` outlives the call.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, &mut status, libc::__WALL);
    }
    result
}

fn try_it(pid: i32) -> Result<(), String> {
    stopped(pid)?;
    set_options(pid).map_err(|error| format!("ptrace is denied here: {error}"))?;
    resume(pid, 0).map_err(|error| format!("ptrace is denied here: {error}"))?;
    stopped(pid)?;
    match place(pid) {
        Ok(Place::Elsewhere) | Err(_) => {
            return Err("PTRACE_GET_SYSCALL_INFO is missing here (Linux 5.3 has it)".into());
        }
        Ok(_) => {}
    }
    let borrowed = Handle::open(pid).ok().and_then(|handle| handle.borrow(0));
    borrowed.map(drop).ok_or_else(|| "pidfd_getfd(2) is missing or denied here (Linux 5.6 has it)".into())
}

fn stopped(pid: i32) -> Result<(), String> {
    const SOON: Duration = Duration::from_secs(20);
    match wait_for(pid, SOON) {
        Ok(Stop::Syscall | Stop::Event(..) | Stop::Signal(_)) => Ok(()),
        _ => Err("ptrace is denied here: a process may not ask its parent to trace it".into()),
    }
}
