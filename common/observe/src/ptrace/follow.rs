//! Follows a server: every system call of every thread and of every forked child, from its exec on, into a record.
//!
//! Invariant: the server runs its own code only, in its own order, and its signals are its own; only the time changes.
//! One thread of this program traces it, and ends when the last of its processes has ended. While a server is followed,
//! this program must not wait for it (waitpid): the stops would go to the wrong thread. `Follower` knows how it ended.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use super::calls::{Entered, Families};
use super::{Place, Stop};
use crate::inherit::ABOVE_GAPS;
use crate::made::{Made, Record};
use crate::process::Process;
use crate::syscall::Kind;

/// A child that has not stopped by then is not traced.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// A server that is followed.
#[derive(Debug)]
pub struct Follower(Arc<Mutex<State>>);

/// What both threads know.
#[derive(Debug, Default)]
struct State {
    record: Record,
    /// The calls that its threads are in.
    entered: HashMap<i32, Made>,
    /// All of its processes that have not ended.
    processes: BTreeSet<i32>,
    root: i32,
    ended: Option<ExitStatus>,
    /// The tracer's thread has ended, or there was none.
    over: bool,
    /// Its time was over.
    expired: bool,
    /// Why it could not be traced.
    denied: Option<String>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Follower {
    /// Makes a command that will be traced from its exec on, and killed after `limit`. It must be started by
    /// `Command::spawn`, and dropped soon after.
    ///
    /// # Errors
    /// If there are no file descriptors left for two pipes.
    pub fn of(command: &mut Command, limit: Duration) -> io::Result<Self> {
        let (says_pid, pid_said) = io::pipe()?;
        let (may_go, lets_go) = io::pipe()?;
        let (pid_said, may_go) = (out_of_the_way(&pid_said)?, out_of_the_way(&may_go)?);
        // SAFETY: between fork and exec, getpid, write and read alone are called; none of them allocates or takes a lock.
        unsafe {
            command.pre_exec(move || {
                let pid = libc::getpid().to_ne_bytes();
                libc::write(pid_said.as_raw_fd(), pid.as_ptr().cast(), pid.len());
                // Until the tracer has come, or has failed and let go of its end.
                let mut byte = [0u8];
                libc::read(may_go.as_raw_fd(), byte.as_mut_ptr().cast(), 1);
                Ok(())
            });
        }
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            let (over, end) = mpsc::channel::<()>();
            let watched = shared.clone();
            std::thread::spawn(move || {
                if end.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    lock(&watched).expired = true;
                    kill_all(&watched);
                }
            });
            trace(&shared, says_pid, lets_go);
            lock(&shared).over = true;
            drop(over);
        });
        Ok(Self(state))
    }

    /// How the process that was started has ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        lock(&self.0).ended
    }

    /// Whether its time was over before its end.
    pub fn expired(&self) -> bool {
        lock(&self.0).expired
    }

    /// Why it is not traced, if it is not.
    pub fn denied(&self) -> Option<String> {
        lock(&self.0).denied.clone()
    }

    /// What it has done so far.
    pub fn record(&self) -> Record {
        lock(&self.0).record.clone()
    }

    /// What it has done so far, and the calls that its threads are in; of the connections, the one with this client's port,
    /// or all.
    pub fn snapshot(&self, client: Option<u16>) -> Record {
        let state = lock(&self.0);
        let mut record = state.record.of(client);
        let mut entered: Vec<&Made> = state.entered.values().collect();
        entered.sort_by_key(|made| made.tid);
        let is_kept = |made: &&Made| client.is_none() || made.client.is_none_or(|port| Some(port) == client);
        entered.into_iter().for_each(|made| {
            let client = made.client.filter(|_| is_kept(&made));
            record.add(Made { client, ..made.clone() });
        });
        record
    }

    /// Kills all of its processes, and waits until they have ended.
    pub fn end(&self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let end = std::time::Instant::now() + PATIENCE;
        while !lock(&self.0).over && std::time::Instant::now() < end {
            kill_all(&self.0);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A copy with a number that no `Limits::gaps` names: `inherit::set_up` puts /dev/null in the place of those, and a child
/// that tells its number to /dev/null waits for ever.
fn out_of_the_way(pipe: &impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(pipe, ABOVE_GAPS)?)
}

fn kill_all(state: &Mutex<State>) {
    let state = lock(state);
    for pid in &state.processes {
        // SAFETY: kill takes numbers only. The process was not waited for to its end by its tracer, so the id is its own.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
}

/// The tracer's thread, from the child's fork to the family's end.
fn trace(state: &Mutex<State>, mut says_pid: PipeReader, mut lets_go: PipeWriter) {
    let mut pid = [0; 4];
    if says_pid.read_exact(&mut pid).is_err() {
        // It was not started.
        return;
    }
    let pid = i32::from_ne_bytes(pid);
    let seized = super::seize_family(pid, STOPS_WITHIN);
    if let Err(error) = seized {
        lock(state).denied = Some(format!("this machine does not let the harness trace a child ({error})"));
        // The end of the pipe would not do: another child that waits for its own tracer has a copy of it.
        let _ = lets_go.write_all(&[1]);
        return;
    }
    {
        let mut state = lock(state);
        state.root = pid;
        state.processes.insert(pid);
    }
    let _ = super::resume(pid, 0);
    let _ = lets_go.write_all(&[1]);
    drop(lets_go);
    // Its exec is still to come.
    let loading = BTreeSet::from([pid]);
    let mut tracer = Tracer { state, threads: HashMap::new(), families: Families::default(), loading };
    while let Ok(Some((tid, stop))) = super::wait(true) {
        tracer.stopped(tid, stop);
    }
}

/// A thread of the server.
struct Thread {
    pid: i32,
    entered: Option<Entered>,
}

struct Tracer<'a> {
    state: &'a Mutex<State>,
    threads: HashMap<i32, Thread>,
    families: Families,
    /// Processes that have begun a program, and have done nothing yet but load it.
    loading: BTreeSet<i32>,
}

/// A call by which a program begins its work: the loader, a shim that is preloaded and a language's runtime make none of
/// these. Before it, reads and closes are of libraries and of settings.
fn is_work(made: &Made) -> bool {
    made.client.is_some()
        || made.name == "io_uring_setup"
        || matches!(
            made.kind,
            Kind::Accept
                | Kind::Listen
                | Kind::EpollCtl
                | Kind::EpollWait
                | Kind::Select
                | Kind::UringEnter
                | Kind::Exit
        )
}

impl Tracer<'_> {
    fn stopped(&mut self, tid: i32, stop: Stop) {
        if !matches!(stop, Stop::Exited(_) | Stop::Killed(_)) {
            self.know(tid);
        }
        // A thread that was killed meanwhile cannot be resumed, and its end is reported next.
        let _ = match stop {
            Stop::Exited(_) | Stop::Killed(_) => {
                self.ended(tid, stop);
                Ok(())
            }
            Stop::Syscall => {
                self.at_a_call(tid);
                super::resume(tid, 0)
            }
            // Stopped as by a terminal: it has to stay stopped, and to hear of SIGCONT.
            Stop::Event(libc::PTRACE_EVENT_STOP, signal) if signal != libc::SIGTRAP => super::listen(tid),
            Stop::Event(event, _) => {
                if event == libc::PTRACE_EVENT_EXEC {
                    let pid = self.threads.get(&tid).map_or(tid, |thread| thread.pid);
                    self.families.forget(pid);
                    self.loading.insert(pid);
                }
                super::resume(tid, 0)
            }
            Stop::Signal(signal) => super::resume(tid, signal),
        };
    }

    fn know(&mut self, tid: i32) {
        if self.threads.contains_key(&tid) {
            return;
        }
        let pid = Process { pid: tid }.status().map_or(tid, |status| status.tgid);
        self.threads.insert(tid, Thread { pid, entered: None });
        lock(self.state).processes.insert(pid);
    }

    fn ended(&mut self, tid: i32, stop: Stop) {
        let thread = self.threads.remove(&tid);
        let pid = thread.as_ref().map_or(tid, |thread| thread.pid);
        let mut state = lock(self.state);
        state.entered.remove(&tid);
        // The call that it was killed in tells as much as those that have returned.
        if let Some(entered) = thread.and_then(|thread| thread.entered).filter(|entered| !entered.is_last()) {
            state.record.add(entered.made);
        }
        if tid == pid {
            self.loading.remove(&pid);
            state.processes.remove(&pid);
            self.families.ended(pid);
        }
        if tid == state.root {
            let status = match stop {
                Stop::Exited(code) => code << 8,
                Stop::Killed(signal) => signal,
                _ => 0,
            };
            state.ended = Some(ExitStatus::from_raw(status));
        }
    }

    fn at_a_call(&mut self, tid: i32) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        match super::place(tid) {
            Ok(Place::Entry(number, args)) => {
                let entered = self.families.enter(thread.pid, tid, number, args);
                if entered.as_ref().is_some_and(|entered| is_work(&entered.made)) {
                    self.loading.remove(&thread.pid);
                }
                if let Some(entered) = &entered {
                    self.families.before_enter(entered, &mut lock(self.state).record);
                }
                if let Some(entered) = &entered {
                    let mut state = lock(self.state);
                    if entered.is_last() {
                        state.record.add(entered.made.clone());
                    } else if !self.loading.contains(&thread.pid) {
                        state.entered.insert(tid, entered.made.clone());
                    }
                }
                thread.entered = entered;
            }
            Ok(Place::Exit(value)) => {
                if let Some(entered) = thread.entered.take() {
                    let mut state = lock(self.state);
                    state.entered.remove(&tid);
                    if self.loading.contains(&thread.pid) {
                        // What its descriptors stand for is to be known all the same.
                        self.families.leave(entered, value, &mut Record::default());
                    } else {
                        if entered.made.kind == Kind::Listen && value == 0 {
                            state.record.begins(thread.pid);
                        }
                        self.families.leave(entered, value, &mut state.record);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::sync::LazyLock;

    use super::*;
    use crate::start::{self, Limits, Mark};

    #[test]
    #[expect(clippy::zombie_processes, reason = "its tracer waits for it, and nobody else may")]
    fn a_server_with_any_descriptors_taken_is_followed() {
        static ALL: LazyLock<Vec<i32>> = LazyLock::new(|| (3..ABOVE_GAPS).collect());
        let limits = Limits { gaps: &ALL, ..Limits::default() };
        let mut command = start::command(&["true".to_owned()], limits, &Mark::new());
        command.stdin(Stdio::null());
        let follower = Follower::of(&mut command, Duration::from_secs(60)).expect("there are descriptors left");
        let child = start::spawn(&mut command, limits).expect("it starts");
        drop(command);
        while follower.ended().is_none() && follower.denied().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        crate::detached::has_ended(child.id() as i32);
        // What it did was seen, where a child may be traced at all.
        assert!(follower.denied().is_some() || follower.ended().is_some_and(|status| status.success()));
    }
}
