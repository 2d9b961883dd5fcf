//! What a confined program can reach, tried by a program that tries all of it: this test's own, started with `--probe`.
//!
//! Invariant: each attack is tried as root and as an ordinary user where the test may become both, and with each means of
//! confinement switched off that the others have to make up for.

use std::ffi::CString;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A test, which is given the programs that it starts.
pub type Test = fn(&Programs);

/// By name.
pub const TESTS: &[(&str, Test)] = &[
    ("the_filter_of_calls_holds_by_itself", the_filter_of_calls_holds_by_itself),
    ("namespaces_hold_by_themselves", namespaces_hold_by_themselves),
    ("landlock_and_a_user_of_its_own_hold_together", landlock_and_a_user_of_its_own_hold_together),
    ("a_correct_server_is_served_what_it_needs", a_correct_server_is_served_what_it_needs),
];

/// A user that has nothing.
const NOBODY: u32 = 65534;
/// A user of an attempt's own, as the grader gives one where it is root.
const OWN: &str = "1879050000";

/// Copies of the lab and of this program that every user can start. They are made before the first test: a child that
/// another test starts meanwhile would hold a copy open for writing until its exec, and a program that is being written
/// cannot be started (ETXTBSY).
pub struct Programs(PathBuf);

impl Programs {
    /// In a folder that goes with this value.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("lab-confine-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let programs = Self(folder);
        for (from, to) in
            [(PathBuf::from(env!("CARGO_BIN_EXE_lab")), "lab"), (std::env::current_exe().unwrap(), "probe")]
        {
            fs::copy(from, programs.0.join(to)).expect("copied");
            fs::set_permissions(programs.0.join(to), fs::Permissions::from_mode(0o755)).expect("its own file");
        }
        fs::set_permissions(&programs.0, fs::Permissions::from_mode(0o755)).expect("its own folder");
        programs
    }

    /// What the probe has reached under these options of `lab confine`, and, before a `--`, of `lab apart`. Nothing if
    /// these options are none for this machine.
    fn reached(&self, user: Option<u32>, options: &[&str], outside: SocketAddr) -> Option<Vec<String>> {
        let lab = self.0.join("lab");
        let mut command = Command::new(&lab);
        let (apart, confine) = match options.split(|word| *word == "--").collect::<Vec<_>>()[..] {
            [apart, confine] => (apart, confine),
            _ => (&[][..], options),
        };
        if !apart.is_empty() {
            command.arg("apart").args(apart).arg("--").arg(&lab);
        }
        command.arg("confine").args(confine).arg("--").arg(self.0.join("probe"));
        // Its environment is taken from it, so it is told by arguments.
        command.args(["--probe", &outside.to_string(), &std::process::id().to_string()]);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let output = command.output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(said) = text.split("reached:").nth(1) else {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("apart: cannot"), "{options:?} as {user:?}: {text} {said}");
            eprintln!("not tried: {options:?}: {said}");
            return None;
        };
        Some(said.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The users that this test can be: itself, and nobody if it is root.
fn users() -> Vec<Option<u32>> {
    if is_root() { vec![None, Some(NOBODY)] } else { vec![None] }
}

fn the_filter_of_calls_holds_by_itself(programs: &Programs) {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    for user in users() {
        let reached = programs.reached(user, &["--no-landlock", "--io-uring"], outside.local_addr().unwrap());
        let mut reached = reached.expect("seccomp is everywhere");
        // A path can be no filter's business.
        reached.retain(|it| !["file", "processes", "ring"].contains(&it.as_str()));
        assert_eq!(reached, [""; 0], "as {user:?}");
    }
    let rings = |options: &[&str]| programs.reached(None, options, outside.local_addr().unwrap()).unwrap();
    assert!(!rings(&["--no-landlock"]).contains(&"ring".to_owned()));
}

fn namespaces_hold_by_themselves(programs: &Programs) {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    for user in users() {
        let options = ["--from", "everything", "--", "--no-landlock", "--no-seccomp", "--apart"];
        let Some(reached) = programs.reached(user, &options, outside.local_addr().unwrap()) else { continue };
        let out = ["file", "processes", "connect", "fastopen", "mptcp", "prlimit", "setpriority", "affinity", "kill"];
        let out: Vec<&str> = out.into_iter().filter(|it| reached.contains(&(*it).to_owned())).collect();
        assert_eq!(out, [""; 0], "as {user:?}: {reached:?}");
    }
}

fn landlock_and_a_user_of_its_own_hold_together(programs: &Programs) {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = outside.local_addr().unwrap();
    let report =
        Command::new(env!("CARGO_BIN_EXE_lab")).args(["confine", "--report", "--no-seccomp"]).output().unwrap();
    if String::from_utf8_lossy(&report.stdout).contains("no Landlock") {
        eprintln!("not tried: no Landlock on this kernel");
        return;
    }
    for user in users() {
        let reached = programs.reached(user, &["--no-seccomp"], listener).unwrap();
        assert!(!reached.iter().any(|it| ["file", "connect"].contains(&it.as_str())), "as {user:?}: {reached:?}");
        // That a process exists is no secret.
        assert_eq!(programs.reached(user, &[], listener).unwrap(), ["processes"], "as {user:?}");
    }
    if is_root() {
        let reached = programs.reached(None, &["--uid", OWN, "--no-seccomp", "--no-landlock"], listener).unwrap();
        let out = ["prlimit", "setpriority", "affinity", "kill", "trace"];
        assert!(!reached.iter().any(|it| out.contains(&it.as_str())), "{reached:?}");
    }
}

fn a_correct_server_is_served_what_it_needs(programs: &Programs) {
    // What is refused above must not be all that a probe can do.
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let all = programs.reached(None, &["--no-landlock", "--no-seccomp"], outside.local_addr().unwrap()).unwrap();
    for wanted in ["file", "processes", "connect", "memory", "sockets", "clone"] {
        assert!(all.contains(&wanted.to_owned()), "{all:?}");
    }
}

/// What a probe tries, by name.
type Attack = (&'static str, fn(SocketAddr, i32) -> bool);

const ATTACKS: &[Attack] = &[
    ("file", |_, _| {
        fs::write("/dev/shm/lab-was-here", "x").is_ok_and(|()| fs::remove_file("/dev/shm/lab-was-here").is_ok())
    }),
    ("processes", |_, other| Path::new(&format!("/proc/{other}/stat")).exists()),
    ("connect", |outside, _| std::net::TcpStream::connect(outside).is_ok()),
    ("fastopen", |outside, _| sends_to(outside, 0, libc::MSG_FASTOPEN)),
    ("mptcp", |outside, _| sends_to(outside, 262, 0)),
    ("sockets", |_, _| {
        let kinds =
            [(libc::AF_UNIX, libc::SOCK_STREAM), (libc::AF_INET, libc::SOCK_DGRAM), (libc::AF_NETLINK, libc::SOCK_RAW)];
        // SAFETY: numbers only.
        kinds.iter().any(|(family, kind)| unsafe { libc::socket(*family, *kind, 0) } >= 0)
    }),
    ("prlimit", |_, other| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` outlives the call.
        unsafe { libc::prlimit(other, libc::RLIMIT_CORE, std::ptr::null(), &mut limit) == 0 }
    }),
    // SAFETY: numbers only; the priority that it has.
    ("setpriority", |_, other| unsafe { libc::setpriority(libc::PRIO_PROCESS, other as u32, 0) == 0 }),
    ("affinity", |_, other| {
        // SAFETY: a set of zeros is one, and the call reads it.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            let size = size_of_val(&set);
            (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut set));
            libc::sched_setaffinity(other, size, &set) == 0
        }
    }),
    // SAFETY: signal 0 only asks whether it could be sent.
    ("kill", |_, other| unsafe { libc::kill(other, 0) == 0 }),
    ("trace", |_, other| {
        // SAFETY: no pointers; what is seized is let go.
        unsafe {
            let (none, seized) =
                (std::ptr::null_mut::<libc::c_void>(), libc::ptrace(libc::PTRACE_SEIZE, other, 0, 0) == 0);
            libc::ptrace(libc::PTRACE_DETACH, other, none, none);
            seized
        }
    }),
    // SAFETY: numbers only.
    ("hide", |_, _| unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) == 0 }),
    // SAFETY: numbers only.
    ("leave", |_, _| unsafe { libc::setsid() >= 0 || libc::unshare(libc::CLONE_NEWUSER) == 0 }),
    ("clone", |_, _| {
        // SAFETY: as fork, with another parent; the child ends at once.
        unsafe {
            let child = libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0);
            if child == 0 {
                libc::_exit(0);
            }
            child > 0
        }
    }),
    ("memory", |_, _| {
        // SAFETY: the name is a literal.
        let file = unsafe { libc::memfd_create(c"x".as_ptr(), 0) };
        file >= 0
    }),
    // SAFETY: numbers only: the session's keyring is asked for.
    ("keys", |_, _| unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 1) >= 0 }),
    ("mode", |_, _| {
        let path = CString::new("/dev/shm").unwrap();
        // SAFETY: the path outlives the call.
        unsafe { libc::fchmodat(libc::AT_FDCWD, path.as_ptr(), 0o1777, 0) == 0 }
    }),
    ("ring", |_, _| {
        let mut parameters = [0u64; 15];
        // SAFETY: the array is as large as the struct that the call writes.
        unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) >= 0 }
    }),
];

fn sends_to(outside: SocketAddr, protocol: i32, flags: i32) -> bool {
    let SocketAddr::V4(v4) = outside else { return false };
    // SAFETY: zeros are a value of sockaddr_in, and it outlives the calls.
    unsafe {
        let mut addr: libc::sockaddr_in = std::mem::zeroed();
        addr.sin_family = libc::AF_INET as u16;
        addr.sin_port = v4.port().to_be();
        addr.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
        let (at, len) = ((&raw const addr).cast(), size_of_val(&addr) as u32);
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, protocol);
        if flags == 0 {
            return socket >= 0 && libc::connect(socket, at, len) == 0;
        }
        libc::sendto(socket, b"x".as_ptr().cast(), 1, flags | libc::MSG_NOSIGNAL, at, len) >= 0
    }
}

/// The confined program: tries all, and prints the names of what it has reached.
pub fn probe(outside: &str, other: &str) {
    let (outside, other) = (outside.parse().expect("an address"), other.parse().expect("a process id"));
    let reached = ATTACKS.iter().filter(|(_, attack)| attack(outside, other)).map(|(name, _)| *name);
    println!("reached: {}", reached.collect::<Vec<_>>().join(" "));
}
