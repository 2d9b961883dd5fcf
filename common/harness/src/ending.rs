//! The end of a server, and of all that it has started, wherever that has gone.
//!
//! Invariant: it is bounded. What cannot be ended, because it runs as another user or because it does not die, is named
//! once and left; nothing else is left.

use std::collections::BTreeSet;
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use observe::start::Mark;
use observe::{Family, Process, detached};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

/// Killed is dead, but for what the kernel has to put away first; on a busy machine that takes its time.
const DYING: Duration = Duration::from_secs(10);
/// So long its others are let live on while it dies.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How long a process that refuses SIGKILL gets to end by itself: its clients and its pipes are gone.
const REFUSED: Duration = Duration::from_millis(500);

/// Ends a server that was started here with this mark. What is left running after that is returned, a line each, and
/// written to stderr the first time.
pub(crate) fn end(child: &mut Child, family: Family, mark: &Mark) -> Vec<String> {
    let started = Family::of(child.id() as i32);
    let begin = Instant::now();
    let left = loop {
        let _ = kill_process_group(pid(started.pid), Signal::KILL);
        // As a rule it is all there is, and dies at once: a look at the others is a look at every process of the machine.
        while !has_ended(child) && begin.elapsed() < AT_ONCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let others = others(started, family, mark);
        let refused = others.iter().filter(|process| refuses(process.pid)).count();
        for process in &others {
            let _ = kill_process(pid(process.pid), Signal::KILL);
        }
        reap(started.pid);
        if has_ended(child) && others.is_empty() {
            break others;
        }
        let only_refused = refused > 0 && refused == others.len();
        if begin.elapsed() > if only_refused { REFUSED } else { DYING } {
            break others;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    // Last: until here its id, which is that of its group too, cannot be another's.
    let _ = child.try_wait();
    if !detached::has_ended(started.pid) {
        end_orphans();
    }
    let lines: Vec<String> = left.iter().map(describe).collect();
    left.iter().zip(&lines).for_each(|(process, line)| say_once(process.pid, line));
    lines
}

/// Its processes that have not ended, but for those that only wait to be waited for.
fn others(started: Family, family: Family, mark: &Mark) -> Vec<Process> {
    let mut others = started.relatives(mark);
    others.extend(family.processes().unwrap_or_default());
    others.sort_unstable_by_key(|process| process.pid);
    others.dedup();
    others.retain(lives);
    others
}

#[cfg(target_os = "linux")]
fn lives(process: &Process) -> bool {
    process.lives()
}

#[cfg(not(target_os = "linux"))]
fn lives(process: &Process) -> bool {
    // A zombie can be signalled too; `has_ended` knows about the one that is our child.
    test_kill_process(pid(process.pid)).is_ok() && process.pid != 0
}

/// Whether the server has ended; it is not waited for yet.
#[cfg(target_os = "linux")]
fn has_ended(child: &mut Child) -> bool {
    !Process { pid: child.id() as i32 }.lives()
}

#[cfg(not(target_os = "linux"))]
fn has_ended(child: &mut Child) -> bool {
    child.try_wait().is_ok_and(|status| status.is_some())
}

/// Waits for the orphans of this server's process group that have ended.
fn reap(group: i32) {
    #[cfg(target_os = "linux")]
    for orphan in detached::orphans().into_iter().filter(|pid| Process { pid: *pid }.group() == Some(group)) {
        detached::reap(orphan);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = group;
}

/// No server runs any more, so every orphan is one that a server has left: also one that kept neither its group nor its
/// environment, and cannot be told from another server's.
pub fn end_orphans() {
    let begin = Instant::now();
    loop {
        let orphans: Vec<i32> = detached::orphans().into_iter().filter(|pid| detached::reap(*pid).is_none()).collect();
        let all_refuse = orphans.iter().all(|pid| refuses(*pid));
        if orphans.is_empty() || begin.elapsed() > if all_refuse { REFUSED } else { DYING } {
            orphans.iter().for_each(|pid| say_once(*pid, &describe(&Process { pid: *pid })));
            return;
        }
        for orphan in orphans {
            // Its own children become orphans of this program when it has ended, and the next round finds them.
            let _ = kill_process(pid(orphan), Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether this program may not send it a signal: it is another user's.
pub(crate) fn refuses(process: i32) -> bool {
    test_kill_process(pid(process)) == Err(Errno::PERM)
}

/// `process 4711 (server), which runs as another user and refuses SIGKILL`.
fn describe(process: &Process) -> String {
    let name = observe::text::shown(&process.name().unwrap_or_default(), 40);
    let why = match refuses(process.pid) {
        true => "it runs as another user and refuses SIGKILL; end it as that user or as root",
        false => "it does not end",
    };
    format!("process {} ({name}): {why}", process.pid)
}

fn say_once(process: i32, line: &str) {
    static SAID: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(process) {
        crate::notes::note(&format!("left running: {line}"));
    }
}

fn pid(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("a process id is not 0")
}
