//! The ring's set-up: the best flags this kernel knows, and a line that says what to do where io_uring is denied.
//!
//! Invariant: a ring that is returned knows every operation that `flight` starts.

use std::fs;
use std::io;

use anyhow::{Context, Result, anyhow, bail};
use io_uring::{IoUring, Probe, opcode};

/// Operations handed over in one call at most: as many as the pool has buffers.
const ENTRIES: u32 = 64;

/// Completions that their queue has room for. The kernel keeps those beyond, at a price.
const COMPLETIONS: u32 = 1024;

/// Opens the ring.
pub fn ring() -> Result<IoUring> {
    let ring = build(ENTRIES, COMPLETIONS).map_err(|error| explain(&error)).context("io_uring_setup")?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).context("io_uring: list the operations (Linux 5.6 can)")?;
    for (name, code, since) in [
        ("ACCEPT", opcode::Accept::CODE, "5.5"),
        ("ASYNC_CANCEL", opcode::AsyncCancel::CODE, "5.5"),
        ("RECV", opcode::Recv::CODE, "5.6"),
        ("SEND", opcode::Send::CODE, "5.6"),
    ] {
        if !probe.is_supported(code) {
            bail!("io_uring: this kernel lacks the operation {name}, which Linux {since} has");
        }
    }
    Ok(ring)
}

/// A ring of this size with the best flags, or with those that this kernel knows.
pub fn build(entries: u32, completions: u32) -> io::Result<IoUring> {
    // Only this thread submits (6.0), and the kernel's part of a completion runs inside its waits, not between (6.1).
    let mut best = IoUring::builder();
    best.setup_cqsize(completions).setup_single_issuer().setup_defer_taskrun();
    match best.build(entries) {
        // A kernel that does not know a flag says so, and does without.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            IoUring::builder().setup_cqsize(completions).build(entries)
        }
        result => result,
    }
}

/// An error of io_uring_setup(2), with its likeliest reason and what to do about it.
pub fn explain(error: &io::Error) -> anyhow::Error {
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    anyhow!("{error}: {}", reason(error, sysctl.trim(), &status))
}

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

#[cfg(test)]
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
