//! kqueue on the systems that have it, and a stand-in for Linux with the same calls and the same meanings.

#[cfg(any(
    target_os = "linux",
    target_os = "freebsd",
    target_os = "macos",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
pub mod sys;
