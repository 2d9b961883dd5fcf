//! What a server inherits from the program that starts it: the same from every terminal.
//!
//! Invariant: how a server begins follows from its command, its `Limits` and this machine. It gets the descriptors 0, 1
//! and 2 and those that `Limits` names, the default action of every signal, no blocked signal, the umask 022, the
//! variables of `environment`, and limits that do not follow from the soft limits of the shell. A hard limit that is
//! lower than these stays, because only root may raise it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;

use crate::start::Limits;

/// The most descriptors that a server may have. Some machines allow a milliard of them, and a program that closes all the
/// numbers that it could have takes minutes there.
pub const DESCRIPTORS: u64 = if cfg!(target_os = "macos") { 10_240 } else { 1 << 16 };

/// No `Limits::gaps` names this number or a higher one.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) const ABOVE_GAPS: i32 = 256;

/// The stack of the first thread, and of others by default: what most systems give.
const STACK: u64 = 8 << 20;
const UMASK: libc::mode_t = 0o022;
/// No system has more signals.
const SIGNALS: libc::c_int = 128;

/// The same for every server. Messages are in English, because a server's words are read for what they say ("address
/// already in use").
const FIXED: &[(&str, &str)] = &[("LANG", "C.UTF-8"), ("RUST_BACKTRACE", "0")];

/// Where programs are looked for, if this program was not told.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Handed on: these say where programs, libraries and the user's files are, and not how a program behaves. Any other
/// variable can stand in the command: `env NAME=value ./server {port}`.
const HANDED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "NIX_LD",
    "NIX_LD_LIBRARY_PATH",
    "JAVA_HOME",
    "CLASSPATH",
    "SDKMAN_DIR",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "NODE_PATH",
    "NVM_DIR",
    "GEM_HOME",
    "GEM_PATH",
    "RUBYLIB",
    "RBENV_ROOT",
    "RBENV_VERSION",
    "PERL5LIB",
    "GOROOT",
    "GOPATH",
    "GOCACHE",
    "GOMODCACHE",
    "GOTOOLCHAIN",
    "DOTNET_ROOT",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "CONTAINER_HOST",
    "SSH_AUTH_SOCK",
];

/// The environment of every server, but for its mark.
pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let path = std::env::var_os("PATH").is_none().then(|| ("PATH", OsString::from(PATH)));
    let handed_on = HANDED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let fixed = FIXED.iter().map(|(name, value)| (*name, OsString::from(value)));
    handed_on.chain(path).chain(fixed)
}

/// Gives the process that is about to run the server's program what it inherits.
///
/// # Errors
/// If a limit or a descriptor that was asked for cannot be had.
///
/// # Safety
/// To be called between fork and exec only: it closes descriptors that others own.
pub(crate) unsafe fn set_up(limits: &Limits) -> io::Result<()> {
    // SAFETY: the caller is between fork and exec, as each of these wants.
    unsafe {
        default_signals();
        libc::umask(UMASK);
        usual_limits();
        limit_descriptors(limits)?;
        close_at_exec();
        open_null(limits)
    }
}

/// nohup, a shell's background jobs and some supervisors leave signals ignored or blocked, and exec keeps that.
///
/// # Safety
/// The program's own handlers are gone after it.
unsafe fn default_signals() {
    // SAFETY: the set is filled before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    for signal in 1..=SIGNALS {
        #[cfg(target_os = "linux")]
        {
            // Not by signal(3): the C library keeps 32 and 33 for its threads and refuses them, and a parent that was
            // linked with another library may have them ignored.
            let default = [0u64; 8];
            // SAFETY: a struct sigaction of zeros is SIG_DFL without flags, and shorter than the array; 8 is the length of
            // the kernel's signal set. What is no signal, or may not be changed, is refused.
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8) };
        }
        #[cfg(not(target_os = "linux"))]
        // SAFETY: no pointers. What is no signal, or may not be changed, is refused.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Soft limits as high as they go, but for the stack, whose size threads take over, and for core files, which nobody
/// wants. What is refused stays as it was.
///
/// # Safety
/// It changes the limits of the whole process.
unsafe fn usual_limits() {
    let limits = [
        (libc::RLIMIT_STACK, Some(STACK)),
        (libc::RLIMIT_CORE, Some(0)),
        (libc::RLIMIT_CPU, None),
        (libc::RLIMIT_FSIZE, None),
        (libc::RLIMIT_DATA, None),
        (libc::RLIMIT_RSS, None),
        (libc::RLIMIT_NPROC, None),
        (libc::RLIMIT_MEMLOCK, None),
        #[cfg(target_os = "linux")]
        (libc::RLIMIT_AS, None),
    ];
    for (resource, most) in limits {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` outlives both calls.
        unsafe {
            if libc::getrlimit(resource, &mut limit) == 0 {
                limit.rlim_cur = most.map_or(limit.rlim_max, |most| limit.rlim_max.min(most as libc::rlim_t));
                libc::setrlimit(resource, &limit);
            }
        }
    }
}

/// # Safety
/// It changes the limits of the whole process.
unsafe fn limit_descriptors(limits: &Limits) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            let most = limit.rlim_max.min(DESCRIPTORS as libc::rlim_t);
            limit.rlim_cur = limits.nofile.map_or(most, |nofile| nofile as libc::rlim_t);
            limit.rlim_max = if limits.raisable { most } else { limit.rlim_cur };
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A terminal multiplexer, an editor or a shell may have left descriptors open. They are closed at exec, and not before:
/// `Command` has one of its own open until then.
///
/// # Safety
/// Descriptors that others own are closed at exec.
unsafe fn close_at_exec() {
    #[cfg(target_os = "linux")]
    {
        const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
        // SAFETY: no pointers.
        let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
        if done == 0 {
            return;
        }
    }
    // Numbers above this limit can only be left from a time when it was higher.
    // SAFETY: no pointers; a number that is not open is refused.
    unsafe {
        for fd in 3..DESCRIPTORS as libc::c_int {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// Opens /dev/null as the descriptors that the server is to find open.
///
/// # Safety
/// Descriptors that others own are replaced.
unsafe fn open_null(limits: &Limits) -> io::Result<()> {
    let wanted = |fd: i32| (fd as usize) < 3 + limits.inherit || limits.gaps.contains(&fd);
    let last = limits.gaps.iter().copied().max().unwrap_or(0).max(2 + limits.inherit as i32);
    if last < 3 {
        return Ok(());
    }
    // SAFETY: the path is a C string. The descriptors that are replaced belong to the child alone, whose program is
    // about to be replaced; the caller promises that.
    let done = unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        null >= 0
            && (3..=last).filter(|fd| wanted(*fd) && !reports_a_failed_exec(*fd)).all(|fd| match fd == null {
                true => libc::fcntl(fd, libc::F_SETFD, 0) >= 0,
                false => libc::dup2(null, fd) >= 0,
            })
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Occupies those of the numbers that are free, for as long as the result lives: `Command` then has none of them for
/// itself, which `open_null` would have to leave alone.
pub(crate) fn occupy(numbers: &[i32]) -> io::Result<Vec<OwnedFd>> {
    let null = File::open("/dev/null")?;
    let mut held = Vec::new();
    for number in numbers {
        let fd = fcntl_dupfd_cloexec(&null, *number)?;
        if fd.as_raw_fd() == *number {
            held.push(fd);
        }
    }
    Ok(held)
}

/// Whether `Command` may need this descriptor to say that exec failed: it uses a SEQPACKET pair on Linux, a pipe
/// elsewhere.
fn reports_a_failed_exec(fd: i32) -> bool {
    let (mut kind, mut len): (libc::c_int, libc::socklen_t) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: both pointers are to variables of the types that SO_TYPE wants, and both outlive the call.
    let is_socket =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &mut len) == 0 };
    match cfg!(target_os = "linux") {
        true => is_socket && kind == libc::SOCK_SEQPACKET,
        // SAFETY: lseek takes any number; for one that is no open file it fails, which is one of the two answers.
        false => !is_socket && unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) < 0 },
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::start::{self, MARK, Mark};

    /// What a program that was started with these limits writes to stdout.
    fn output(argv: &[&str], limits: Limits) -> String {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let mut command = start::command(&argv, limits, &Mark::new());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = start::spawn(&mut command, limits).expect("it starts");
        let id = child.id() as i32;
        let output = child.wait_with_output().expect("it ends");
        crate::detached::has_ended(id);
        String::from_utf8(output.stdout).expect("a text")
    }

    /// A shell that leaks, ignores and blocks.
    fn spoil_this_process() {
        // SAFETY: numbers that nobody else uses, a signal that no test sends, and a set that is filled before its use.
        unsafe {
            for fd in [10, 251] {
                libc::fcntl(libc::fcntl(1, libc::F_DUPFD, fd), libc::F_SETFD, 0);
            }
            libc::signal(libc::SIGUSR1, libc::SIG_IGN);
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&mut set, libc::SIGUSR2);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        }
    }

    fn line<'a>(text: &'a str, name: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    #[test]
    fn a_server_inherits_nothing_of_the_shell() {
        spoil_this_process();
        // `ls` itself opens the folder.
        assert_eq!(output(&["ls", "/proc/self/fd"], Limits::default()), "0\n1\n2\n3\n");
        let status = output(&["cat", "/proc/self/status"], Limits::default());
        for name in ["SigBlk", "SigIgn"] {
            assert!(line(&status, name).ends_with("\t0000000000000000"), "{}", line(&status, name));
        }
        assert_eq!(line(&status, "Umask"), "Umask:\t0022");
        let limits = output(&["cat", "/proc/self/limits"], Limits::default());
        let soft = |name: &str| line(&limits, name).split("  ").filter(|it| !it.is_empty()).nth(1).unwrap_or_default();
        assert_eq!((soft("Max core file size").trim(), soft("Max stack size").trim()), ("0", "8388608"));
        let environment = output(&["env"], Limits::default());
        assert!(line(&environment, "PATH=").len() > 5 && environment.contains(&format!("{MARK}=")), "{environment}");
        // cargo gives it to every test.
        assert!(!environment.contains("CARGO_MANIFEST_DIR"), "{environment}");
        assert_eq!(line(&environment, "LANG="), "LANG=C.UTF-8");
    }

    #[test]
    fn descriptors_that_were_asked_for_are_open() {
        let gaps = Limits { gaps: &[3, 5, 17, 200], ..Limits::default() };
        // `ls` itself opens the folder.
        assert_eq!(output(&["ls", "-v", "/proc/self/fd"], gaps), "0\n1\n2\n3\n4\n5\n17\n200\n");
        let many = Limits { inherit: 97, ..Limits::default() };
        // One of the numbers may be `Command`'s own; `ls` then gets it.
        assert!(matches!(output(&["ls", "/proc/self/fd"], many).lines().count(), 100 | 101));
    }

    #[test]
    fn a_soft_limit_may_be_raised_and_a_hard_one_not() {
        let limits = Limits { nofile: Some(64), ..Limits::default() };
        let of = |limits| {
            let text = output(&["cat", "/proc/self/limits"], limits);
            line(&text, "Max open files").split_whitespace().skip(3).take(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of(limits), ["64", "64"]);
        let raisable = of(Limits { raisable: true, ..limits });
        assert!(raisable[0] == "64" && raisable[1] != "64", "{raisable:?}");
    }
}
