//! `lab apart`, hidden: starts a program in namespaces of its own, and ends as that program ends.
//!
//! Invariant: the namespaces that were asked for are made, or nothing is started. In them there is no network but a
//! loopback device, no process but the program's own, and no file that can be written. When the program ends, the
//! kernel ends all that it has started.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// The command line, as the lab itself writes it.
#[derive(Debug, clap::Args)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub struct ApartArgs {
    /// What the program gets
    #[arg(long, value_enum)]
    from: Apart,
    /// The program
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// What a program has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Apart {
    /// A network, process ids, and mounts, which cannot be written to
    Everything,
    /// A network
    Network,
}

impl Apart {
    /// As on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Network => "network",
        }
    }
}

/// Starts the program, and waits for its end.
pub fn run(args: &ApartArgs) -> Result<ExitCode, LabError> {
    platform::run(args)
}

/// Other systems have no namespaces.
#[cfg(not(target_os = "linux"))]
mod platform {
    use std::process::ExitCode;

    use super::ApartArgs;
    use crate::error::LabError;

    pub fn run(_: &ApartArgs) -> Result<ExitCode, LabError> {
        Err(LabError::failed("apart: only Linux has namespaces"))
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::fs;
    use std::io;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, ExitCode};

    use rustix::process::{Signal, getegid, geteuid, getpid, kill_process, set_parent_process_death_signal};
    use rustix::thread::UnshareFlags;

    use super::{Apart, ApartArgs};
    use crate::error::LabError;

    pub fn run(args: &ApartArgs) -> Result<ExitCode, LabError> {
        let cannot = |what: &str, error: io::Error| LabError::failed(format!("apart: cannot {what}: {error}"));
        // It ends with the grader, and the program ends with it.
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| cannot("end with the grader", error.into()))?;
        let everything = args.from == Apart::Everything;
        leave(everything).map_err(|error| cannot("make namespaces", error))?;
        raise_loopback().map_err(|error| cannot("raise the loopback device", error))?;
        let Some(program) = args.command.first() else { return Err(LabError::usage("apart: no program to start")) };
        let mut command = Command::new(program);
        command.args(&args.command[1..]);
        // SAFETY: between fork and exec only system calls are made: no memory is allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || {
                // Not waited for: in a process namespace its parent has no number.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if everything { own_mounts() } else { Ok(()) }
            });
        }
        let status = command.status().map_err(|error| cannot("start the program in namespaces of its own", error))?;
        if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
            let _ = kill_process(getpid(), signal);
        }
        Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
    }

    /// Leaves the namespaces of the machine. Who is not root makes a user namespace first, in which that is allowed.
    fn leave(everything: bool) -> io::Result<()> {
        let mut flags = UnshareFlags::NEWNET | UnshareFlags::NEWIPC;
        if everything {
            flags |= UnshareFlags::NEWPID | UnshareFlags::NEWNS;
        }
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let ordinary = uid != 0;
        if ordinary {
            flags |= UnshareFlags::NEWUSER;
        }
        // SAFETY: the call is unsafe because unsharing the descriptor table invalidates descriptors that other threads
        // hold; none of these flags touches that table.
        unsafe { rustix::thread::unshare_unsafe(flags) }?;
        if ordinary {
            // The same ids inside as outside, and no others.
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        }
        Ok(())
    }

    /// A new network has a loopback device, and that is down.
    fn raise_loopback() -> io::Result<()> {
        let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
        // SAFETY: zeros are a value of ifreq, which has numbers only.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (at, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *at = *byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        // SAFETY: SIOCSIFFLAGS reads the name and the flags of the ifreq, which outlives the call.
        let done =
            unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &raw const request) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes all that is mounted read-only for this process and its children, and shows them their own processes alone.
    fn own_mounts() -> io::Result<()> {
        const MOUNT_ATTR_RDONLY: u64 = 1;
        let done = |result: i64| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
        // A struct mount_attr: what to set, to clear, and how changes propagate; and a user namespace.
        let read_only: [u64; 4] = [MOUNT_ATTR_RDONLY, 0, 0, 0];
        let (root, none) = (c"/".as_ptr(), std::ptr::null());
        // SAFETY: the strings are literals, and `read_only` is as large as the struct and outlives the call.
        unsafe {
            done(libc::mount(none, root, none, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()).into())?;
            let (at, attributes) = (libc::AT_FDCWD, read_only.as_ptr());
            let size = size_of_val(&read_only);
            done(libc::syscall(libc::SYS_mount_setattr, at, root, libc::AT_RECURSIVE, attributes, size))?;
            let (proc, flags) = (c"proc".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
            done(libc::mount(proc, c"/proc".as_ptr(), proc, flags, std::ptr::null()).into())
        }
    }
}
