//! The lost wakeup that pselect prevents: a signal arrives after the program has tested its flag and before select
//! waits.
//!
//! This gap is some nanoseconds wide. So each child stops itself in the gap (SIGSTOP), gets its SIGTERM there, and goes
//! on. With a flag alone, the child then sleeps for ever, although the flag is set. A self-pipe and pselect have no
//! gap.
//!
//! Invariant: nothing here depends on luck or on time. "Lost" is a state that /proc shows: the child sleeps in select
//! without a timeout, and no signal is pending. So its handler has run, and the child will not test the flag again.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("signal_race", "/proc, where the sleeping child is seen,", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, Read, Write};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
    use std::{env, fs, mem, ptr, thread};

    use anyhow::{Context, Result, ensure};

    static FLAG: AtomicBool = AtomicBool::new(false);
    static PIPE: AtomicI32 = AtomicI32::new(-1);
    const STDIN: RawFd = 0;

    pub fn main() -> ExitCode {
        let done = match env::args().nth(1).as_deref() {
            None => ["flag", "self-pipe", "pselect"].into_iter().try_for_each(parent),
            Some(way @ ("flag" | "self-pipe" | "pselect")) => child(way).context("child"),
            Some(other) => {
                eprintln!("signal_race: unknown argument '{other}'\n\nusage: signal_race");
                return ExitCode::from(2);
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("signal_race: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    extern "C" fn handler(_: libc::c_int) {
        FLAG.store(true, SeqCst);
        let pipe = PIPE.load(SeqCst);
        if pipe >= 0 {
            // SAFETY: one byte from a static; write(2) is async-signal-safe.
            unsafe { libc::write(pipe, b"!".as_ptr().cast(), 1) };
        }
    }

    /// One turn of a loop that waits for stdin and is to end on SIGTERM.
    fn child(way: &str) -> Result<()> {
        let (readable, wake) = UnixStream::pair()?;
        let mut watched = vec![STDIN];
        if way == "self-pipe" {
            PIPE.store(wake.as_raw_fd(), SeqCst);
            watched.push(readable.as_raw_fd());
        }
        // SAFETY: zeroed sets and actions are valid; the handler is async-signal-safe; all outlive the calls.
        let mask = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handler as *const () as libc::sighandler_t;
            ensure!(libc::sigaction(libc::SIGTERM, &action, ptr::null_mut()) == 0, "sigaction");
            let mut term: libc::sigset_t = mem::zeroed();
            libc::sigaddset(&mut term, libc::SIGTERM);
            if way == "pselect" {
                // From here on the signal can be delivered only inside the wait, which unblocks it for that time.
                libc::sigprocmask(libc::SIG_BLOCK, &term, ptr::null_mut());
            }
            mem::zeroed::<libc::sigset_t>()
        };

        let stop = FLAG.load(SeqCst);
        // The gap. SAFETY: no pointers.
        unsafe { libc::raise(libc::SIGSTOP) };
        if !stop {
            // SAFETY: an fd_set is plain integers, all descriptors are below 1024, and all outlive the call.
            let (ready, in_pipe) = unsafe {
                let mut set: libc::fd_set = mem::zeroed();
                watched.iter().for_each(|fd| libc::FD_SET(*fd, &mut set));
                let nfds = watched.iter().max().map_or(0, |fd| fd + 1);
                let (none, no_time) = (ptr::null_mut(), ptr::null_mut());
                let ready = match way {
                    "pselect" => libc::pselect(nfds, &mut set, none, none, no_time, &mask),
                    _ => libc::select(nfds, &mut set, none, none, no_time.cast()),
                };
                (ready, ready > 0 && libc::FD_ISSET(readable.as_raw_fd(), &set))
            };
            let interrupted = ready == -1 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
            let by = match (interrupted, in_pipe) {
                (true, _) => "EINTR",
                (_, true) => "the byte in the pipe",
                _ => "another event",
            };
            println!("woken by {by}, flag {}", if FLAG.load(SeqCst) { "set" } else { "not set" });
        }
        Ok(())
    }

    fn parent(way: &str) -> Result<()> {
        let mut child = Command::new(env::current_exe()?)
            .arg(way)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the child")?;
        let pid = child.id() as libc::pid_t;
        let mut status = 0;
        // SAFETY: `status` outlives the call; the others have no pointers.
        unsafe {
            libc::waitpid(pid, &mut status, libc::WUNTRACED);
            ensure!(libc::WIFSTOPPED(status), "the child ended before the gap");
            libc::kill(pid, libc::SIGTERM);
            libc::kill(pid, libc::SIGCONT);
        }
        let lost = sleeps_for_ever(&mut child)?;
        if lost {
            // Only another event makes the child test the flag again.
            child.stdin.take().context("piped")?.write_all(b"!")?;
        }
        let mut said = String::new();
        child.stdout.take().context("piped")?.read_to_string(&mut said)?;
        ensure!(child.wait()?.success(), "the child failed");
        let outcome = if lost { "lost, asleep in select with no signal pending" } else { "seen" };
        println!("{way:9}  {outcome}; {}", said.trim_end());
        Ok(())
    }

    /// Whether the child sleeps in select after its signal was delivered. False if it ends instead.
    fn sleeps_for_ever(child: &mut Child) -> Result<bool> {
        let proc = format!("/proc/{}", child.id());
        let mut looks = 0;
        while child.try_wait()?.is_none() {
            let read = |file: &str| fs::read_to_string(format!("{proc}/{file}")).unwrap_or_default();
            // Read the call first: if the child is in select and then sleeps, it still is in the same call.
            let call = read("syscall");
            let call = call.split(' ').next().and_then(|number| number.parse::<libc::c_long>().ok());
            let status = read("status");
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
            let none_pending = ["SigPnd:", "ShdPnd:"].iter().all(|name| u64::from_str_radix(field(name), 16) == Ok(0));
            let asleep = call.is_some_and(is_select) && field("State:").starts_with('S') && none_pending;
            // Twice, because /proc is not read in one moment, and a wait that ends at once could be seen once.
            looks = if asleep { looks + 1 } else { 0 };
            if looks == 2 {
                return Ok(true);
            }
            thread::yield_now();
        }
        Ok(false)
    }

    fn is_select(call: libc::c_long) -> bool {
        #[cfg(target_arch = "x86_64")]
        if call == libc::SYS_select {
            return true;
        }
        call == libc::SYS_pselect6
    }
}
