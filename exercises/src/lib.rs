//! The system calls that the exercises' servers make, each as a safe function, so that the servers hold nothing but the
//! lesson.
//!
//! Invariant: a function here is one system call with its errors; it decides nothing. EINTR is reported as any other error
//! would be, but by the waits, which then return no event.

#[cfg(target_os = "linux")]
pub mod epoll;
pub mod poll;
pub mod program;
#[cfg(target_os = "linux")]
pub mod ring;
pub mod select;
pub mod signals;
pub mod socket;
