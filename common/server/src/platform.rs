//! The messages of a server on a system that lacks its API or denies it.

use std::process::ExitCode;
#[cfg(target_os = "linux")]
use std::{fs, io};

#[cfg(target_os = "linux")]
use anyhow::anyhow;

/// The `main` of a chapter on a system that lacks its API: prints a message and fails.
pub fn not_on_this_platform(name: &str, api: &str, where_it_is: &str) -> ExitCode {
    eprintln!("{name}: {api} is not on this platform (it is on {where_it_is}); try one of the other chapters");
    ExitCode::FAILURE
}

/// An error of io_uring_setup(2), with its most likely reason and a remedy.
#[cfg(target_os = "linux")]
pub fn io_uring_is_denied(error: &io::Error) -> anyhow::Error {
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    anyhow!("{error}: {}", reason(error, sysctl.trim(), &status))
}

#[cfg(target_os = "linux")]
fn reason(error: &io::Error, sysctl: &str, status: &str) -> &'static str {
    let filtered = status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]));
    match (error.raw_os_error(), sysctl) {
        (Some(libc::EPERM), "2") => {
            "switched off for everybody (as root: sysctl kernel.io_uring_disabled=0); the other chapters run without it"
        }
        (Some(libc::EPERM), "1") => {
            "allowed to root and to the group in sysctl kernel.io_uring_group only (as root: sysctl kernel.io_uring_disabled=0)"
        }
        (Some(libc::EPERM | libc::ENOSYS | libc::EACCES), _) if filtered => {
            "a seccomp filter denies it, as containers' default profiles do (docker run --security-opt seccomp=unconfined, \
             or a profile that allows the io_uring_* calls)"
        }
        (Some(libc::EPERM | libc::EACCES), _) => "denied by a security module or sandbox; its log says by which rule",
        (Some(libc::ENOSYS), _) => {
            "this kernel has no io_uring (older than 5.1, or built without); Linux 5.19 or later is needed"
        }
        (Some(libc::ENOMEM), _) => {
            "no memory for the ring, which may count as locked memory (raise the limit: ulimit -l 65536)"
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => "no descriptor for the ring (raise the limit: ulimit -n 4096)",
        _ => "io_uring cannot be used here; the other chapters run without it",
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const FREE: &str = "Name:\turing\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n";
    const FILTERED: &str = "Name:\turing\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    #[test]
    fn every_way_to_be_denied_says_what_to_do() {
        for (code, sysctl, status, said) in [
            (libc::EPERM, "2", FREE, "kernel.io_uring_disabled=0"),
            (libc::EPERM, "1", FREE, "kernel.io_uring_group"),
            (libc::EPERM, "0", FILTERED, "seccomp=unconfined"),
            (libc::ENOSYS, "", FILTERED, "seccomp=unconfined"),
            (libc::ENOSYS, "", FREE, "5.19 or later"),
            (libc::EPERM, "0", FREE, "security module"),
            (libc::ENOMEM, "0", FREE, "ulimit -l"),
            (libc::EMFILE, "0", FREE, "ulimit -n"),
        ] {
            let reason = reason(&io::Error::from_raw_os_error(code), sysctl, status);
            assert!(reason.contains(said) && !reason.contains('\n'), "{code} {sysctl}: {reason}");
        }
    }
}
