//! What really happens above descriptor 1024: three attempts, each in a child process, because one ends its process.
//!
//! A set is an array of 1024 bits. C's FD_SET writes past it silently. Rust's FD_SET ends the program. The kernel has
//! no such limit: it reads as many bits as its first argument says.
//!
//! Invariant: the memory after the hand-made bitmap belongs to the same object, so the program may write to it and look
//! at it. In C any other variable could be there.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("fd_setsize", "the raw pselect6 call", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Write;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitCode};
    use std::{env, io, ptr};

    use anyhow::{Context, Result, bail, ensure};

    const FD: RawFd = 1030;
    /// The words of a bitmap with as many bits as an fd_set.
    const WORDS: usize = libc::FD_SETSIZE / 64;

    pub fn main() -> ExitCode {
        let done = match env::args().nth(1).as_deref() {
            None => parent(),
            Some("c") => c_bitmap(),
            Some("rust") => rust_set(),
            Some("kernel") => kernel(),
            Some(other) => {
                eprintln!("fd_setsize: unknown argument '{other}'\n\nusage: fd_setsize [c | rust | kernel]");
                return ExitCode::from(2);
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("fd_setsize: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn parent() -> Result<()> {
        for (which, title) in [
            ("c", "FD_SET as C has it, on a bitmap of 1024 bits"),
            ("rust", "libc::FD_SET in Rust"),
            ("kernel", "the system call, with a bitmap of 2048 bits"),
        ] {
            let output = Command::new(env::current_exe()?).arg(which).output().with_context(|| which.to_owned())?;
            println!("{title}, fd {FD}:");
            for line in String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).lines() {
                println!("    {line}");
            }
            match (output.status.signal(), output.status.code()) {
                (Some(libc::SIGABRT), _) => println!("    ended with SIGABRT"),
                (None, Some(0)) => println!("    went on"),
                _ => bail!("'{which}' ended with {}", output.status),
            }
        }
        Ok(())
    }

    #[repr(C)]
    struct Memory {
        set: [u64; WORDS],
        behind: [u64; 4],
    }

    /// The macro of glibc's sys/select.h, without fortify.
    ///
    /// # Safety
    /// The word of `fd` lies in the object that `set` points into.
    unsafe fn c_fd_set(fd: RawFd, set: *mut u64) {
        // SAFETY: the caller's.
        unsafe { *set.add(fd as usize / 64) |= 1 << (fd % 64) }
    }

    fn c_bitmap() -> Result<()> {
        let mut memory = Memory { set: [0; WORDS], behind: [0; 4] };
        // SAFETY: the pointer is to the whole of `memory`, which has 1024 bits and another 256 after them.
        unsafe { c_fd_set(FD, (&raw mut memory).cast()) }
        println!("the set: {}", if memory.set == [0; WORDS] { "still empty" } else { "changed" });
        println!("the word behind it: 0 before, {:#x} now", memory.behind[0]);
        Ok(())
    }

    fn rust_set() -> Result<()> {
        // Print the message alone, without source location and backtrace.
        std::panic::set_hook(Box::new(|panic| eprintln!("{}", panic.to_string().lines().last().unwrap_or_default())));
        // No core file for a demonstration.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `none` outlives the call. An fd_set is plain integers. FD_SET looks at the number before it writes.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            let mut set: libc::fd_set = std::mem::zeroed();
            libc::FD_SET(FD, &mut set);
        }
        println!("returned");
        Ok(())
    }

    fn kernel() -> Result<()> {
        let (mut here, there) = UnixStream::pair()?;
        let high = high_descriptor(&there)?;
        here.write_all(b"!")?;
        let mut bits = [0u64; 2 * WORDS];
        // SAFETY: the bitmap has 2048 bits.
        unsafe { c_fd_set(high.as_raw_fd(), bits.as_mut_ptr()) }
        let no_set = ptr::null_mut::<u64>();
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel reads and writes as many bits as its first argument says, and the bitmap has more. The
        // other sets and the signal mask may be null, and `at_once` outlives the call.
        let ready = unsafe {
            libc::syscall(libc::SYS_pselect6, FD + 1, bits.as_mut_ptr(), no_set, no_set, &raw const at_once, no_set)
        };
        ensure!(ready >= 0, "pselect6: {}", io::Error::last_os_error());
        println!("{ready} ready, and its bit is {}", bits[FD as usize / 64] >> (FD % 64) & 1);
        Ok(())
    }

    /// Duplicates the socket to descriptor `FD`.
    fn high_descriptor(socket: &UnixStream) -> Result<OwnedFd> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` outlives the calls.
        unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
        let hard = limit.rlim_max;
        ensure!(hard > FD as libc::rlim_t, "this needs descriptor {FD}, and the hard limit is {hard} (ulimit -Hn)");
        // SAFETY: the call takes no memory. Nothing else knows the new descriptor, so `OwnedFd` is its only owner.
        unsafe {
            match libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FD) {
                -1 => Err(io::Error::last_os_error()).context("F_DUPFD_CLOEXEC"),
                fd => {
                    ensure!(fd == FD, "descriptor {FD} is in use, got {fd}");
                    Ok(OwnedFd::from_raw_fd(fd))
                }
            }
        }
    }
}
