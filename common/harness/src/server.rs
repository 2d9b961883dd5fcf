//! The server under test, as it runs: started with its own limits, stopped whatever happens.
//!
//! Invariant: nothing that a check started outlives it, and no process is taken for the server that is not the
//! server's.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use observe::errno::end_of_process;
pub use observe::start::Limits;
use observe::start::{self, Mark, NoStart, PORT};
use observe::text::shown;
use observe::{Family, Listening, Served, Thread, detached};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::ending;
use crate::failure::{Step, Stop, Symptom};
use crate::output::{Output, line_of};
use crate::rerun::{self, Follower};
use crate::said;
use crate::subject::{Launch, Source, Subject};

/// A server that has slept this long, and listens elsewhere, will not come to listen where it was told.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// How long a start may take in a process that has seen this server hang, where that was asked for.
const AFTER_A_HANG: Duration = Duration::from_secs(10);
/// Whether starts become shorter, and whether they are.
static SHORTENS: AtomicBool = AtomicBool::new(false);
static HAS_HUNG: AtomicBool = AtomicBool::new(false);
/// Who listens on a server's behalf goes on listening. A program that has come to the port by chance may be gone in a
/// moment, while the server still starts; its port is then free again.
const STAYS: Duration = Duration::from_secs(1);
const NOT_ITS_OWN: &str =
    "The process that was started has to listen itself, or a process that it has started, and to say where.";
/// What a server of this workspace, or an attempt, is told.
const SAY_WHERE: &str =
    "Its first line on stdout has to be 'listening on ADDR:PORT', with the address at which it listens.";
/// What a server that cannot be looked at is told.
pub(crate) const HIDES: &str = "the server hides from /proc, by which it is judged";
pub(crate) const WHY_IT_HIDES: &str =
    "It has called prctl(PR_SET_DUMPABLE, 0), or its program file cannot be read: leave it out.";
/// What a server leaves behind, and what still has its pipes, is not waited for longer.
const KEPT_OPEN: Duration = Duration::from_secs(1);
const NOT_OURS: &str = "needs a server that the harness starts itself";

/// From now on, once a start has used up its time, the later ones in this process have less. For a process that checks one
/// server, and that a server has given no reason any more to wait long for.
pub fn shorten_starts_after_a_hang() {
    SHORTENS.store(true, Ordering::Relaxed);
}

/// The end of the message about a server that did not listen in time. `rerun` looks for these words.
pub const OF_ITS_START: &str = "of its start";

fn deadline() -> Duration {
    if HAS_HUNG.load(Ordering::Relaxed) { AFTER_A_HANG } else { start::DEADLINE }
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// RLIMIT_NOFILE, descriptors that the child inherits, and gaps between its own.
    pub limits: Limits,
    /// Where a server with this repository's command line is told to listen.
    pub addr: String,
    /// More arguments for it.
    pub args: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), addr: "127.0.0.1:0".into(), args: Vec::new() }
    }
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its processes, if they were started here and can be seen.
    pub process: Option<Family>,
    child: Option<Child>,
    /// How the process ended that serves in place of the one that was started.
    end: Option<ExitStatus>,
    /// Who listens on its behalf, out of reach.
    behind: Option<String>,
    follower: Option<Arc<Follower>>,
    mark: Mark,
    stdout: Output,
    stderr: Output,
    source: Option<Source>,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// All it wrote to stdout.
    pub stdout: String,
    /// All it wrote to stderr.
    pub stderr: String,
}

impl Server {
    /// Starts the subject and waits until it accepts connections. A server that loses its port to somebody else is
    /// started again on another.
    pub fn start(subject: &Subject, options: &Options) -> Step<Self> {
        let argv = match &subject.launch {
            Launch::Served(addr) => return Ok(Self::elsewhere(*addr)),
            Launch::Command(argv) => argv,
        };
        detached::adopt(true);
        start::on_a_free_port(argv, |argv, port| {
            let mut argv = argv.to_vec();
            if subject.own {
                argv.extend(["--addr".into(), options.addr.clone()]);
                argv.extend(options.args.iter().cloned());
            }
            let (mut server, first_line) = Self::spawn(&argv, options)?;
            server.source = subject.source.clone();
            match port {
                Some(port) => server.wait_for_port(port, &subject.launch)?,
                None => server.wait_for_line(&first_line, subject.own)?,
            }
            server.can_be_ended()?;
            Ok(server)
        })
    }

    fn elsewhere(addr: SocketAddr) -> Self {
        let (stdout, stderr) = Default::default();
        let (child, follower) = (None, None);
        let (process, end, behind, source) = Default::default();
        Self { addr, process, child, end, behind, follower, mark: Mark::new(), stdout, stderr, source }
    }

    fn spawn(argv: &[String], options: &Options) -> Step<(Self, mpsc::Receiver<String>)> {
        let mark = Mark::new();
        let limits = options.limits;
        let mut command = start::command(argv, limits, &mark);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What fills all descriptors would fill the tracer's too.
        let follower = if limits.inherit == 0 { rerun::follow(&mut command) } else { None };
        let mut child = start::spawn(&mut command, limits).map_err(|error| {
            Stop::Broken(format!("cannot start '{}': {error} (is the path right, and is it executable?)", argv[0]))
        })?;
        let (first_line, receiver) = mpsc::channel();
        let stdout = Output::collect(child.stdout.take().expect("piped"), Some(first_line));
        let stderr = Output::collect(child.stderr.take().expect("piped"), None);
        let process = Some(Family::of(child.id() as i32));
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (child, end, behind, source) = (Some(child), None, None, None);
        Ok((Self { addr, process, child, end, behind, follower, mark, stdout, stderr, source }, receiver))
    }

    fn wait_for_port(&mut self, port: u16, launch: &Launch) -> Result<(), NoStart<Stop>> {
        self.addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let start = Instant::now();
        let (mut stranger, mut since) = (None, start);
        loop {
            let has_stayed = since.elapsed() > STAYS;
            match self.listening() {
                Listening::Own(Served { ip, family }) => {
                    self.addr.set_ip(ip);
                    self.process = Some(family);
                    has_no_front(launch);
                    return Ok(());
                }
                Listening::Stranger(who) if stranger.as_ref() != Some(&who) => {
                    (stranger, since) = (Some(who), Instant::now());
                }
                Listening::Stranger(who) if is_its_front(launch, &who, has_stayed) => {
                    self.is_served_by(who);
                    return Ok(());
                }
                Listening::Stranger(who) if has_stayed => {
                    return Err(NoStart::PortTaken(taken(port, who)));
                }
                Listening::Stranger(_) => {}
                Listening::Nobody => stranger = None,
            }
            if let Err(stop) = self.still_starting(start, &format!("listen on port {port}"), false) {
                // That look took a while.
                if matches!(self.listening(), Listening::Own(_)) {
                    continue;
                }
                let (stdout, stderr) = self.output();
                return Err(match (start::lost_its_port(port, &(stdout + &stderr)), stranger) {
                    // Once more on another port. If that was the last one: a server that finds its port taken may end.
                    (true, Some(who)) => NoStart::PortTaken(taken(port, who)),
                    (true, None) => NoStart::PortTaken(stop),
                    (false, _) => NoStart::Other(stop),
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// From here on its process is out of reach: another one listens on its behalf.
    fn is_served_by(&mut self, who: Option<(i32, String)>) {
        self.behind = Some(match who {
            Some((pid, name)) => format!("process {pid} ({}) listens on its behalf", shown(&name, 40)),
            None => "a process that cannot be seen listens on its behalf".into(),
        });
        self.process = None;
    }

    /// Why nothing can be done to its process.
    pub fn out_of_reach(&self) -> String {
        let behind = self.behind.as_ref();
        behind.map_or_else(|| NOT_OURS.into(), |behind| format!("{NOT_OURS}, and can stop and inspect: {behind}"))
    }

    /// Who listens on its behalf, if that is not the server itself.
    pub(crate) fn front(&self) -> Option<&str> {
        self.behind.as_deref()
    }

    fn listening(&self) -> Listening {
        match self.process.and_then(|process| process.listening(self.addr, &self.mark)) {
            Some(listening) => listening,
            // Costs the server a connection it did not expect, so only where the listener can't be seen.
            None if TcpStream::connect(self.addr).is_ok() => {
                let family = self.process.unwrap_or(Family::of(0));
                Listening::Own(Served { ip: self.addr.ip(), family })
            }
            None => Listening::Nobody,
        }
    }

    /// A server that this user may not end would be left running after every check.
    fn can_be_ended(&self) -> Step {
        let processes = self.process.and_then(|process| process.processes()).unwrap_or_default();
        let Some(process) = processes.into_iter().find(|process| ending::refuses(process.pid)) else { return Ok(()) };
        let what = format!(
            "the server's process {} ({}) runs as another user, so the harness can neither stop nor end it",
            process.pid,
            shown(&process.name().unwrap_or_default(), 40)
        );
        let cause =
            "Start it as your own user (no setuid program, no su or sudo), or start it yourself and give --addr.";
        Err(Stop::fail(Symptom::Contract, what, cause))
    }

    fn wait_for_line(&mut self, first_line: &mpsc::Receiver<String>, own: bool) -> Step {
        let start = Instant::now();
        let mut given_up: Option<Stop> = None;
        loop {
            // A look at a server takes a while. What it has printed meanwhile still counts: on a busy machine the line may
            // lie in the pipe.
            let patience = if given_up.is_some() { ELSEWHERE } else { Duration::from_millis(20) };
            match (first_line.recv_timeout(patience), given_up.take()) {
                (Ok(line), _) => {
                    let addr = line.strip_prefix("listening on ").and_then(|addr| addr.trim_end().parse().ok());
                    self.addr = addr.ok_or_else(|| {
                        let line = line_of(&line);
                        let what = format!("the first line on stdout is '{line}' and not 'listening on ADDR:PORT'");
                        let hint = match own {
                            true => SAY_WHERE.to_owned(),
                            false => format!("A server with no {PORT} in its command has to say where it listens."),
                        };
                        Stop::fail(Symptom::Contract, what, hint)
                    })?;
                    return if own { self.is_its_own() } else { self.find_its_process() };
                }
                (Err(_), Some(stop)) => return Err(stop),
                (Err(_), None) => {
                    let stop = self.still_starting(start, "print 'listening on ADDR:PORT' to stdout", own).err();
                    match self.exit_status() {
                        Some(_) => stop.map_or(Ok(()), Err)?,
                        None => given_up = stop,
                    }
                }
            }
        }
    }

    /// The process that listens where the server says that it does may be another one than was started.
    fn find_its_process(&mut self) -> Step {
        match self.process.and_then(|process| process.listening(self.addr, &self.mark)) {
            Some(Listening::Own(served)) => self.process = Some(served.family),
            Some(Listening::Stranger(who)) => self.is_served_by(who),
            // It may have said so a moment too early.
            Some(Listening::Nobody) | None => {}
        }
        Ok(())
    }

    /// A server with this repository's command line is what it was started as: at this machine's own address, one of its
    /// processes listens, and all of its processes can be looked at. Whatever else it prints, no client connects there.
    fn is_its_own(&mut self) -> Step {
        let said = Instant::now();
        let wrong = |what: String| Stop::fail(Symptom::Contract, what, NOT_ITS_OWN);
        let addr = self.addr;
        if !addr.ip().is_loopback() {
            return Err(wrong(format!(
                "the server says that it listens on {addr}, and was told to listen on loopback"
            )));
        }
        loop {
            match self.process.and_then(|process| process.listening(addr, &self.mark)) {
                Some(Listening::Own(served)) => {
                    self.process = Some(served.family);
                    break;
                }
                Some(Listening::Stranger(who)) => {
                    return Err(wrong(format!(
                        "the server says that it listens on {addr}, and {} listens there",
                        none_of_its(who)
                    )));
                }
                // It may have said so a moment too early.
                Some(Listening::Nobody) if said.elapsed() < ELSEWHERE => std::thread::sleep(Duration::from_millis(2)),
                Some(Listening::Nobody) => {
                    return Err(wrong(format!("the server says that it listens on {addr}, and nobody listens there")));
                }
                // Nobody can see that here.
                None => break,
            }
        }
        if self.process.is_some_and(Family::hides) {
            return Err(Stop::fail(Symptom::Contract, HIDES, WHY_IT_HIDES));
        }
        Ok(())
    }

    fn still_starting(&mut self, start: Instant, awaited: &str, own: bool) -> Step {
        if let Some(status) = self.exit_status()
            && !(status.success() && self.has_detached())
        {
            self.output();
            let what = format!("the server ended with {}, and did not {awaited} before that", end_of_process(status));
            return Err(self.failed(Symptom::Exited, what));
        }
        let elapsed = start.elapsed();
        let process = self.process.filter(|_| elapsed > ELSEWHERE);
        let Some(process) = process else { return Ok(()) };
        let over = elapsed > deadline();
        let sleeps = || process.settle(Duration::from_millis(100), Duration::from_millis(150)).is_some();
        let mut elsewhere = if over || sleeps() { process.listens_at(&self.mark) } else { Vec::new() };
        // It may have come to listen since the caller looked.
        elsewhere.retain(|addr| addr.port() != self.addr.port());
        if let Some(addr) = elsewhere.first() {
            let what = format!(
                "the server did not {awaited} within {} s of its start; it listens on port {} ({addr})",
                elapsed.as_secs(),
                addr.port()
            );
            let cause = match own {
                true => SAY_WHERE.to_owned(),
                false => format!(
                    "Write {PORT} where its command takes the port, or, if its port is fixed, start the server yourself \
                     and give --addr {addr}."
                ),
            };
            return Err(Stop::fail(Symptom::Slow, what, cause).saying(self.said()));
        }
        let states = process.threads().unwrap_or_default();
        // A tracer stops it at each of its calls.
        let traced = self.follower.is_some();
        let stopped = !traced && !states.is_empty() && states.iter().all(Thread::is_stopped);
        if over {
            HAS_HUNG.fetch_or(SHORTENS.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        if over || stopped {
            let stopped = if stopped { "; it is stopped: it, or somebody else, has sent it a SIGSTOP" } else { "" };
            let seconds = elapsed.as_secs();
            let what = format!("the server did not {awaited} within {seconds} s {OF_ITS_START}{stopped}");
            return Err(self.failed(Symptom::Slow, what));
        }
        Ok(())
    }

    /// Whether the process that was started has left others behind that may come to serve: they are in its group, carry
    /// its mark, or have become this program's own children.
    fn has_detached(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            let relatives = self.process.map(|process| process.relatives(&self.mark)).unwrap_or_default();
            let orphans = detached::orphans().into_iter().filter(|pid| !start::has_other_mark(*pid, &self.mark));
            relatives.into_iter().chain(orphans.map(|pid| observe::Process { pid })).any(observe::Process::lives)
        }
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Its exit status if it has ended: that of the process that serves.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        // Whoever waits for a process that is traced takes its stops.
        if let Some(follower) = &self.follower {
            return follower.ended();
        }
        let child = self.child.as_mut()?;
        let started = child.id() as i32;
        match self.process {
            Some(family) if family.pid != started => {
                self.end = self.end.or_else(|| detached::reap(family.pid));
                self.end
            }
            _ => child.try_wait().ok()?,
        }
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        while Instant::now() < end {
            if let Some(status) = self.exit_status() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.exit_status()
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// All that it wrote to stdout and to stderr, once it has ended.
    pub fn output(&self) -> (String, String) {
        // The pipes' readers end with the last process that can write, or when they come to the processor; nothing may be
        // missing. What the server left behind may keep the pipes open.
        let start = Instant::now();
        let waits = |so_far: Duration| so_far < start::DEADLINE && (so_far < KEPT_OPEN || !self.has_detached());
        while (self.stdout.is_open() || self.stderr.is_open()) && waits(start.elapsed()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        (self.stdout(), self.stderr())
    }

    /// Whether it has left processes of its own behind.
    pub fn left_others(&self) -> bool {
        self.process.is_some_and(|process| rustix::process::test_kill_process_group(pid(process.pid)).is_ok())
    }

    /// The last lines of its stderr.
    pub fn said(&self) -> Vec<String> {
        said::lines(self.stderr.last_lines(), self.source.as_ref())
    }

    /// A failure whose cause is what it said last.
    pub fn failed(&self, symptom: Symptom, what: impl Into<String>) -> Stop {
        let said = self.said();
        Stop::fail(symptom, what, said::in_short(&said)).saying(said)
    }

    /// Sends a signal to the process, to its group, and to whatever of the family has left that.
    pub fn signal_all(&self, signal: Signal) -> Step {
        let process = self.process.ok_or_else(|| Stop::skip(self.out_of_reach()))?;
        let group = kill_process_group(pid(process.pid), signal);
        let mut reached = group.is_ok();
        for member in process.processes().unwrap_or_default() {
            if group.is_err() || !is_in_group(member, process.pid) {
                reached |= kill_process(pid(member.pid), signal).is_ok();
            }
        }
        if reached { Ok(()) } else { Err(Stop::Broken("the server's processes could not be signalled".into())) }
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: Signal) -> Step {
        let process = self.process.ok_or_else(|| Stop::skip(self.out_of_reach()))?;
        kill_process(pid(process.pid), signal).map_err(|error| Stop::Broken(format!("signal to the server: {error}")))
    }

    /// Sets the soft limit of file descriptors of each of its processes so that it can open `room` more.
    pub fn leave_room(&self, room: usize) -> Step {
        self.limit_fds(|process| {
            let open = process.fds()?;
            let free = (0..).filter(|fd| open.binary_search(fd).is_err());
            // The first free number that is out of reach is the limit.
            free.map(|fd: i32| fd as u64).nth(room)
        })
    }

    /// Sets the soft limit of file descriptors of each of its processes to the hard one.
    pub fn lift_limit(&self) -> Step {
        self.limit_fds(|_| Some(u64::MAX))
    }

    #[cfg(target_os = "linux")]
    fn limit_fds(&self, limit: impl Fn(observe::Process) -> Option<u64>) -> Step {
        let processes = self.process.and_then(|process| process.processes());
        for process in processes.ok_or_else(|| Stop::skip(self.out_of_reach()))? {
            // A process that has just ended needs no limit.
            let Some(limit) = limit(process) else { continue };
            let set = process.set_fd_limit(limit);
            set.map_err(|error| Stop::Broken(format!("prlimit of the server: {error}")))?;
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn limit_fds(&self, _limit: impl Fn(observe::Process) -> Option<u64>) -> Step {
        Err(Stop::skip("needs Linux's prlimit(2)"))
    }

    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // A tracer waits for all that it traces, and nobody else may.
        if let Some(follower) = &self.follower {
            follower.end();
            for stray in start::marked_with(&self.mark) {
                let _ = kill_process(pid(stray), Signal::KILL);
            }
            // As `ending::end` does: it was waited for, by its tracer.
            if !detached::has_ended(child.id() as i32) {
                ending::end_orphans();
            }
            return;
        }
        let started = Family::of(child.id() as i32);
        ending::end(&mut child, self.process.unwrap_or(started), &self.mark);
        if let Some(behind) = &self.behind {
            still_listens(self.addr.port(), behind);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command that should end by itself, and returns what it left. One that says it listens, or still runs at the
/// deadline, is killed.
pub fn run_to_end(argv: &[String], options: &Options, deadline: Duration) -> Step<Finished> {
    let (mut server, first_line) = Server::spawn(argv, options)?;
    let end = Instant::now() + deadline;
    let status = loop {
        if let Some(status) = server.exit_status() {
            break status;
        }
        let listens = first_line.try_recv().is_ok_and(|line| line.starts_with("listening on "));
        if listens || Instant::now() > end {
            let instead =
                if listens { "it listens".into() } else { format!("still runs after {} s", deadline.as_secs()) };
            let what = format!("'{}' was to end by itself, and {instead}", argv.join(" "));
            return Err(server.failed(Symptom::Contract, what));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    // What it may have started and left behind would keep the pipes open.
    server.kill();
    let (stdout, stderr) = server.output();
    Ok(Finished { status, stdout, stderr })
}

/// The port that was given to the server belongs to another process.
fn taken(port: u16, who: Option<(i32, String)>) -> Stop {
    Stop::skip(format!(
        "it has found no free port: it was to listen on port {port}, the last one of several, and {} listens there",
        none_of_its(who)
    ))
}

fn none_of_its(who: Option<(i32, String)>) -> String {
    match who {
        Some((pid, name)) => format!("process {pid} ({}), which is none of the server's,", shown(&name, 40)),
        None => "a process that is none of the server's".into(),
    }
}

/// By command: the name of who listened in place of it, and whether it has been found to be its front.
type Strangers = HashMap<Vec<String>, (Option<String>, bool)>;

static STRANGERS: Mutex<Option<Strangers>> = Mutex::new(None);

/// Whether a process that is none of the server's listens on the server's behalf (a container's proxy, a remote shell).
/// A process that merely happens to be on the port is not there again when the server is started on another one, which
/// was free before as well. So a name that stays on the port twice in a row is the server's front; it is remembered for
/// later starts.
fn is_its_front(launch: &Launch, who: &Option<(i32, String)>, has_stayed: bool) -> bool {
    let Launch::Command(argv) = launch else { return false };
    let name = who.as_ref().map(|(_, name)| name.clone());
    let mut strangers = STRANGERS.lock().unwrap_or_else(PoisonError::into_inner);
    let strangers = strangers.get_or_insert_default();
    let before = strangers.get(argv).filter(|(before, _)| *before == name).map(|(_, is_front)| *is_front);
    let is_front = before.is_some_and(|is_front| is_front || has_stayed);
    if has_stayed || is_front {
        strangers.insert(argv.clone(), (name, is_front));
    }
    is_front
}

/// The server listens itself: whoever was on its port before was there by chance.
fn has_no_front(launch: &Launch) {
    if let Launch::Command(argv) = launch
        && let Some(strangers) = STRANGERS.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
    {
        strangers.remove(argv);
    }
}

/// What listens on the server's behalf was not started here, and is not this program's to end.
fn still_listens(port: u16, behind: &str) {
    let end = Instant::now() + Duration::from_secs(1);
    while observe::is_listening(port) == Some(true) {
        if Instant::now() > end {
            crate::notes::note(&format!("left running: {behind}, and still listens on port {port}"));
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(target_os = "linux")]
fn is_in_group(process: observe::Process, group: i32) -> bool {
    process.group() == Some(group)
}

#[cfg(not(target_os = "linux"))]
fn is_in_group(_: observe::Process, _: i32) -> bool {
    true
}

fn pid(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("a process id is not 0")
}
