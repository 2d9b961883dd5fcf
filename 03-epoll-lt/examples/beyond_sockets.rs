//! One wait for six kinds of event: epoll watches descriptors, so each kind needs a descriptor.
//!
//! `05-kqueue/examples/filters.rs` is the same program on kqueue, which watches events. It has the same functions in
//! the same order and prints the same lines, so a diff of the two files is the lesson. Here each kind of event needs a
//! system call of its own that makes a descriptor. epoll then says only that the descriptor is readable. The program
//! reads the details from the descriptor, and each kind has its own format.

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("beyond_sockets", "epoll", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{CString, c_int};
    use std::fs::{self, File};
    use std::io::{self, Read, Write};
    use std::mem;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::{self, Child, Command, ExitStatus, Stdio};
    use std::ptr;

    const SOCKET: usize = 0;
    const TIMER: usize = 1;
    const CHILD: usize = 2;
    const SIGNAL: usize = 3;
    const FILE: usize = 4;
    const USER: usize = 5;

    fn socket(socket: UnixStream) -> File {
        // The only one of the six that already is a descriptor.
        File::from(OwnedFd::from(socket))
    }

    fn timer() -> io::Result<File> {
        // SAFETY: a new descriptor has no other owner.
        unsafe { owned(libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC)) }
    }

    fn child(child: &Child) -> io::Result<File> {
        // SAFETY: a new descriptor has no other owner.
        unsafe { owned(libc::syscall(libc::SYS_pidfd_open, child.id(), 0) as c_int) }
    }

    fn signal() -> io::Result<File> {
        // If the signal were not blocked, it would end this process. While it is blocked, the signalfd reports it.
        // SAFETY: a set is made of integers, and outlives the calls; a new descriptor has no other owner.
        unsafe {
            let mut set = mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGUSR1);
            libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut());
            owned(libc::signalfd(-1, &set, libc::SFD_CLOEXEC))
        }
    }

    fn file(path: &Path) -> io::Result<File> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: `path` outlives the call; a new descriptor has no other owner.
        unsafe {
            let inotify = owned(libc::inotify_init1(libc::IN_CLOEXEC))?;
            check(libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), libc::IN_MODIFY)).map(|_| inotify)
        }
    }

    fn user() -> io::Result<File> {
        // SAFETY: a new descriptor has no other owner.
        unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC)) }
    }

    fn words(which: usize, mut source: &File) -> io::Result<String> {
        let mut buffer = [0; 4096];
        Ok(match which {
            SOCKET => {
                let mut bytes: c_int = 0;
                // SAFETY: FIONREAD writes one int.
                check(unsafe { libc::ioctl(source.as_raw_fd(), libc::FIONREAD, &mut bytes) })?;
                format!("socket: {bytes} bytes wait to be read")
            }
            TIMER => {
                let mut expired = [0; 8];
                source.read_exact(&mut expired)?;
                format!("timer: expired {} time(s)", u64::from_ne_bytes(expired))
            }
            CHILD => {
                // SAFETY: `info` outlives the call, and waitid fills it in. For a child that ended, it has a status.
                let status = unsafe {
                    let mut info: libc::siginfo_t = mem::zeroed();
                    let (pidfd, options) = (source.as_raw_fd() as libc::id_t, libc::WEXITED | libc::WNOWAIT);
                    check(libc::waitid(libc::P_PIDFD, pidfd, &mut info, options))?;
                    if info.si_code == libc::CLD_EXITED { info.si_status() << 8 } else { info.si_status() }
                };
                format!("child: ended, {}", ExitStatus::from_raw(status))
            }
            SIGNAL => {
                let times = source.read(&mut buffer)? / size_of::<libc::signalfd_siginfo>();
                format!("signal: SIGUSR1 came {times} time(s)")
            }
            FILE => source.read(&mut buffer).map(|_| "file: was written to".into())?,
            USER => source.read(&mut buffer).map(|_| "user: the program itself says so".into())?,
            _ => format!("not asked for: {which}"),
        })
    }

    /// Waits for the next event, of any of the six kinds.
    fn wait(epoll: &File) -> io::Result<usize> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: the kernel writes at most one entry.
            match check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, -1) }) {
                Ok(_) => return Ok(event.u64 as usize),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn main() -> io::Result<()> {
        let (ours, mut theirs) = UnixStream::pair()?;
        let mut child_process = Command::new("sh").args(["-c", "read line; exit 7"]).stdin(Stdio::piped()).spawn()?;
        let path = std::env::temp_dir().join(format!("beyond_sockets-{}", process::id()));
        let mut written = File::create(&path)?;

        let sources = [socket(ours), timer()?, child(&child_process)?, signal()?, file(&path)?, user()?];
        // SAFETY: a new descriptor has no other owner.
        let epoll = unsafe { owned(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }?;
        for (which, source) in sources.iter().enumerate() {
            let mut event =
                libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLONESHOT) as u32, u64: which as u64 };
            // SAFETY: `event` outlives the call, which only reads it.
            check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, source.as_raw_fd(), &mut event) })?;
        }

        let next = || wait(&epoll).and_then(|which| words(which, &sources[which]));

        // Each event is triggered after the previous one was reported, so the order is the same every time.
        theirs.write_all(b"hello")?;
        println!("{}", next()?);

        // SAFETY: an itimerspec is plain integers, and all zero is valid. A zero interval does not repeat.
        let mut once: libc::itimerspec = unsafe { mem::zeroed() };
        once.it_value.tv_nsec = 10_000_000;
        // SAFETY: `once` outlives the call, which only reads it.
        check(unsafe { libc::timerfd_settime(sources[TIMER].as_raw_fd(), 0, &once, ptr::null_mut()) })?;
        println!("{}", next()?);

        drop(child_process.stdin.take());
        println!("{}", next()?);
        child_process.wait()?;

        // SAFETY: no pointers.
        check(unsafe { libc::kill(process::id() as libc::pid_t, libc::SIGUSR1) })?;
        println!("{}", next()?);

        written.write_all(b"hello")?;
        println!("{}", next()?);

        (&sources[USER]).write_all(&1u64.to_ne_bytes())?;
        println!("{}", next()?);

        fs::remove_file(path)
    }

    fn check(result: c_int) -> io::Result<c_int> {
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    /// # Safety
    /// If `fd` is not -1, it is open and has no other owner.
    unsafe fn owned(fd: c_int) -> io::Result<File> {
        // SAFETY: the caller promises that the descriptor has no other owner.
        check(fd).map(|fd| unsafe { File::from_raw_fd(fd) })
    }
}
