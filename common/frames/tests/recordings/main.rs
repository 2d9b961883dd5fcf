//! What a recording has of the source, of io_uring and of kqueue: asked of all chapters, and of foreign servers.
//!
//! Invariant: each test records real runs. On a machine that forbids ptrace they are skipped, with the reason.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod kqueue;
mod lines;
mod ring;
mod servers;
