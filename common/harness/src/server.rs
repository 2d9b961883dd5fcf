//! The server under test, as it runs: started with its own limits, stopped whatever happens.
//!
//! Invariant: nothing that a check started outlives it, and no process is taken for the server that is not the
//! server's.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use observe::errno::end_of_process;
use observe::start::{self, Limits, Mark, NoStart, PORT};
use observe::{Family, Listening};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::failure::{Step, Stop, Symptom};
use crate::subject::{Launch, Subject};

/// Generous: a start that takes this long is a fault even on a machine with a load of 20.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// What is kept of each output stream.
const OUTPUT_KEPT: usize = 64 * 1024;
const NOT_OURS: &str = "needs a server that the harness starts itself";

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
    /// Its processes, if it was started here.
    pub process: Option<Family>,
    child: Option<Child>,
    mark: Mark,
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
    /// Starts the subject and waits until it accepts connections. A server that loses its port to somebody else is
    /// started again on another.
    pub fn start(subject: &Subject, options: &Options) -> Step<Self> {
        let argv = match &subject.launch {
            Launch::Served(addr) => return Ok(Self::elsewhere(*addr)),
            Launch::Command(argv) => argv,
        };
        start::on_a_free_port(argv, |argv, port| {
            let mut argv = argv.to_vec();
            if subject.own {
                argv.extend(["--addr".into(), options.addr.clone()]);
                argv.extend(options.args.iter().cloned());
            }
            let (mut server, first_line) = Self::spawn(&argv, options)?;
            match port {
                Some(port) => server.wait_for_port(port)?,
                None => server.wait_for_line(&first_line)?,
            }
            Ok(server)
        })
    }

    fn elsewhere(addr: SocketAddr) -> Self {
        let (stdout, stderr) = Default::default();
        Self { addr, process: None, child: None, mark: Mark::new(), stdout, stderr }
    }

    fn spawn(argv: &[String], options: &Options) -> Step<(Self, mpsc::Receiver<String>)> {
        let mark = Mark::new();
        let limits = Limits { nofile: options.nofile, inherit: options.inherit };
        let mut command = start::command(argv, limits, &mark);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start::spawn(&mut command, limits).map_err(|error| {
            Stop::Broken(format!("cannot start '{}': {error} (is the path right, and is it executable?)", argv[0]))
        })?;
        let (first_line, receiver) = mpsc::channel();
        let stdout = collect(child.stdout.take().expect("piped"), Some(first_line));
        let stderr = collect(child.stderr.take().expect("piped"), None);
        let process = Family { pid: child.id() as i32 };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok((Self { addr, process: Some(process), child: Some(child), mark, stdout, stderr }, receiver))
    }

    fn wait_for_port(&mut self, port: u16) -> Result<(), NoStart<Stop>> {
        self.addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let end = Instant::now() + START_DEADLINE;
        // A server that ends between two parts of a look leaves a listener that nobody has.
        const LOOKS: u32 = 3;
        let mut unknown = 0;
        loop {
            match self.listening(port) {
                Listening::Own => return Ok(()),
                Listening::Stranger(None) if unknown < LOOKS => unknown += 1,
                Listening::Stranger(who) => return Err(NoStart::PortTaken(taken(port, who))),
                Listening::Nobody => unknown = 0,
            }
            if let Err(stop) = self.still_starting(end, &format!("listens on port {port}")) {
                let (stdout, stderr) = self.output();
                return Err(match start::lost_its_port(port, &(stdout + &stderr)) {
                    true => NoStart::PortTaken(stop),
                    false => NoStart::Other(stop),
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn listening(&self, port: u16) -> Listening {
        match self.process.and_then(|process| process.listening(port, &self.mark)) {
            Some(listening) => listening,
            // Costs the server a connection it did not expect, so only where the listener can't be seen.
            None if TcpStream::connect(self.addr).is_ok() => Listening::Own,
            None => Listening::Nobody,
        }
    }

    fn wait_for_line(&mut self, first_line: &mpsc::Receiver<String>) -> Step {
        let end = Instant::now() + START_DEADLINE;
        loop {
            match first_line.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => {
                    let addr = line.strip_prefix("listening on ").and_then(|addr| addr.trim_end().parse().ok());
                    self.addr = addr.ok_or_else(|| {
                        let what = format!("the first line on stdout is '{line}' and not 'listening on ADDR:PORT'");
                        let hint = format!("A server with no {PORT} in its command has to say where it listens.");
                        Stop::fail(Symptom::Contract, what, hint)
                    })?;
                    return Ok(());
                }
                Err(_) => {
                    let awaited = format!("prints 'listening on ADDR:PORT' to stdout (no {PORT} in its command)");
                    self.still_starting(end, &awaited)?;
                }
            }
        }
    }

    fn still_starting(&mut self, end: Instant, awaited: &str) -> Step {
        if let Some(status) = self.exit_status() {
            self.output();
            let what = format!("the server ended with {} before it {awaited}", end_of_process(status));
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
        let process = self.process.ok_or_else(|| Stop::skip(NOT_OURS))?;
        kill_process_group(pid(process.pid), signal)
            .map_err(|error| Stop::Broken(format!("signal to the server's process group: {error}")))
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: Signal) -> Step {
        let process = self.process.ok_or_else(|| Stop::skip(NOT_OURS))?;
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
        for process in processes.ok_or_else(|| Stop::skip(NOT_OURS))? {
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
        let _ = kill_process_group(pid(child.id() as i32), Signal::KILL);
        for stray in start::marked_with(&self.mark) {
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

/// The port that was given to the server belongs to another process.
fn taken(port: u16, who: Option<(i32, String)>) -> Stop {
    let who = match who {
        Some((pid, name)) => format!("process {pid} ({name}), which is none of the server's"),
        None => "a process that is none of the server's".into(),
    };
    Stop::Broken(format!(
        "the server was to listen on port {port}, and {who}, listens there. If something else listens on the server's \
         behalf (a container, a remote shell), start the server yourself, and check its address (--addr HOST:PORT)"
    ))
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
