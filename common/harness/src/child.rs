//! A server as a child process: started with its own limits, stopped whatever happens.
//!
//! Invariant: nothing that a check started outlives it. The child leads a process group of its own and carries a mark in
//! its environment, so that descendants which left the group are found too.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::failure::{Step, Stop, Symptom};
use crate::kernel::{self, Process};
use crate::subject::{Launch, Subject};
#[cfg(target_os = "linux")]
use crate::trial::raise_fd_limit;

/// Generous: a start that takes this long is a fault even on a machine with a load of 20.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// What is kept of each output stream.
const OUTPUT_KEPT: usize = 64 * 1024;
const MARK: &str = "ECHO_HARNESS_SUBJECT";

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// RLIMIT_NOFILE of the child, soft and hard; the harness's own limit if not given.
    pub nofile: Option<u64>,
    /// Descriptors of /dev/null that the child inherits, from 3 on, so that its own start at high numbers.
    pub inherit: usize,
    /// Where a server with this repository's command line is told to listen.
    pub addr: String,
    /// More arguments for it.
    pub args: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { nofile: None, inherit: 0, addr: "127.0.0.1:0".into(), args: Vec::new() }
    }
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process, if it was started here.
    pub process: Option<Process>,
    child: Option<Child>,
    mark: String,
    stdout: Output,
    stderr: Output,
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

type Output = Arc<Mutex<Vec<u8>>>;

impl Server {
    /// Starts the subject and waits until it accepts connections.
    pub fn start(subject: &Subject, options: &Options) -> Step<Self> {
        let argv = match &subject.launch {
            Launch::Served(addr) => {
                return Ok(Self {
                    addr: *addr,
                    process: None,
                    child: None,
                    mark: String::new(),
                    stdout: Output::default(),
                    stderr: Output::default(),
                });
            }
            Launch::Command(argv) => argv,
        };
        let port = argv.iter().any(|arg| arg.contains("{port}")).then(free_port).transpose()?;
        let mut argv: Vec<String> = match port {
            Some(port) => argv.iter().map(|arg| arg.replace("{port}", &port.to_string())).collect(),
            None => argv.clone(),
        };
        if subject.own {
            argv.extend(["--addr".into(), options.addr.clone()]);
            argv.extend(options.args.iter().cloned());
        }
        let (mut server, first_line) = Self::spawn(&argv, options)?;
        match port {
            Some(port) => server.wait_for_port(port)?,
            None => server.wait_for_line(&first_line, &argv)?,
        }
        Ok(server)
    }

    fn spawn(argv: &[String], options: &Options) -> Step<(Self, mpsc::Receiver<String>)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut command = command(argv, options);
        command
            .env(MARK, &mark)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A start that is under way in another thread has a descriptor that `inherit_null` must leave alone if it is its
        // own, and the copy of which would be a gap: the listener that was to come behind 1,023 would fit into it.
        let alone = options.inherit > 0;
        let _alone = alone.then(|| STARTS.write().unwrap_or_else(PoisonError::into_inner));
        let _among_others = (!alone).then(|| STARTS.read().unwrap_or_else(PoisonError::into_inner));
        let mut child = command.spawn().map_err(|error| {
            Stop::Broken(format!("cannot start '{}': {error} (is the path right, and is it executable?)", argv[0]))
        })?;
        let (first_line, receiver) = mpsc::channel();
        let stdout = collect(child.stdout.take().expect("piped"), Some(first_line));
        let stderr = collect(child.stderr.take().expect("piped"), None);
        let process = Process { pid: child.id() as i32 };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok((Self { addr, process: Some(process), child: Some(child), mark, stdout, stderr }, receiver))
    }

    fn wait_for_port(&mut self, port: u16) -> Step {
        self.addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let end = Instant::now() + START_DEADLINE;
        loop {
            let listens = match kernel::is_listening(port) {
                Some(listens) => listens,
                // Costs the server a connection it did not expect, so only where it can't be seen.
                None => TcpStream::connect(self.addr).is_ok(),
            };
            if listens {
                return Ok(());
            }
            self.still_starting(end, &format!("listens on port {port}"))?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_for_line(&mut self, first_line: &mpsc::Receiver<String>, argv: &[String]) -> Step {
        let end = Instant::now() + START_DEADLINE;
        loop {
            match first_line.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => {
                    let addr = line.strip_prefix("listening on ").and_then(|addr| addr.trim_end().parse().ok());
                    self.addr = addr.ok_or_else(|| {
                        let what = format!("the first line on stdout is '{line}' and not 'listening on ADDR:PORT'");
                        let hint = "A server with no {port} in its command has to say where it listens.";
                        Stop::fail(Symptom::Contract, what, hint)
                    })?;
                    return Ok(());
                }
                Err(_) => {
                    let hint = if argv.iter().any(|arg| arg == "{port}") { "" } else { " (no {port} in its command)" };
                    self.still_starting(end, &format!("prints 'listening on ADDR:PORT' to stdout{hint}"))?;
                }
            }
        }
    }

    fn still_starting(&mut self, end: Instant, awaited: &str) -> Step {
        if let Some(status) = self.exit_status() {
            self.output();
            let what = format!("the server ended with {} before it {awaited}", describe(status));
            return Err(Stop::fail(Symptom::Exited, what, self.last_words()));
        }
        if Instant::now() > end {
            let what =
                format!("{} s after its start the server does not yet do this: it {awaited}", START_DEADLINE.as_secs());
            return Err(Stop::fail(Symptom::Slow, what, self.last_words()));
        }
        Ok(())
    }

    /// Its exit status if it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok()?
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
        text(&self.stdout)
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// All that it wrote to stdout and to stderr, once it has ended.
    pub fn output(&self) -> (String, String) {
        // The pipes' readers end with the process, or at most a moment later; nothing may be missing.
        let end = Instant::now() + Duration::from_secs(1);
        while Arc::strong_count(&self.stdout) + Arc::strong_count(&self.stderr) > 2 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        (self.stdout(), self.stderr())
    }

    /// Whether it has left processes of its own behind.
    pub fn left_others(&self) -> bool {
        self.process.is_some_and(|process| rustix::process::test_kill_process_group(pid(process.pid)).is_ok())
    }

    /// The end of its stderr as a sentence; empty if it said nothing.
    pub fn last_words(&self) -> String {
        let stderr = self.stderr();
        let lines: Vec<_> = stderr.lines().rev().take(6).collect();
        let last: Vec<_> = lines.into_iter().rev().collect();
        if last.is_empty() {
            String::new()
        } else {
            format!("Its last words on stderr: {}.", last.join(" / ").trim_end_matches('.'))
        }
    }

    /// Sends a signal to the process and to the children it has started.
    pub fn signal_all(&self, signal: Signal) -> Step {
        let process = self.process.ok_or_else(|| Stop::skip("needs a server that the harness starts itself"))?;
        kill_process_group(pid(process.pid), signal)
            .map_err(|error| Stop::Broken(format!("signal to the server's process group: {error}")))
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: Signal) -> Step {
        let process = self.process.ok_or_else(|| Stop::skip("needs a server that the harness starts itself"))?;
        kill_process(pid(process.pid), signal).map_err(|error| Stop::Broken(format!("signal to the server: {error}")))
    }

    /// Sets the soft limit of descriptors of each of its processes so that it can open `room` more.
    pub fn leave_room(&self, room: usize) -> Step {
        self.limit_fds(|process| {
            let open = process.fd_numbers()?;
            let free = (0..).filter(|fd| open.binary_search(fd).is_err());
            // The first free number that is out of reach is the limit.
            free.map(|fd: i32| fd as u64).nth(room)
        })
    }

    /// Sets the soft limit of descriptors of each of its processes to the hard one.
    pub fn lift_limit(&self) -> Step {
        self.limit_fds(|_| Some(u64::MAX))
    }

    #[cfg(target_os = "linux")]
    fn limit_fds(&self, limit: impl Fn(Process) -> Option<u64>) -> Step {
        use rustix::process::{Resource, Rlimit, prlimit};
        let processes = self.process.and_then(|process| process.family());
        for id in processes.ok_or_else(|| Stop::skip("needs a server that the harness starts itself"))? {
            // One that has just ended needs no limit.
            let Some(limit) = limit(Process { pid: id }) else { continue };
            let maximum = raise_fd_limit();
            let limit = Rlimit { current: Some(limit.min(maximum)), maximum: Some(maximum) };
            prlimit(Some(pid(id)), Resource::Nofile, limit)
                .map_err(|error| Stop::Broken(format!("prlimit of the server: {error}")))?;
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn limit_fds(&self, _limit: impl Fn(Process) -> Option<u64>) -> Step {
        Err(Stop::skip("needs Linux's prlimit(2)"))
    }

    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = kill_process_group(pid(child.id() as i32), Signal::KILL);
        for stray in marked(&self.mark) {
            let _ = kill_process(pid(stray), Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
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
            return Err(Stop::fail(Symptom::Contract, what, server.last_words()));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    // What it may have started and left behind would keep the pipes open.
    server.kill();
    let (stdout, stderr) = server.output();
    Ok(Finished { status, stdout, stderr })
}

static STARTS: RwLock<()> = RwLock::new(());

/// Waits until no server is being started, and holds starts up. A process has copies of all the harness's descriptors until
/// its exec, and a connection that is closed meanwhile is not: neither FIN nor reset is sent.
pub(crate) fn hold_starts() -> RwLockWriteGuard<'static, ()> {
    STARTS.write().unwrap_or_else(PoisonError::into_inner)
}

/// `exit code 1`, or `signal 6 (SIGABRT)`.
pub fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let names =
                [(6, "SIGABRT"), (8, "SIGFPE"), (9, "SIGKILL"), (11, "SIGSEGV"), (13, "SIGPIPE"), (15, "SIGTERM")];
            let name = names.iter().find(|(number, _)| *number == signal).map_or("", |(_, name)| name);
            format!("signal {signal} {name}").trim_end().to_owned()
        }
        (None, None) => "an unknown status".into(),
    }
}

fn command(argv: &[String], options: &Options) -> Command {
    let mut command = Command::new(&argv[0]);
    command.args(argv[1..].iter().map(OsString::from));
    // A group of its own, so that what it starts can be ended with it.
    command.process_group(0);
    let (nofile, inherit) = (options.nofile, options.inherit);
    // SAFETY: between fork and exec only async-signal-safe calls are made: setrlimit, open, dup2, fcntl, getsockopt, prctl.
    unsafe {
        command.pre_exec(move || {
            if let Some(limit) = nofile {
                let limit = libc::rlimit { rlim_cur: limit as libc::rlim_t, rlim_max: limit as libc::rlim_t };
                if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            inherit_null(inherit as i32)?;
            #[cfg(target_os = "linux")]
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command
}

/// Fills the numbers from 3 on with /dev/null. What the harness has open there goes at exec anyway, and would leave gaps.
///
/// # Safety
/// To be called between fork and exec only: it closes descriptors that others own.
unsafe fn inherit_null(count: i32) -> std::io::Result<()> {
    // SAFETY: the caller's; the path is a C string and no other pointer is passed.
    let done = unsafe {
        let null = if count > 0 { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) } else { 0 };
        null >= 0
            && (3..3 + count).filter(|fd| !reports_a_failed_exec(*fd)).all(|fd| match fd == null {
                true => libc::fcntl(fd, libc::F_SETFD, 0) >= 0,
                false => libc::dup2(null, fd) >= 0,
            })
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Whether `Command` may need this descriptor to say that exec failed: it uses a SEQPACKET pair on Linux, a pipe elsewhere.
fn reports_a_failed_exec(fd: i32) -> bool {
    let (mut kind, mut len): (libc::c_int, libc::socklen_t) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: both pointers are to variables of the types that SO_TYPE wants.
    let is_socket =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &mut len) == 0 };
    match cfg!(target_os = "linux") {
        true => is_socket && kind == libc::SOCK_SEQPACKET,
        // SAFETY: no pointers.
        false => !is_socket && unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) < 0 },
    }
}

fn free_port() -> Step<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Reads a stream to its end, so that the server never blocks on a full pipe; keeps the beginning.
fn collect(stream: impl Read + Send + 'static, first_line: Option<mpsc::Sender<String>>) -> Output {
    let output = Output::default();
    let kept = output.clone();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut first_line = first_line;
        let mut line = Vec::new();
        while matches!(reader.by_ref().take(OUTPUT_KEPT as u64).read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let mut kept = kept.lock().expect("no panic while locked");
            let room = OUTPUT_KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&line[..line.len().min(room)]);
            // Kept first: who is told that it listens may ask for its output at once.
            if let Some(sender) = first_line.take() {
                let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            line.clear();
        }
    });
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.lock().expect("no panic while locked")).into_owned()
}

fn pid(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("a process id is not 0")
}

/// Every process whose environment carries the mark: descendants that left the process group or lost their parent.
fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let Ok(proc) = std::fs::read_dir("/proc") else { return Vec::new() };
    proc.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()))
        })
        .collect()
}
