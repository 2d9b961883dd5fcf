//! kqueue(2) with the same types on every system: [`Kevent`] is a change or an event, [`Kqueue`] makes the two calls.
//!
//! On the BSDs and macOS the calls are the kernel's (`bsd.rs`). On Linux a stand-in answers them (`linux.rs`).

#[cfg(not(target_os = "linux"))]
pub mod bsd;
#[cfg(not(target_os = "linux"))]
use bsd as native;

#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(target_os = "linux")]
use linux as native;

mod kevent;
mod kqueue;

pub use kevent::*;
pub use kqueue::Kqueue;
